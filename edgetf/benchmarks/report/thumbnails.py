"""Arrays of samples as thumbnails: images as PNG, signals as lines, a few numbers as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from edgetf.benchmarks.report.colours import LINES
from edgetf.samples import Array

_FEW = 12  # numbers that are written as text
_EDGE = 112  # maximum size of an image in pixels
_LEAST_EDGE = 4  # minimum size of an image; smaller arrays are numbers
_MOST_LINES = 6  # maximum number of channels of a signal
_BUCKETS = 100  # per line, each drawn from its smallest to its largest value


class ThumbnailKind(str, Enum):
    IMAGE = "image"
    LINES = "lines"
    TEXT = "text"


@dataclass(frozen=True)
class Line:
    """`points` for an SVG polyline in a box of 100 by 40, and its colour."""

    points: str
    colour: str


@dataclass(frozen=True)
class Thumbnail:
    """One array as a data URI, lines, or text, depending on `kind`. `about` describes it."""

    kind: ThumbnailKind
    about: str
    uri: str = ""
    lines: tuple[Line, ...] = ()
    text: str = ""


def draw_arrays(rows: Sequence[Array]) -> list[Thumbnail]:
    """Thumbnails of arrays of one shape, on the same scale: from the smallest to the largest of all values."""
    kind = kind_of(rows[0])
    if kind is ThumbnailKind.TEXT:
        return [Thumbnail(kind, "values", text=_to_text(row)) for row in rows]
    values = [np.asarray(row, np.float64) for row in rows]
    finite = np.concatenate([one[np.isfinite(one)] for one in values])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if rows[0].dtype == np.uint8 and kind is ThumbnailKind.IMAGE:
        low, high = 0.0, 255.0
    scale = (low, high if high > low else low + 1.0)
    described = f"{list(rows[0].shape)}, {low:.3g} to {high:.3g}"
    if kind is ThumbnailKind.IMAGE:
        return [Thumbnail(kind, f"image {described}", uri=_to_png(one, scale)) for one in values]
    return [Thumbnail(kind, f"signal {described}", lines=_to_lines(one, scale)) for one in values]


def kind_of(row: Array) -> ThumbnailKind:
    """The kind of thumbnail: (H, W, 1 or 3) and larger (H, W) is an image, (T,) and (T, few) are lines."""
    if row.dtype.kind not in "iufb" or row.size <= _FEW:
        return ThumbnailKind.TEXT
    if row.ndim == 3 and row.shape[2] in (1, 3) and min(row.shape[:2]) >= _LEAST_EDGE:
        return ThumbnailKind.IMAGE
    if row.ndim == 1 or (row.ndim == 2 and row.shape[1] <= _MOST_LINES):
        return ThumbnailKind.LINES
    return ThumbnailKind.IMAGE if row.ndim == 2 and min(row.shape) >= _LEAST_EDGE else ThumbnailKind.TEXT


def _to_text(row: Array) -> str:
    flat = row.reshape(-1)
    described = ", ".join(f"{v:.4g}" if row.dtype.kind in "iuf" else str(v)[:80] for v in flat[:_FEW].tolist())
    return described if flat.size <= _FEW else f"{row.dtype} {list(row.shape)}: {described}, …"


def _to_png(values: Any, scale: tuple[float, float]) -> str:
    """A PNG as a data URI, in colour or greyscale; large images are downsampled by averaging."""
    from matplotlib.image import imsave

    pixels = values if values.ndim == 3 else values[..., np.newaxis]
    step = -(-max(pixels.shape[:2]) // _EDGE)
    if step > 1:
        h, w = (max(edge // step, 1) for edge in pixels.shape[:2])
        tall, wide = min(step, pixels.shape[0]), min(step, pixels.shape[1])
        pixels = pixels[: h * tall, : w * wide].reshape(h, tall, w, wide, -1).mean(axis=(1, 3))
    grey = np.nan_to_num((pixels - scale[0]) / (scale[1] - scale[0]), nan=0.0, posinf=1.0, neginf=0.0)
    coloured = np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey
    buffer = io.BytesIO()
    imsave(buffer, np.uint8(np.rint(255 * coloured.clip(0, 1))), format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _to_lines(values: Any, scale: tuple[float, float]) -> tuple[Line, ...]:
    signal = values.reshape(len(values), -1)
    lines = []
    for k in range(signal.shape[1]):
        heights = _thin(np.nan_to_num(signal[:, k], nan=scale[0], posinf=scale[1], neginf=scale[0]))
        y = 39 - 38 * (heights - scale[0]) / (scale[1] - scale[0])
        x = np.linspace(0, 100, len(y))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines.append(Line(points, LINES[k % len(LINES)]))
    return tuple(lines)


def _thin(line: Any) -> Any:
    """At most two points per bucket, its smallest and its largest, so that no peak is lost."""
    if len(line) <= 2 * _BUCKETS:
        return line
    parts = np.array_split(line, _BUCKETS)
    return np.array([end for part in parts for end in (part.min(), part.max())])
