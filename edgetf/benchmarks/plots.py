"""The pictures of the report, as SVG text: size, latency and accuracy in one; and the latency distributions."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.errors import MissingExtraError
from edgetf.results import Result

_COLOURS = {"pass": "#1a7f4b", "fail": "#c0362c", "inconclusive": "#9a6700", "none": "#4a5568"}
_INK, _GRID = "#1f2933", "#dde3ea"


@dataclass(frozen=True)
class Times:
    """All latencies of one row of the distribution picture, in milliseconds."""

    label: str
    ms: NDArray[np.float64]
    verdict: str


def tradeoff_svg(results: Sequence[Result]) -> str | None:
    """Latency along x, its cost along y, the size of the file as the size of the mark; None where nothing was compared.

    The cost is the accuracy drop where there are labels, else the SQNR about the mean of the worst output.
    """
    points = _points(results)
    if not points or not any(r.parity for r in results):
        return None
    figure, axes = _axes(4.2)
    biggest = max(point.bytes for point in points)
    for point in points:
        colour = _COLOURS[point.verdict]
        if point.low is not None and point.high is not None:
            axes.vlines(point.ms, point.low, point.high, color=colour, linewidth=1.5, alpha=0.7)
        area = 60 + 840 * point.bytes / biggest
        axes.scatter([point.ms], [point.cost], s=area, color=colour, alpha=0.35, edgecolors=colour, linewidths=1.5)
        axes.scatter([point.ms], [point.cost], s=6, color=colour)
    _label_points(axes, [(point.ms, point.cost, point.label) for point in points])
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.2)
    _plain_ticks(axes)
    axes.set_xlabel("median latency, ms")
    if _drops(results):
        axes.set_ylabel("accuracy drop, points (lower is better)")
        axes.axhline(0, color=_INK, linewidth=0.8, linestyle=":")
    else:
        axes.set_ylabel("SQNR about the mean, dB (higher is better)")
    return _svg(figure, "tradeoff", "Latency, cost in accuracy, and size of each variant")


def distribution_svg(rows: Sequence[Times]) -> str | None:
    """A box for each row: the middle half, the median, and whiskers from the 1st to the 99th percentile."""
    if not rows:
        return None
    figure, axes = _axes(0.9 + 0.42 * len(rows))
    boxes = axes.boxplot(
        [row.ms for row in reversed(rows)],
        orientation="horizontal",
        whis=(1, 99),
        showfliers=False,
        patch_artist=True,
        widths=0.55,
        tick_labels=[row.label for row in reversed(rows)],
    )
    for box, row in zip(boxes["boxes"], reversed(rows), strict=True):
        box.set(facecolor=_COLOURS[row.verdict] + "66", edgecolor=_COLOURS[row.verdict])
    for line in (*boxes["whiskers"], *boxes["caps"]):
        line.set(color=_COLOURS["none"])
    for line in boxes["medians"]:
        line.set(color=_INK, linewidth=2)
    axes.set_xscale("log")
    _plain_ticks(axes)
    axes.set_xlabel("latency of one inference, ms")
    return _svg(figure, "latency", "Distribution of latencies of each variant")


@dataclass(frozen=True)
class _Point:
    label: str
    ms: float
    bytes: int
    verdict: str
    cost: float
    low: float | None
    high: float | None


def _drops(results: Sequence[Result]) -> bool:
    """Whether the picture shows accuracy drops: some result has one."""
    return any(output.accuracy for result in results if result.parity for output in result.parity.outputs)


def _points(results: Sequence[Result]) -> list[_Point]:
    """The results that have a latency and the cost that the picture shows."""
    drops = _drops(results)
    known = [o.centred_db for r in results if r.parity for o in r.parity.outputs if o.centred_db is not None]
    top = max(known, default=0.0) + 10  # where a variant without any error is drawn: infinity is higher than all
    points = []
    for result in results:
        if result.latency_ms is None or result.bytes is None or result.parity is None:
            continue
        verdict = result.parity.verdict.value
        point = _Point(result.variant, result.latency_ms.median, result.bytes, verdict, 0.0, None, None)
        outputs = result.parity.outputs
        dropped = [output.accuracy for output in outputs if output.accuracy]
        if drops and dropped:
            point = replace(point, cost=dropped[0].drop_points, low=dropped[0].low, high=dropped[0].high)
        elif drops:
            continue
        elif finite := [output for output in outputs if output.centred_db is not None]:
            worst = min(finite, key=lambda output: output.centred_db or 0.0)
            point = replace(point, cost=worst.centred_db or 0.0, low=worst.centred_low_db, high=worst.centred_high_db)
        else:
            point = replace(point, cost=top, label=f"{result.variant} (no error)")
        points.append(point)
    return points


def _axes(height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "report") from error
    figure = Figure(figsize=(8.4, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.tick_params(colors=_INK, length=3)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    return figure, axes


def _plain_ticks(axes: Any) -> None:
    """Numbers as people write them (0.02, 0.5, 30) on a logarithmic axis, a few to a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_xlim()
    narrow = high / low < 3000
    if high / low < 4:  # too little for decades: a plain scale says more
        axes.set_xscale("linear")
        return
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _label_points(axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Names above their marks; marks that (nearly) coincide share a label."""
    groups: list[tuple[float, float, list[str]]] = []
    span = max(p[1] for p in points) - min(p[1] for p in points) or 1.0
    for x, y, name in points:
        for gx, gy, names in groups:
            if abs(x / gx - 1) < 0.08 and abs(y - gy) < 0.06 * span:
                names.append(name)
                break
        else:
            groups.append((x, y, [name]))
    xs = [point[0] for point in points]
    near = max(1.3, (max(xs) / min(xs)) ** 0.25)
    left, level = 0.0, 0
    for x, y, names in sorted(groups):
        level = (level + 1) % 3 if left and x / left < near else 0  # neighbours at different heights
        left = x
        axes.annotate(
            ", ".join(names),
            (x, y),
            xytext=(0, 18 + 15 * level),
            textcoords="offset points",
            ha="center",
            color=_INK,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )


def _svg(figure: Any, salt: str, title: str) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif", "font.size": 11}
    ):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'id="([^"]+)"', rf'id="{salt}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{salt}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{salt}-\1"', text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
