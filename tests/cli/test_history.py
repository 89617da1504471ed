"""What `edgetf history compare` prints below its table."""

from __future__ import annotations

from dataclasses import replace

from edgetf.benchmarks.history.changes import Change
from edgetf.benchmarks.history.sessions import Spread
from edgetf.cli.history import _sessions_line

_CHANGE = Change("m", "int8", "pi", "median ms", 1.0, 1.1, 0.9, 1.3, 0.2, "no significant change")


def test_what_the_intervals_of_latencies_include_is_reported() -> None:
    assert _sessions_line([_CHANGE]) == ""
    assumed, estimated = (replace(_CHANGE, spread=one) for one in (Spread(0.025, 0), Spread(0.0112, 9)))
    for changes, middle in {
        (_CHANGE, assumed): "2.5% (assumed: no file was measured again)",
        (estimated, estimated): "1.1% (by 9 repeated sessions and an assumption)",
        (assumed, estimated): "1.1% to 2.5% (by 0 to 9 repeated sessions and an assumption)",
    }.items():
        before = "Intervals of latencies include what differs between sessions of one file, "
        assert _sessions_line(changes) == f"{before}{middle}. More sessions of a commit narrow them."
