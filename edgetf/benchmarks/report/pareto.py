"""The plot of the cost of each variant in latency, accuracy and size; the Pareto front is marked by rings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

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

_MOST_NAMES = 24  # more cannot be placed beside their marks

# inches of the picture's height
_HEIGHT, _ROWS_AT_HEIGHT, _ROW = 3.7, 6, 0.15  # for so many labels, and for each that is more

_MARGINS = {"x": 0.14, "y": 0.24}  # shares of the axes that are left free for labels


def draw_pareto(results: Sequence[Result]) -> str | None:
    """Latency along x, cost along y, the size of the file as the area, rings around the front; None for one alone."""
    points = points_of(results)
    if len(points) < 2:
        return None
    drops = has_drops(results)
    sign = 1.0 if drops else -1.0
    front = find_front(points)
    named = _named(points, front)
    figure, [axes] = draw_axes(_HEIGHT + _ROW * max(0, len(named) - _ROWS_AT_HEIGHT))
    _draw(axes, points, front, sign)
    axes.margins(**_MARGINS)
    set_log_ticks(axes)
    axes.set_xlabel("median latency, ms (left is faster)")
    if drops:
        axes.set_ylabel(f"{_what(results)} (down is better)")
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
    else:
        axes.set_ylabel("SQNR about the mean, dB (up is better)")
    _label(figure, axes, named, [(p.latency.value, sign * p.cost.value) for p in points], sign)
    return to_svg(figure, "pareto", "Latency, cost in accuracy, and size of each variant, with the front ringed")


def marks_in_words(results: Sequence[Result]) -> str:
    """The legend of the marks."""
    marks = ", ".join(f"a {verdict.look.shape} {verdict.label}" for verdict in Verdict)
    points = points_of(results)
    if len(points) <= _MOST_NAMES:
        return f"{marks}."
    named, front = len(_named(points, find_front(points))), len(find_front(points))
    whose = "those on the front have" if named == front else f"the fastest {named} of {front} on the front have"
    return f"{marks}; of {len(points)} variants {whose} their names."


def _named(points: Sequence[Point], front: Sequence[Point]) -> list[Point]:
    """The points whose names are in the picture: all if they are few, otherwise the fastest on the front."""
    if len(points) <= _MOST_NAMES:
        return list(points)
    return sorted(front, key=lambda point: point.latency.value)[:_MOST_NAMES]


def _what(results: Sequence[Result]) -> str:
    losses = [loss for r in results if r.parity and (loss := drop_of(r.parity)) and loss.kind is not LossKind.ACCURACY]
    names = {loss.of for loss in losses}
    if not names:
        return "accuracy drop, points"
    name = names.pop() if len(names) == 1 else "the worst output"
    return f"drop of {name}" + (", points" if losses[0].kind is LossKind.LABELS else "")


def _draw(axes: Any, points: Sequence[Point], front: Sequence[Point], sign: float) -> None:
    """The discs, bars and marks of all points, those of one verdict at once, and the rings of the front."""
    biggest = max(point.bytes for point in points)

    def areas(some: Sequence[Point]) -> list[float]:
        return [_SMALLEST + (_BIGGEST - _SMALLEST) * point.bytes / biggest for point in some]

    def places(some: Sequence[Point]) -> tuple[list[float], list[float]]:
        return [point.latency.value for point in some], [sign * point.cost.value for point in some]

    for verdict in dict.fromkeys(point.verdict for point in points):
        look, some = LOOKS[verdict], [point for point in points if point.verdict == verdict]
        up = [p for p in some if is_known(p.cost)]
        ends = [[sign * (end or 0.0) for end in (p.cost.low, p.cost.high)] for p in up]
        axes.vlines(places(up)[0], [low for low, _ in ends], [high for _, high in ends], color=look.colour, lw=1.5)
        wide = [p for p in some if is_known(p.latency)]
        lows, highs = [p.latency.low for p in wide], [p.latency.high for p in wide]
        axes.hlines(places(wide)[1], lows, highs, color=look.colour, lw=1.5)
        axes.scatter(*places(some), s=areas(some), color=look.colour, alpha=0.25, edgecolors="none")
        axes.scatter(*places(some), s=_CENTRE, color=look.colour, marker=look.marker, zorder=3)
    rings = [area * _RING_SHARE + _RING_MORE for area in areas(front)]
    axes.scatter(*places(front), s=rings, facecolors="none", edgecolors=INK, linewidths=1.6, zorder=3)


# labels -----------------------------------------------------------------------------------------------------------


_Place = tuple[float, float]


def _label(figure: Any, axes: Any, points: Sequence[Point], marks: Sequence[_Place], sign: float) -> None:
    """Place the names of `points` beside their marks without overlaps; coinciding marks share a label.

    `marks` are the places of all marks in the picture, in its units.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    place = axes.transData.transform
    scale = figure.dpi / 72
    groups: list[tuple[_Place, list[str]]] = []
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
    shown = [(float(x), float(y)) for x, y in place(np.array(marks))]
    for (x, y), names in sorted(groups):
        text = ",\n".join(", ".join(names[k : k + 2]) for k in range(0, len(names), 2))
        others = [(mx, my) for mx, my in shown if abs(x - mx) >= _SAME_MARK or abs(y - my) >= _SAME_MARK]

        def faults(label: Any, others: Sequence[_Place] = others) -> tuple[bool, int, bool]:
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


def _annotate(axes: Any, text: str, at: _Place, offset: tuple[int, int]) -> Any:
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
