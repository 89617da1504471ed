"""`edgetf verify`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, json_option, print_lines, verdict_mark
from edgetf.device.runner.delegates import AUTO, RUNTIME_CHOICES
from edgetf.errors import ExitCode
from edgetf.verdicts import Verdict


@click.command()
@click.argument("bundle", type=PATH)
@click.option("--runtime", type=click.Choice(RUNTIME_CHOICES), default=AUTO, show_default=True)
@json_option
def verify(bundle: Path, runtime: str, as_json: bool) -> int:
    """Verify on this machine that BUNDLE is intact and still computes the bundled outputs.

    On a device without edgetf, the runner does the same: python edgetf-runner.pyz verify BUNDLE. Exit code: 0 verified,
    3 not.

    \b
    Example:
      edgetf verify int8.edgetf
    """
    from edgetf.api.share import verify as run
    from edgetf.files import to_text

    proof = run(bundle, runtime=runtime)
    if as_json:
        click.echo(to_text(proof), nl=False)
    for problem in () if as_json else proof.problems:
        print_lines(f"{verdict_mark(Verdict.FAIL)} {escape(proof.variant)}: {escape(problem)}")
    if not as_json and not proof.problems:
        errors = ", ".join(f"{name} within {error:.2g}" for name, error in proof.errors.items())
        signed = "" if proof.signed == "pass" else f"; it was signed {proof.signed}"
        words = f"{proof.variant}: {proof.n} golden samples in {proof.runtime}, {errors}{signed}"
        print_lines(f"{verdict_mark(Verdict.PASS)} {escape(words)}")
    return ExitCode.BUDGET_MISSED if proof.problems else ExitCode.DONE
