"""Shared parts of the report's plots: distinguishable lines, an empty canvas, and a figure as SVG text.

A plot is about as wide as a column of the report on a desktop, and readable on a phone. Its text is text, not paths.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from edgetf.benchmarks.report.colours import GRID, INK, LINES
from edgetf.errors import MissingExtraError
from edgetf.texts import printable

LINE_MARKS = ("o", "s", "^", "D", "v", "P")
LINE_DASHES = ("-", "--", ":")
_WIDTH = 4.5  # inches
_NOT_XML = re.compile(
    r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # characters that XML does not allow


def style_of(k: int) -> dict[str, str]:
    """Colour, marker and dash of the k-th line of a plot."""
    kinds = len(LINES)
    dash = LINE_DASHES[k // kinds % len(LINE_DASHES)]
    return {"color": LINES[k % kinds], "marker": LINE_MARKS[k % kinds], "linestyle": dash}


def draw_axes(height: float, panels: Sequence[float] = (1.0,)) -> tuple[Any, list[Any]]:
    """A figure `height` inches high, and its axes: panels of these relative heights, one above the other."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", "report") from error
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    ratios = {"height_ratios": list(panels)}
    found = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw=ratios)
    for axes in found[:, 0]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GRID)
        axes.tick_params(colors=INK, length=3)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    return figure, list(found[:, 0])


def set_log_ticks(axes: Any) -> None:
    """Plain numbers (0.02, 0.5, 30) on a logarithmic axis, a few per decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    narrow = high / low < 3000
    if high / low < 4:  # too narrow for decades: a linear scale is clearer
        axes.set_xscale("linear")
        return
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,), numticks=30))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def to_svg(figure: Any, salt: str, title: str) -> str:
    """The figure as SVG text whose ids begin with `salt`; `title` is for screen readers."""
    import matplotlib

    for text in figure.findobj(lambda artist: hasattr(artist, "set_parse_math")):
        text.set_parse_math(False)  # a $ in a variant's name does not begin a formula
    buffer = io.StringIO()
    style = {"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif", "text.parse_math": False}
    with matplotlib.rc_context(style):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = _NOT_XML.sub("", buffer.getvalue())
    text = text[text.index("<svg") :]
    text = re.sub(r'id="([^"]+)"', rf'id="{salt}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{salt}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{salt}-\1"', text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(printable(title))}" ', 1)
