"""The options for budgets, shared by all commands that judge."""

from __future__ import annotations

import click

from edgetf.cli.console import Checked, Command, Integer, Number
from edgetf.defaults import MAX_DROP, MAX_METRIC_DROP
from edgetf.functions import refuse_no_function
from edgetf.verdicts import Verdict

UNDECIDED = f"4 {Verdict.INCONCLUSIVE.words} to decide"  # the exit code, in helps
EXIT_CODES = f"Exit code: 0 all passed, 3 a budget was missed, {UNDECIDED}, 5 a run failed."


class Budget(Number):
    """A number of at least 0."""

    def __init__(self) -> None:
        super().__init__(min=0)


_OPTIONS = (
    click.option(
        "--max-drop",
        type=Budget(),
        metavar="POINTS",
        help=f"Accuracy that may be lost, in percentage points. [default: {MAX_DROP:g}]",
    ),
    click.option(
        "--max-metric-drop",
        type=Budget(),
        metavar="X",
        help=f"Loss allowed for a --metric. [default: {MAX_METRIC_DROP:g}]",
    ),
    click.option("--max-latency-ms", type=Budget(), metavar="MS", help="Limit for the median latency."),
    click.option("--max-bytes", type=Integer(0), metavar="N", help="Limit for the size of the file."),
)


allow_changed_option = click.option(
    "--allow-changed", is_flag=True, help="Judge what was measured although a variant's file has changed since."
)


_METRIC_OPTIONS = (
    click.option(
        "--metric",
        "metrics",
        type=Checked(refuse_no_function),
        multiple=True,
        metavar="MODULE:FUNCTION",
        help="Judge by your own function; may be repeated.",
    ),
    click.option("--metric-less-is-better", is_flag=True, help="Every --metric is an error, or a cost."),
)


def metric_options(command: Command) -> Command:
    """Adds --metric and --metric-less-is-better."""
    for option in reversed(_METRIC_OPTIONS):
        command = option(command)
    return command


def budget_options(command: Command) -> Command:
    """Adds --max-drop, --max-metric-drop, --max-latency-ms and --max-bytes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
