"""The pictures of time in the report, as SVG text: how latencies are spread, and how they went over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.canvas import INK, VERDICT_COLOURS, draw_axes, set_log_ticks, style_of, to_svg
from edgetf.results import Result

_HEAT = "#a11d33"
_CLOCK = "#31458f"


@dataclass(frozen=True)
class Times:
    """All latencies of one row of the distribution picture, in milliseconds."""

    label: str
    ms: NDArray[np.float64]
    verdict: str


@dataclass(frozen=True)
class Course:
    """How one variant went: at each `at` (a turn, or the end of a minute) its median in milliseconds, and what the
    device told then: degrees Celsius and MHz, None where it did not."""

    label: str
    at: tuple[float, ...]
    ms: tuple[float, ...]
    heat: tuple[float | None, ...]
    clock: tuple[float | None, ...]


def draw_distribution(rows: Sequence[Times]) -> str | None:
    """A box for each row: the middle half, the median, and whiskers from the 1st to the 99th percentile."""
    if not rows:
        return None
    figure, [axes] = draw_axes(0.7 + 0.34 * len(rows))
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
        box.set(facecolor=VERDICT_COLOURS[row.verdict] + "66", edgecolor=VERDICT_COLOURS[row.verdict])
    for line in (*boxes["whiskers"], *boxes["caps"]):
        line.set(color=VERDICT_COLOURS["none"])
    for line in boxes["medians"]:
        line.set(color=INK, linewidth=2)
    set_log_ticks(axes)
    axes.set_xlabel("latency of one inference, ms")
    return to_svg(figure, "latency", "Distribution of latencies of each variant")


def courses_of_turns(results: Sequence[Result]) -> list[Course]:
    """The blocks of each variant, by their turn among all."""
    return [
        Course(
            result.variant,
            tuple(float(block.turn) for block in result.blocks),
            tuple(block.median_ms for block in result.blocks),
            tuple(_number(block.temperature_c) for block in result.blocks),
            tuple(_number(block.frequency_mhz) for block in result.blocks),
        )
        for result in results
        if len(result.blocks) > 1
    ]


def courses_of_minutes(results: Sequence[Result]) -> list[Course]:
    """The minutes of sustained load of each variant, where there is more than one."""
    return [
        Course(
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
    """Each block's median against its variant's own, over the turns; below it heat and frequency where known."""
    return _draw_course(courses_of_turns(results), "turn, one after another", ("turns", "Latency over the turns"), True)


def draw_minutes(results: Sequence[Result]) -> str | None:
    """Each minute's median against the first, under load without a pause, with heat and frequency where known."""
    titles = ("minutes", "Latency over minutes of load")
    return _draw_course(courses_of_minutes(results), "minutes of load", titles, False)


def _draw_course(courses: Sequence[Course], xlabel: str, titles: tuple[str, str], shared: bool) -> str | None:
    """`shared` says that all variants took turns, so that heat and frequency are one line; else each has its own."""
    if not courses:
        return None
    told = [
        (name, unit, colour, values)
        for name, unit, colour, values in (
            ("temperature", "°C", _HEAT, [course.heat for course in courses]),
            ("frequency", "MHz", _CLOCK, [course.clock for course in courses]),
        )
        if any(value is not None for one in values for value in one)
    ]
    columns = max(1, min(3, 50 // (8 + max(len(course.label) for course in courses))))
    legend = 0.22 * -(-len(courses) // columns)
    figure, panels = draw_axes(2.4 + legend + 1.1 * len(told), [2.2, *(1.0 for _ in told)])
    for k, course in enumerate(courses):
        base = float(np.median(course.ms)) if shared else course.ms[0]
        change = [100 * (ms / base - 1) for ms in course.ms]
        panels[0].plot(course.at, change, label=course.label, linewidth=1.5, markersize=5, **style_of(k))
    panels[0].axhline(0, color=INK, linewidth=0.8, linestyle=":")
    panels[0].set_ylabel("median, % from\nits variant's own" if shared else "median, % from\nthe first minute")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(min(low, -1.0), max(high, 1.0))  # noise of a thousandth is not to look like a mountain
    for axes, (name, unit, colour, values) in zip(panels[1:], told, strict=True):
        _draw_told(axes, courses, values, colour if shared else None)
        axes.set_ylabel(f"{name},\n{unit}")
    panels[-1].set_xlabel(xlabel)
    if all(float(at).is_integer() for course in courses for at in course.at):
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
    if not shared:
        panels[-1].set_xlim(0, 1.05 * max(at for course in courses for at in course.at))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, frameon=False, labelcolor=INK)
    return to_svg(figure, *titles)


def _draw_told(axes: Any, courses: Sequence[Course], values: Sequence[Sequence[float | None]], one: str | None) -> None:
    """What the device told: one line in the colour `one` for all variants, or each variant's own."""
    lines = [
        [(at, value) for at, value in zip(course.at, known, strict=True) if value is not None]
        for course, known in zip(courses, values, strict=True)
    ]
    if one is not None:
        whole = sorted(pair for line in lines for pair in line)
        axes.plot([at for at, _ in whole], [value for _, value in whole], color=one, marker=".", linewidth=1.5)
        return
    for k, line in enumerate(lines):
        axes.plot([at for at, _ in line], [value for _, value in line], linewidth=1.5, markersize=4, **style_of(k))


def _number(said: str) -> float | None:
    return float(said) if said else None
