"""Plot of latency and accuracy drop of each variant on a device over commits. In: entries of the history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from edgetf.benchmarks.history.store import Row
from edgetf.benchmarks.report.canvas import draw_axes, style_of, to_svg
from edgetf.benchmarks.report.colours import INK
from edgetf.errors import EdgetfError
from edgetf.texts import printable

_MOST_TICKS = 12
_MOST_POINTS = 200  # per line
_MOST_LINES = 18  # each has its own colour and dash: more cannot be distinguished, and have their price in bytes
_Point = tuple[float, float, float, float]  # the run, the figure, and the ends of its interval
_SHOWN = 5  # names in a message
_LONGEST = 30  # characters of a name in the plot


@dataclass(frozen=True)
class Trend:
    """The SVG text, and the variants that it leaves out: those whose last result is the oldest."""

    svg: str
    left_out: tuple[str, ...]


@dataclass
class _Line:
    """The points of a variant, and the run of its last result."""

    times: list[_Point] = field(default_factory=list)
    drops: list[_Point] = field(default_factory=list)
    last: int = -1


def draw_trend(rows: Iterable[Row], device: str) -> Trend:
    """A plot of the results on `device`, oldest at the left. Raises EdgetfError if there are none.

    With too many runs, each point summarizes several: their median, with the range of all their intervals. Only the
    variants that were measured last are drawn.
    """
    lines, runs = _read(rows, device)
    shown = sorted(lines, key=lambda name: -lines[name].last)[:_MOST_LINES]
    shown = [name for name in lines if name in set(shown)]
    width = -(-len(runs) // _MOST_POINTS)
    has_drops = any(lines[name].drops for name in shown)
    figure, panels = draw_axes(4.6 if has_drops else 2.8, (1.0, 1.0) if has_drops else (1.0,))
    for k, variant in enumerate(shown):
        _draw(panels[0], k, variant, _thinned(lines[variant].times, width))
        if has_drops:
            _draw(panels[1], k, variant, _thinned(lines[variant].drops, width))
    panels[0].set_ylabel(f"median ms on {_label(device)}" + (f", {width} runs a point" if width > 1 else ""))
    panels[0].set_ylim(bottom=0)
    if has_drops:
        panels[1].set_ylabel("drop, points")
        panels[1].axhline(0, color=INK, linewidth=0.8, linestyle=":")
    step = -(-len(runs) // _MOST_TICKS)
    panels[-1].set_xticks(range(0, len(runs), step), [_name(run) for run in runs[::step]], rotation=40, ha="right")
    more = len(lines) - len(shown)
    title = f"{more:,} older variants are not drawn" if more else None
    panels[0].legend(frameon=False, ncols=2, loc="lower left", title=title)
    svg = to_svg(figure, "trend", f"Latency on {device} over commits")
    return Trend(svg, tuple(name for name in lines if name not in set(shown)))


def _read(rows: Iterable[Row], device: str) -> tuple[dict[str, _Line], list[tuple[str, str, str]]]:
    """The line of each variant, and the runs: when, the digest and the commit."""
    lines: dict[str, _Line] = {}
    places: dict[str, int] = {}  # of runs, by their digests
    runs: list[tuple[str, str, str]] = []
    names: dict[str, None] = {}
    for one in rows:
        if one.device != device or one.glance.latency_ms is None:
            continue
        names[one.name] = None
        if one.digest not in places:
            places[one.digest] = len(runs)
            runs.append((one.created, one.digest, one.commit))
        line, place = lines.setdefault(one.variant, _Line()), places[one.digest]
        line.last = place
        line.times.append((place, *one.glance.latency_ms))
        if one.glance.drop_points is not None:
            line.drops.append((place, *one.glance.drop_points))
    if not lines:
        raise EdgetfError(f"the history has no results of {device!r}", "see: edgetf history list")
    if len(names) > 1:
        raise EdgetfError(f"{device} has measured several models: {_some(names)}", "choose one with --model")
    return lines, runs


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


def _draw(axes: Any, k: int, label: str, points: Sequence[_Point]) -> None:
    xs, middle, low, high = zip(*points, strict=True) if points else ((), (), (), ())
    below = [max(m - a, 0.0) for m, a in zip(middle, low, strict=True)]
    reach = [below, [max(b - m, 0.0) for m, b in zip(middle, high, strict=True)]]
    axes.errorbar(xs, middle, reach, label=_label(label), capsize=2, linewidth=1.2, markersize=4, **style_of(k))


def _label(name: str) -> str:
    """An untrusted name, shortened for the plot; matplotlib omits names that begin with _ from the legend."""
    plain = printable(name)
    short = plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"
    return f"\u200b{short}" if short.startswith("_") else short


def _some(names: Iterable[str]) -> str:
    """The first few of many names, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - _SHOWN:,} more" if len(known) > _SHOWN else ""
    return f"{', '.join(known[:_SHOWN])}{more}"


def _name(run: tuple[str, str, str]) -> str:
    created, _, commit = map(printable, run)
    return commit[:8] + ("+" if commit.endswith("+") else "") if commit else created[:10]
