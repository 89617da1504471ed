"""The plots of time in the report, as SVG text: the distribution of latencies, and their change over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.report.canvas import draw_axes, set_log_ticks, style_of, to_svg
from edgetf.benchmarks.report.colours import CLOCK, HEAT, INK
from edgetf.results import Result
from edgetf.verdicts import LOOKS, TIMED

_BOX = 0.55  # the height of a box, of a row
_MOST_LINES = 18  # each has its own colour and dash: more cannot be distinguished


@dataclass(frozen=True)
class Latencies:
    """The latencies of one row of the distribution plot, in milliseconds: percentiles 1, 25, 50, 75 and 99."""

    label: str
    low: float
    lower: float
    median: float
    upper: float
    high: float
    verdict: str


def latencies_of(label: str, ns: NDArray[np.int64], verdict: str) -> Latencies:
    """The row of all latencies of a variant, in nanoseconds."""
    low, lower, median, upper, high = (float(one) / 1e6 for one in np.percentile(ns, [1, 25, 50, 75, 99]))
    return Latencies(label, low, lower, median, upper, high, verdict)


@dataclass(frozen=True)
class Curve:
    """The latency of one variant over time: at each `at` (a turn, or the end of a minute) its median in ms, and the
    device's temperature in degrees Celsius and frequency in MHz, None if not reported."""

    label: str
    at: tuple[float, ...]
    ms: tuple[float, ...]
    heat: tuple[float | None, ...]
    clock: tuple[float | None, ...]


@dataclass(frozen=True)
class _State:
    """What the device reported with the times of each curve, for a separate panel."""

    label: str
    colour: str
    values: Sequence[Sequence[float | None]]


def draw_distribution(rows: Sequence[Latencies]) -> str | None:
    """A box for each row: the middle half, the median, and whiskers from the 1st to the 99th percentile."""
    if not rows:
        return None
    figure, [axes] = draw_axes(0.7 + 0.34 * len(rows))
    at = np.arange(len(rows))[::-1]
    low, lower, median, upper, high = np.array([(r.low, r.lower, r.median, r.upper, r.high) for r in rows]).T
    colours = [LOOKS[row.verdict].colour for row in rows]
    for ends in ((low, lower), (upper, high)):
        axes.hlines(at, *ends, color=TIMED.colour, linewidth=1)
    for end in (low, high):
        axes.vlines(end, at - _BOX / 4, at + _BOX / 4, color=TIMED.colour, linewidth=1)
    faces = [f"{colour}66" for colour in colours]
    axes.barh(at, upper - lower, _BOX, lower, color=faces, edgecolor=colours, linewidth=1)
    axes.vlines(median, at - _BOX / 2, at + _BOX / 2, color=INK, linewidth=2)
    axes.set_yticks(at, [row.label for row in rows])
    axes.grid(visible=False, axis="y")
    axes.set_ylim(-0.5, len(rows) - 0.5)
    set_log_ticks(axes)
    axes.set_xlabel("latency of one inference, ms")
    return to_svg(figure, "latency", "Distribution of latencies of each variant")


def curves_of_turns(results: Sequence[Result]) -> list[Curve]:
    """The blocks of each variant, by their turn among all."""
    return [
        Curve(
            result.variant,
            tuple(float(block.turn) for block in result.blocks),
            tuple(block.median_ms for block in result.blocks),
            tuple(_number(block.temperature_c) for block in result.blocks),
            tuple(_number(block.frequency_mhz) for block in result.blocks),
        )
        for result in results
        if len(result.blocks) > 1
    ]


def curves_of_minutes(results: Sequence[Result]) -> list[Curve]:
    """The minutes of sustained load of each variant, if there are several."""
    return [
        Curve(
            result.variant,
            tuple(min(float(k + 1), result.sustained.seconds / 60) for k in range(len(result.sustained.minutes))),
            tuple(minute.median_ms for minute in result.sustained.minutes),
            tuple(minute.temperature_c for minute in result.sustained.minutes),
            tuple(minute.frequency_mhz for minute in result.sustained.minutes),
        )
        for result in results
        if result.sustained and len(result.sustained.minutes) > 1
    ]


