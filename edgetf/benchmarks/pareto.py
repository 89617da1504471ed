"""What each variant costs in latency, accuracy and size; which are beaten by another in all three; and the picture.

A variant is on the front when no other is at least as good in all three and better in one, by the figures themselves.
Where intervals overlap, the words say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgetf.benchmarks.canvas import (
    GRID,
    INK,
    VERDICT_COLOURS,
    VERDICT_MARKS,
    draw_axes,
    set_log_ticks,
    to_svg,
)
from edgetf.results import OutputParity, Parity, Result

_BIGGEST = 500.0  # the area of the largest file's mark, in square points
_SMALLEST = 40.0


@dataclass(frozen=True)
class Cost:
    """A figure and its 95 % interval, where it is known; less is better."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Point:
    """A variant: its latency in milliseconds, what it costs in accuracy (points, or -dB: less is better), its bytes."""

    label: str
    verdict: str
    latency: Cost
    cost: Cost
    bytes: int


def points_of(results: Sequence[Result]) -> list[Point]:
    """The results that have a latency and the cost that is shown, which is one kind for all."""
    drops = has_drops(results)
    known = [o.centred_db for r in results if r.parity for o in r.parity.outputs if o.centred_db is not None]
    top = max(known, default=0.0) + 10  # where a variant without any error stands: infinity is higher than all
    points = []
    for result in results:
        if result.latency_ms is None or result.bytes is None or result.parity is None:
            continue
        latency = Cost(result.latency_ms.median, result.latency_ms.low, result.latency_ms.high)
        point = Point(result.variant, result.parity.verdict.value, latency, Cost(-top), result.bytes)
        cost = _drop(result.parity) if drops else _noise(result.parity.outputs)
        if cost is not None:
            points.append(replace(point, cost=cost))
        elif not drops:
            points.append(replace(point, label=f"{result.variant} (no error)"))
    return points


