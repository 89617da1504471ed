"""Entries of the history in, a picture out: latency and accuracy drop of each variant on a device, commit by commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgetf.benchmarks.canvas import INK, draw_axes, style_of, to_svg
from edgetf.benchmarks.history import Entry
from edgetf.errors import EdgetfError

_MOST_TICKS = 12


def draw_trend(entries: Sequence[Entry], device: str) -> str:
    """An SVG of what was measured on `device`, oldest at the left. Raises EdgetfError where nothing was."""
    known = [one for one in entries if one.device == device and one.result.latency_ms]
    if not known:
        raise EdgetfError(f"nothing that was measured on {device!r} is in the history", "see: edgetf history list")
    names = list(dict.fromkeys(one.name for one in known))
    if len(names) > 1:
        raise EdgetfError(f"{device} has measured several models: {', '.join(names)}", "choose one with --model")
    runs = list(dict.fromkeys((one.created, one.digest, one.commit) for one in known))
    places = {run[1]: k for k, run in enumerate(runs)}
    drops = any(_drop(one) for one in known)
    figure, panels = draw_axes(4.6 if drops else 2.8, (1.0, 1.0) if drops else (1.0,))
    variants = list(dict.fromkeys(one.variant for one in known))
    for k, variant in enumerate(variants):
        own = [one for one in known if one.variant == variant]
        times = [(places[one.digest], one.result.latency_ms) for one in own]
        _line(panels[0], k, variant, [(x, t.median, t.low, t.high) for x, t in times if t])
        if drops:
            _line(panels[1], k, variant, [(places[one.digest], *drop) for one in own if (drop := _drop(one))])
    panels[0].set_ylabel(f"median ms on {device}")
    panels[0].set_ylim(bottom=0)
    if drops:
        panels[1].set_ylabel("drop, points")
        panels[1].axhline(0, color=INK, linewidth=0.8, linestyle=":")
    step = -(-len(runs) // _MOST_TICKS)
    panels[-1].set_xticks(range(0, len(runs), step), [_name(run) for run in runs[::step]], rotation=40, ha="right")
    panels[0].legend(frameon=False, ncols=2, loc="lower left")
    return to_svg(figure, "trend", f"Latency on {device} over commits")


def _line(axes: Any, k: int, label: str, points: Sequence[tuple[float, float, float, float]]) -> None:
    xs, middle, low, high = zip(*points, strict=True) if points else ((), (), (), ())
    reach = [[m - a for m, a in zip(middle, low, strict=True)], [b - m for m, b in zip(middle, high, strict=True)]]
    axes.errorbar(xs, middle, reach, label=label, capsize=2, linewidth=1.2, markersize=4, **style_of(k))


def _drop(entry: Entry) -> tuple[float, float, float] | None:
    outputs = entry.result.parity.outputs if entry.result.parity else ()
    found = next((output.accuracy for output in outputs if output.accuracy), None)
    return (found.drop_points, found.low, found.high) if found else None


def _name(run: tuple[str, str, str]) -> str:
    created, _, commit = run
    return commit[:8] + ("+" if commit.endswith("+") else "") if commit else created[:10]
