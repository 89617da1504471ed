from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from edgetf.benchmarks.report.thumbnails import ThumbnailKind, draw_arrays, kind_of


def pixels(uri: str) -> Any:
    return imread(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))[..., :3]


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((28, 28, 1), ThumbnailKind.IMAGE),
        ((224, 224, 3), ThumbnailKind.IMAGE),
        ((49, 40), ThumbnailKind.IMAGE),  # a spectrogram
        ((16000,), ThumbnailKind.LINES),
        ((128, 3), ThumbnailKind.LINES),  # three axes of an accelerometer
        ((4,), ThumbnailKind.TEXT),
        ((), ThumbnailKind.TEXT),
        ((5, 6, 7, 8), ThumbnailKind.TEXT),
    ],
)
def test_the_shape_of_an_array_decides_how_it_is_drawn(shape: tuple[int, ...], kind: ThumbnailKind) -> None:
    assert kind_of(np.zeros(shape, np.float32)) is kind
    assert [one.kind for one in draw_arrays([np.zeros(shape, np.float32)] * 2)] == [kind, kind]


def test_images_are_on_one_scale_in_their_colours_and_small() -> None:
    dark, light = np.full((8, 8, 3), -1.0), np.full((8, 8, 3), -1.0)
    light[2:4, :, 0] = 3.0
    one, other = (pixels(t.uri) for t in draw_arrays([dark, light]))
    assert one.max() == 0
    assert other[2, 0].tolist() == [1.0, 0.0, 0.0]
    assert pixels(draw_arrays([np.random.default_rng(0).random((500, 300, 1))])[0].uri).shape == (100, 60, 3)
    assert pixels(draw_arrays([np.full((4, 4, 1), 51, np.uint8)])[0].uri).max() == pytest.approx(0.2)


def test_a_long_signal_keeps_its_peaks() -> None:
    signal = np.zeros(16000)
    signal[7777] = 1.0
    [line] = draw_arrays([signal])[0].lines
    heights = [float(point.split(",")[1]) for point in line.points.split()]
    assert len(heights) <= 200
    assert min(heights) == 1.0  # SVG's y goes down


def test_values_that_are_not_finite_or_not_numbers_are_drawn() -> None:
    assert draw_arrays([np.array([[np.nan, np.inf, 0.0]] * 8)])[0].kind is ThumbnailKind.LINES
    assert draw_arrays([np.array("<b>text")])[0].text == "<b>text"
    assert pixels(draw_arrays([np.full((8, 8, 1), np.nan)])[0].uri).max() == 0