def draw_turns(results: Sequence[Result]) -> str | None:
    """Each block's median relative to its variant's, over the turns; below it temperature and frequency, if known."""
    curves = curves_of_turns(results)
    return _draw_curves("turns", "Latency over the turns", curves, xlabel="turn, one after another", shared=True)


def draw_minutes(results: Sequence[Result]) -> str | None:
    """Each minute's median relative to the first, under sustained load, with temperature and frequency, if known."""
    curves = curves_of_minutes(results)
    return _draw_curves("minutes", "Latency over minutes of load", curves, xlabel="minutes of load", shared=False)


def _draw_curves(name: str, title: str, curves: Sequence[Curve], *, xlabel: str, shared: bool) -> str | None:
    """Draw curves. With `shared` all variants took turns: temperature and frequency are one line for all."""
    if not curves:
        return None
    shown = _liveliest(curves, shared)
    reporting = curves if shared else shown
    possible = (
        _State("temperature,\n°C", HEAT, [curve.heat for curve in reporting]),
        _State("frequency,\nMHz", CLOCK, [curve.clock for curve in reporting]),
    )
    states = [state for state in possible if any(value is not None for one in state.values for value in one)]
    more = len(curves) - len(shown)
    columns = max(1, min(3, 50 // (8 + max(len(curve.label) for curve in shown))))
    legend = 0.22 * (-(-len(shown) // columns) + bool(more))
    figure, panels = draw_axes(2.4 + legend + 1.1 * len(states), [2.2, *(1.0 for _ in states)])
    for k, curve in enumerate(shown):
        panels[0].plot(curve.at, _change(curve, shared), label=curve.label, linewidth=1.5, markersize=5, **style_of(k))
    panels[0].axhline(0, color=INK, linewidth=0.8, linestyle=":")
    panels[0].set_ylabel("median, % from\nits variant's own" if shared else "median, % from\nthe first minute")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(min(low, -1.0), max(high, 1.0))  # noise of a thousandth must not fill the plot
    for axes, state in zip(panels[1:], states, strict=True):
        _draw_state(axes, reporting, state, shared)
        axes.set_ylabel(state.label)
    panels[-1].set_xlabel(xlabel)
    if all(float(at).is_integer() for curve in shown for at in curve.at):
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
    if not shared:
        panels[-1].set_xlim(0, 1.05 * max(at for curve in shown for at in curve.at))
    handles, labels = panels[0].get_legend_handles_labels()
    left_out = f"{more} steadier variants are not drawn" if more else None
    style = {"loc": "outside upper left", "frameon": False, "labelcolor": INK, "alignment": "left"}
    figure.legend(handles, labels, ncols=columns, title=left_out, **style)
    return to_svg(figure, name, title)


def _change(curve: Curve, shared: bool) -> list[float]:
    """Percent that each median of a curve is above its variant's own, or without `shared` above its first."""
    base = float(np.median(curve.ms)) if shared else curve.ms[0]
    return [100 * (ms / base - 1) for ms in curve.ms]


def _liveliest(curves: Sequence[Curve], shared: bool) -> list[Curve]:
    """The curves that move most, in their order: as many as can be distinguished."""
    order = sorted(range(len(curves)), key=lambda k: -float(np.ptp(_change(curves[k], shared))))
    return [curves[k] for k in sorted(order[:_MOST_LINES])]


def _draw_state(axes: Any, curves: Sequence[Curve], state: _State, shared: bool) -> None:
    """Draw values that the device reported: one line for all variants, or a line for each."""
    lines = [
        [(at, value) for at, value in zip(curve.at, known, strict=True) if value is not None]
        for curve, known in zip(curves, state.values, strict=True)
    ]
    if shared:
        whole = sorted(pair for line in lines for pair in line)
        axes.plot([at for at, _ in whole], [value for _, value in whole], color=state.colour, marker=".", linewidth=1.5)
        return
    for k, line in enumerate(lines):
        axes.plot([at for at, _ in line], [value for _, value in line], linewidth=1.5, markersize=4, **style_of(k))


def _number(text: str) -> float | None:
    return float(text) if text else None
