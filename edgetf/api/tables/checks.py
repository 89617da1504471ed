"""Verdicts as a table."""

from __future__ import annotations

from collections.abc import Sequence

import click

from edgetf.benchmarks.judging.check import Checked
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.console.printing import escape, print_lines, print_table, verdict_mark
from edgetf.results import Benchmark
from edgetf.texts import printable

_MOST_CLASSES = 5


def show_checked(checked: Sequence[Checked], title: str) -> None:
    """Print a table of verdicts, with models and devices if there are several."""
    several = len({one.device for one in checked}) > 1
    rows = []
    for one in checked:
        for k, (what, judged) in enumerate(one.parts.items()):
            names = [one.variant, one.model, one.device if several else ""] if k == 0 else [""] * 3
            cells = [*(escape(name) for name in names), escape(what), verdict_mark(judged.verdict.value)]
            rows.append([*cells, escape(judged.reason)])
    columns = ["variant", "model", "device", "what", "verdict", "because"]
    print_table(escape(title), columns, rows, long=["because"])


def show_classes(document: Benchmark, budgets: Budgets) -> None:
    """Print the classes of each variant that certainly lost some of their samples, the worst first."""
    for result in document.results:
        for output in result.parity.outputs if result.parity else ():
            losses = []
            for one in output.classes:
                drop, same = one.accuracy, one.agreement
                if drop is not None and drop.low > 0:
                    losses.append(
                        f"{one.label} ({drop.drop_points:.3g} points [{drop.low:.3g}, {drop.high:.3g}] of {one.n})"
                    )
                elif drop is None and same.high < budgets.min_agreement:
                    losses.append(f"{one.label} ({same.share:.1%} [{same.low:.1%}, {same.high:.1%}] of {one.n} left)")
            if losses:
                which = f"{result.variant}, {output.name}: classes that lost most"
                print_lines(escape(f"{which}: {', '.join(losses[:_MOST_CLASSES])}"))


def show_warnings(warnings: Sequence[str]) -> None:
    """Print the budgets that cannot be missed, below the verdicts."""
    print_lines(*(f"[yellow]warning:[/] {escape(warning)}" for warning in warnings))


def send_warnings(warnings: Sequence[str]) -> None:
    """Print them on standard error, where they are seen if the verdicts are read by a program."""
    for warning in warnings:
        click.echo(f"{click.style('warning:', fg='yellow')} {printable(warning)}", err=True)
