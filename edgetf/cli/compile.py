"""`edgetf compile`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.console import PATH, Checked, force_option, json_option
from edgetf.errors import ExitCode


def _refuse_target(target: str) -> None:
    from edgetf.targets.aot import find_chip
    from edgetf.targets.fits import ETHOS_U

    if target not in ETHOS_U:
        find_chip(target)


@click.command()
@click.argument("variants", nargs=-1, required=True, type=PATH)
@click.option(
    "--for",
    "target",
    type=Checked(_refuse_target),
    required=True,
    metavar="TARGET",
    help="The accelerator, such as ethos-u55-128.",
)
@click.option("-o", "--out", required=True, type=PATH, help="The folder for the compiled files.")
@force_option
@json_option
def compile(  # noqa: A001
    variants: tuple[Path, ...], target: str, out: Path, force: bool, as_json: bool
) -> int:
    """Compile VARIANTS (.tflite files, or folders of them) ahead of time for an accelerator.

    \b
    Targets, by their makers' compilers, where these are installed:
      qualcomm-sm8750, mediatek-mt6991, google-tensor-g5, samsung-e9965, intel-ptl, and others of these makers
      intel-cpu       OpenVINO's own device for CPUs
      ethos-u55-128   and others of Arm's, by Vela

    The files are benchmarked and judged like any variant, with --delegate npu, or openvino-cpu for intel-cpu. Those for
    an Ethos-U run only on a board with it: nothing measures them here. Exit code 1 if a variant was not compiled.

    \b
    Example:
      edgetf compile out --for intel-cpu -o compiled
      edgetf benchmark compiled --reference ref --delegate openvino-cpu -o bench_npu
    """
    from edgetf.api.compile import compile as run
    from edgetf.api.tables.fits import show_compiled
    from edgetf.files import to_plain

    found = run(variants, out, target=target, force=force)
    if as_json:
        click.echo(json.dumps({name: to_plain(one) for name, one in found.items()}, indent=1))
    else:
        show_compiled(list(found.values()), out)
    return ExitCode.USER if any(one.path is None for one in found.values()) else ExitCode.DONE
