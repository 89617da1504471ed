"""Plot of latency and accuracy drop of each variant on a device over commits. In: entries of the history."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from edgetf.benchmarks.history.store import Entry
from edgetf.benchmarks.report.canvas import draw_axes, style_of, to_svg
from edgetf.benchmarks.report.colours import INK
from edgetf.errors import EdgetfError
from edgetf.texts import printable

_MOST_TICKS = 12
_MOST_POINTS = 200  # per line
_Point = tuple[float, float, float, float]  # the run, the figure, and the ends of its interval
_LONGEST = 30  # characters of a name in the plot


def draw_trend(entries: Sequence[Entry], device: str) -> str:
    """An SVG plot of the results on `device`, oldest at the left. Raises EdgetfError if there are none.

    With too many runs, each point summarizes several: their median, with the range of all their intervals.
    """
    known = [one for one in entries if one.device == device and one.glance.latency_ms]
    if not known:
        raise EdgetfError(f"the history has no results of {device!r}", "see: edgetf history list")
    names = list(dict.fromkeys(one.name for one in known))
    if len(names) > 1:
        raise EdgetfError(f"{device} has measured several models: {', '.join(names)}", "choose one with --model")
    runs = list(dict.fromkeys((one.created, one.digest, one.commit) for one in known))
    places = {run[1]: k for k, run in enumerate(runs)}
    width = -(-len(runs) // _MOST_POINTS)
    times: dict[str, list[_Point]] = {}
    drops: dict[str, list[_Point]] = {}
    for one in known:
        for found, figures in ((times, one.glance.latency_ms), (drops, one.glance.drop_points)):
            if figures is not None:
                found.setdefault(one.variant, []).append((places[one.digest], *figures))
    figure, panels = draw_axes(4.6 if drops else 2.8, (1.0, 1.0) if drops else (1.0,))
    for k, variant in enumerate(times):
        _line(panels[0], k, variant, _thinned(times[variant], width))
        if drops:
            _line(panels[1], k, variant, _thinned(drops.get(variant, []), width))
    panels[0].set_ylabel(f"median ms on {_label(device)}" + (f", {width} runs a point" if width > 1 else ""))
    panels[0].set_ylim(bottom=0)
    if drops:
        panels[1].set_ylabel("drop, points")
        panels[1].axhline(0, color=INK, linewidth=0.8, linestyle=":")
    step = -(-len(runs) // _MOST_TICKS)
    panels[-1].set_xticks(range(0, len(runs), step), [_name(run) for run in runs[::step]], rotation=40, ha="right")
    panels[0].legend(frameon=False, ncols=2, loc="lower left")
    return to_svg(figure, "trend", f"Latency on {device} over commits")


def _thinned(points: Sequence[_Point], width: int) -> list[_Point]:
    """One point for each `width` runs: the median of the figures, with the smallest and the largest end."""
    if width == 1:
        return list(points)
    groups: dict[int, list[_Point]] = {}
    for point in points:
        groups.setdefault(int(point[0]) // width, []).append(point)
    thinned = []
    for group in groups.values():
        xs, middles, lows, highs = zip(*group, strict=True)
        thinned.append((median(xs), median(middles), min(lows), max(highs)))
    return thinned


def _line(axes: Any, k: int, label: str, points: Sequence[_Point]) -> None:
    xs, middle, low, high = zip(*points, strict=True) if points else ((), (), (), ())
    below = [max(m - a, 0.0) for m, a in zip(middle, low, strict=True)]
    reach = [below, [max(b - m, 0.0) for m, b in zip(middle, high, strict=True)]]
    axes.errorbar(xs, middle, reach, label=_label(label), capsize=2, linewidth=1.2, markersize=4, **style_of(k))


def _label(name: str) -> str:
    """An untrusted name, shortened for the plot; matplotlib omits names that begin with _ from the legend."""
    plain = printable(name)
    short = plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
    return f"\u200b{short}" if short.startswith("_") else short


def _name(run: tuple[str, str, str]) -> str:
    created, _, commit = map(printable, run)
    return commit[:8] + ("+" if commit.endswith("+") else "") if commit else created[:10]