def has_drops(results: Sequence[Result]) -> bool:
    """Whether the cost is the drop of the first metric or of the accuracy: some result has one. Else it is the SQNR."""
    return any(_drop(result.parity) for result in results if result.parity)


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is at least as good in latency, cost and size, and better in one of them."""
    mine = (one.latency.value, one.cost.value, one.bytes)
    theirs = (other.latency.value, other.cost.value, other.bytes)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def find_front(points: Sequence[Point]) -> list[Point]:
    """Those that no other dominates, in their order."""
    return [point for point in points if not any(dominates(other, point) for other in points)]


def tell_front(points: Sequence[Point]) -> list[str]:
    """Sentences: who is on the front, and by whom the others are beaten."""
    front = sorted(find_front(points), key=lambda point: point.latency.value)
    if not front:
        return []
    names = [f"{p.label} (which fails)" if p.verdict == "fail" else p.label for p in front]
    told = [f"On the front, the fastest first: {', '.join(names)}."]
    beaten: dict[str, list[str]] = {}
    for point in points:
        if point not in front:
            better = next(p for p in front if dominates(p, point))
            doubt = " (in speed the two are not told apart)" if _overlap(better.latency, point.latency) else ""
            beaten.setdefault(better.label, []).append(f"{point.label}{doubt}")
    for name, others in beaten.items():
        told.append(f"{name} is in nothing behind and in something ahead of {', '.join(others)}.")
    return told


def draw_pareto(results: Sequence[Result]) -> str | None:
    """Latency along x, cost along y, the size of the file as the area, rings around the front; None without points."""
    points = points_of(results)
    if not points:
        return None
    drops = has_drops(results)
    figure, [axes] = draw_axes(3.7)
    biggest, front = max(point.bytes for point in points), find_front(points)
    for point in points:
        _draw(axes, point, 1.0 if drops else -1.0, biggest, point in front)
    axes.margins(x=0.14, y=0.24)
    set_log_ticks(axes)
    axes.set_xlabel("median latency, ms (left is faster)")
    if drops:
        axes.set_ylabel(f"{_what(results)} (down is better)")
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    else:
        axes.set_ylabel("SQNR about the mean, dB (up is better)")
    _label(figure, axes, points, 1.0 if drops else -1.0)
    return to_svg(figure, "pareto", "Latency, cost in accuracy, and size of each variant, with the front ringed")


def _drop(parity: Parity) -> Cost | None:
    if parity.metrics:
        first = parity.metrics[0]
        return Cost(first.drop, first.low, first.high)
    outputs = parity.outputs
    worst = max((o.accuracy for o in outputs if o.accuracy), key=lambda accuracy: accuracy.drop_points, default=None)
    return None if worst is None else Cost(worst.drop_points, worst.low, worst.high)


def _what(results: Sequence[Result]) -> str:
    name = next((r.parity.metrics[0].name for r in results if r.parity and r.parity.metrics), None)
    return "accuracy drop, points" if name is None else f"drop of {name}"


def _noise(outputs: Sequence[OutputParity]) -> Cost | None:
    """The SQNR of the worst output, turned round."""
    costs = [
        Cost(
            -o.centred_db,
            None if o.centred_high_db is None else -o.centred_high_db,
            None if o.centred_low_db is None else -o.centred_low_db,
        )
        for o in outputs
        if o.centred_db is not None
    ]
    return max(costs, key=lambda cost: cost.value, default=None)


def _overlap(one: Cost, other: Cost) -> bool:
    ends = (one.low, one.high, other.low, other.high)
    if None in ends:
        return False
    low, high, other_low, other_high = (float(end or 0.0) for end in ends)
    return low <= other_high and other_low <= high


def _draw(axes: Any, point: Point, sign: float, biggest: int, on_front: bool) -> None:
    colour = VERDICT_COLOURS[point.verdict]
    x, y = point.latency.value, sign * point.cost.value
    if point.cost.low is not None and point.cost.high is not None:
        axes.vlines(x, sign * point.cost.low, sign * point.cost.high, color=colour, linewidth=1.5)
    if point.latency.low is not None and point.latency.high is not None:
        axes.hlines(y, point.latency.low, point.latency.high, color=colour, linewidth=1.5)
    area = _SMALLEST + (_BIGGEST - _SMALLEST) * point.bytes / biggest
    axes.scatter([x], [y], s=area, color=colour, alpha=0.25, edgecolors="none")
    axes.scatter([x], [y], s=22, color=colour, marker=VERDICT_MARKS[point.verdict], zorder=3)
    if on_front:
        axes.scatter([x], [y], s=area * 1.35 + 40, facecolors="none", edgecolors=INK, linewidths=1.6, zorder=3)


# labels -----------------------------------------------------------------------------------------------------------


def _label(figure: Any, axes: Any, points: Sequence[Point], sign: float) -> None:
    """Names beside their marks, where they cover neither each other nor a mark; those that coincide share a label."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    place = axes.transData.transform
    scale = figure.dpi / 72
    groups: list[tuple[tuple[float, float], list[str]]] = []
    for point in points:
        x, y = (float(v) for v in place((point.latency.value, sign * point.cost.value)))
        near = next((names for (gx, gy), names in groups if abs(x - gx) < 9 and abs(y - gy) < 9), None)
        if near is None:
            groups.append(((x, y), [point.label]))
        else:
            near.append(point.label)
    taken: list[Any] = []
    for (x, y), names in sorted(groups):
        for up, right in _OFFSETS:
            label = axes.annotate(
                ",\n".join(", ".join(names[k : k + 2]) for k in range(0, len(names), 2)),
                axes.transData.inverted().transform((x, y)),
                xytext=(right, up),
                textcoords="offset points",
                ha="center" if right == 0 else "left" if right > 0 else "right",
                va="bottom" if up > 0 else "top" if up < 0 else "center",
                color=INK,
                parse_math=False,
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
                arrowprops={"arrowstyle": "-", "color": GRID} if abs(up) > 30 else None,
            )
            box = label.get_window_extent(canvas.get_renderer())
            marks = [(gx, gy) for (gx, gy), _ in groups if (gx, gy) != (x, y)]
            covers = any(
                box.x0 - 9 * scale < gx < box.x1 + 9 * scale and box.y0 - 9 * scale < gy < box.y1 + 9 * scale
                for gx, gy in marks
            )
            inside = box.x0 > 0 and box.x1 < figure.bbox.x1 and box.y0 > 0 and box.y1 < figure.bbox.y1
            if inside and not covers and not any(box.overlaps(other) for other in taken):
                break
            if (up, right) != _OFFSETS[-1]:
                label.remove()
        taken.append(box)


# up and right of the mark, in points
_OFFSETS = ((19, 0), (-19, 0), (0, 20), (0, -20), (34, 0), (-34, 0), (34, 20), (34, -20), (50, 0), (-50, 0), (66, 0))
