"""The plot of the cost of each variant in latency, accuracy and size; the Pareto front is marked by rings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgetf.benchmarks.judging.front import Point, find_front, has_drops, is_known, points_of
from edgetf.benchmarks.judging.loss import LossKind, drop_of
from edgetf.benchmarks.report.canvas import draw_axes, set_log_ticks, to_svg
from edgetf.benchmarks.report.colours import GRID, INK
from edgetf.results import Result
from edgetf.verdicts import LOOKS, Verdict

# areas of marks, in square points
_BIGGEST = 500.0  # the disc of the largest file
_SMALLEST = 40.0  # that of a file of no size
_CENTRE = 22.0  # the mark in the middle, whose form is the verdict's
_RING_SHARE, _RING_MORE = 1.35, 40.0  # a ring around the front stays clear of small and of large discs

# lengths in points
_SAME_MARK = 9.0  # marks that are nearer than this share a label; a label keeps as far from other marks
_LEADER = 30  # labels that are farther up or down have a line to their mark

# inches of the picture's height
_HEIGHT, _ROWS_AT_HEIGHT, _ROW = 3.7, 6, 0.15  # for so many labels, and for each that is more

_MARGINS = {"x": 0.14, "y": 0.24}  # shares of the axes that are left free for labels


def draw_pareto(results: Sequence[Result]) -> str | None:
    """Latency along x, cost along y, the size of the file as the area, rings around the front; None for one alone."""
    points = points_of(results)
    if len(points) < 2:
        return None
    drops = has_drops(results)
    figure, [axes] = draw_axes(_HEIGHT + _ROW * max(0, len(points) - _ROWS_AT_HEIGHT))
    biggest, front = max(point.bytes for point in points), find_front(points)
    for point in points:
        _draw(axes, point, 1.0 if drops else -1.0, biggest, point in front)
    axes.margins(**_MARGINS)
    set_log_ticks(axes)
    axes.set_xlabel("median latency, ms (left is faster)")
    if drops:
        axes.set_ylabel(f"{_what(results)} (down is better)")
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    else:
        axes.set_ylabel("SQNR about the mean, dB (up is better)")
    _label(figure, axes, points, 1.0 if drops else -1.0)
    return to_svg(figure, "pareto", "Latency, cost in accuracy, and size of each variant, with the front ringed")


def marks_in_words() -> str:
    """The legend of the marks."""
    return ", ".join(f"a {verdict.look.shape} {verdict.label}" for verdict in Verdict)


def _what(results: Sequence[Result]) -> str:
    losses = [loss for r in results if r.parity and (loss := drop_of(r.parity)) and loss.kind is not LossKind.ACCURACY]
    names = {loss.of for loss in losses}
    if not names:
        return "accuracy drop, points"
    name = names.pop() if len(names) == 1 else "the worst output"
    return f"drop of {name}" + (", points" if losses[0].kind is LossKind.LABELS else "")


def _draw(axes: Any, point: Point, sign: float, biggest: int, on_front: bool) -> None:
    colour = LOOKS[point.verdict].colour
    x, y = point.latency.value, sign * point.cost.value
    if is_known(point.cost):
        axes.vlines(x, sign * (point.cost.low or 0.0), sign * (point.cost.high or 0.0), color=colour, linewidth=1.5)
    if is_known(point.latency):
        axes.hlines(y, point.latency.low, point.latency.high, color=colour, linewidth=1.5)
    area = _SMALLEST + (_BIGGEST - _SMALLEST) * point.bytes / biggest
    axes.scatter([x], [y], s=area, color=colour, alpha=0.25, edgecolors="none")
    axes.scatter([x], [y], s=_CENTRE, color=colour, marker=LOOKS[point.verdict].marker, zorder=3)
    if on_front:
        ring = area * _RING_SHARE + _RING_MORE
        axes.scatter([x], [y], s=ring, facecolors="none", edgecolors=INK, linewidths=1.6, zorder=3)


# labels -----------------------------------------------------------------------------------------------------------


def _label(figure: Any, axes: Any, points: Sequence[Point], sign: float) -> None:
    """Place names beside their marks without overlaps; coinciding marks share a label."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    place = axes.transData.transform
    scale = figure.dpi / 72
    groups: list[tuple[tuple[float, float], list[str]]] = []
    for point in points:
        x, y = (float(v) for v in place((point.latency.value, sign * point.cost.value)))
        near = next(
            (names for (gx, gy), names in groups if abs(x - gx) < _SAME_MARK and abs(y - gy) < _SAME_MARK), None
        )
        if near is None:
            groups.append(((x, y), [point.label]))
        else:
            near.append(point.label)
    taken: list[Any] = []
    for (x, y), names in sorted(groups):
        text = ",\n".join(", ".join(names[k : k + 2]) for k in range(0, len(names), 2))
        others = [place for place, _ in groups if place != (x, y)]

        def faults(label: Any, others: Sequence[tuple[float, float]] = others) -> tuple[bool, int, bool]:
            """Whether it is truncated; the number of marks and names that it covers; whether it leaves the axes."""
            box, near = label.get_window_extent(canvas.get_renderer()), _SAME_MARK * scale
            marks = sum(box.x0 - near < gx < box.x1 + near and box.y0 - near < gy < box.y1 + near for gx, gy in others)
            names = sum(bool(box.overlaps(other)) for other in taken)
            return _leaves(box, figure.bbox), marks + names, _leaves(box, axes.bbox)

        at = axes.transData.inverted().transform((x, y))
        best = None
        for offset in _OFFSETS:
            label = _annotate(axes, text, at, offset)
            found = faults(label)
            label.remove()
            if best is None or found < best[0]:
                best = found, offset
            if found == (False, 0, False):
                break
        assert best is not None
        taken.append(_annotate(axes, text, at, best[1]).get_window_extent(canvas.get_renderer()))


def _leaves(box: Any, room: Any) -> bool:
    return bool(box.x0 < room.x0 or box.x1 > room.x1 or box.y0 < room.y0 or box.y1 > room.y1)


def _annotate(axes: Any, text: str, at: tuple[float, float], offset: tuple[int, int]) -> Any:
    up, right = offset
    label = axes.annotate(
        text,
        at,
        xytext=(right, up),
        textcoords="offset points",
        ha="center" if right == 0 else "left" if right > 0 else "right",
        va="bottom" if up > 0 else "top" if up < 0 else "center",
        color=INK,
        parse_math=False,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        arrowprops={"arrowstyle": "-", "color": GRID} if abs(up) > _LEADER else None,
    )
    label.set_in_layout(False)  # otherwise the axes would shrink
    return label


# where labels are tried, in this order: up and right of the mark, in points
_NEAR = ((19, 0), (-19, 0), (0, 20), (0, -20), (34, 0), (-34, 0), (34, 20), (34, -20), (50, 0), (-50, 0), (66, 0))
_OFFSETS = (*_NEAR, *((up, right) for up in (50, -50, 66, -66, 82, -82) for right in (30, -30, 60, -60)))
