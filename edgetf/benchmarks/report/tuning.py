"""The picture of a tuning: its candidates, the front and the winner, as SVG.

It is drawn if the benchmark is the one that proved the winner of `edgetf tune`. It only informs: a `tuning.json` that
cannot be read is left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetf.benchmarks.report.canvas import draw_axes, set_log_ticks, to_svg
from edgetf.benchmarks.report.colours import INK, UNJUDGED
from edgetf.errors import EdgetfError
from edgetf.recipes import Aim, Stand, Tried, Tuning, read_tuning
from edgetf.results import Benchmark, Verdict

_FRONT = (Stand.CHOSEN, Stand.PASSES, Stand.FAILS, Stand.OPEN, Stand.LEFT)  # neither useless, too large nor refused
_VERDICTS = {
    Stand.CHOSEN: Verdict.PASS,
    Stand.PASSES: Verdict.PASS,
    Stand.FAILS: Verdict.FAIL,
    Stand.OPEN: Verdict.INCONCLUSIVE,
}
_HEIGHT = 3.4  # inches
_MARK, _USELESS_MARK, _RING = 42.0, 14.0, 150.0  # areas, in square points
_NAME_AT = (9, 20)  # points above a mark, in turn: names of neighbours stay apart
_MARGIN = 0.12  # shares of the axes that are left free for names


def find_tuning(folder: Path, document: Benchmark) -> Tuning | None:
    """The tuning whose proof is the benchmark `document` in `folder`: the `tuning.json` beside it."""
    try:
        tuning = read_tuning(folder.absolute().parent)
    except EdgetfError:
        return None
    proven = document.samples is not None and document.samples.digest == tuning.proven_on.digest
    return tuning if proven else None


def front_of(tuning: Tuning) -> list[Tried]:
    """The candidates that no other one makes useless, the cheapest first."""
    front = [one for one in tuning.candidates if one.stand in _FRONT and one.measured_db is not None]
    return sorted(front, key=lambda one: _cost(one, tuning.aim) or 0.0)


def draw_candidates(tuning: Tuning) -> str | None:
    """Bytes or latency along x, the SQNR on calibration samples along y; None for fewer than two candidates."""
    known = [one for one in tuning.candidates if one.measured_db is not None and _cost(one, tuning.aim) is not None]
    if len(known) < 2:
        return None
    front = [one for one in front_of(tuning) if one in known]
    figure, [axes] = draw_axes(_HEIGHT)
    others = [one for one in known if one not in front]
    axes.scatter(*_places(others, tuning.aim), s=_USELESS_MARK, color=UNJUDGED, linewidths=0)
    axes.plot(*_places(front, tuning.aim), color=UNJUDGED, linewidth=1.2, drawstyle="steps-post")
    for k, one in enumerate(front):
        _draw(axes, one, tuning.aim, _NAME_AT[k % 2])
    axes.margins(_MARGIN)
    set_log_ticks(axes)
    axes.set_xlabel("bytes (left is smaller)" if tuning.aim is Aim.SIZE else "median latency, ms (left is faster)")
    axes.set_ylabel("SQNR, dB (up is better)")
    return to_svg(figure, "tuning", "Candidates of the tuning by cost and SQNR, with the front and the winner")


def _draw(axes: Any, one: Tried, aim: Aim, above: int) -> None:
    x, y = _cost(one, aim), one.measured_db
    verdict = _VERDICTS.get(one.stand)
    colour, marker = (verdict.look.colour, verdict.look.marker) if verdict is not None else (UNJUDGED, "s")
    axes.scatter([x], [y], s=_MARK, color=colour, marker=marker, linewidths=0, zorder=3)
    if one.stand is Stand.CHOSEN:
        axes.scatter([x], [y], s=_RING, facecolors="none", edgecolors=INK, linewidths=1.6, zorder=3)
    place = {"ha": "center", "va": "bottom", "fontsize": 8, "color": INK}
    axes.annotate(one.name, (x, y), xytext=(0, above), textcoords="offset points", **place)


def _places(candidates: list[Tried], aim: Aim) -> tuple[list[float], list[float]]:
    return [_cost(one, aim) or 0.0 for one in candidates], [one.measured_db or 0.0 for one in candidates]


def _cost(one: Tried, aim: Aim) -> float | None:
    return float(one.bytes) if aim is Aim.SIZE else one.latency_ms
