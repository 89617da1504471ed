from __future__ import annotations

import pytest

from edgetf.errors import EdgetfError
from edgetf.pixels import PixelMap, maps_of, maps_to_text, parse_map


@pytest.mark.parametrize(
    ("text", "mean", "std", "formula"),
    [
        ("0..1", (0.0,), (255.0,), "pixel / 255"),
        ("-1..1", (127.5,), (127.5,), "(pixel - 127.5) / 127.5"),
        ("0..255", (0.0,), (1.0,), "pixel"),
        ("mean=128 std=64", (128.0,), (64.0,), "(pixel - 128) / 64"),
        ("mean=128,128 std=64", (128.0,), (64.0,), "(pixel - 128) / 64"),
        ("std=2,4,8", (0.0, 0.0, 0.0), (2.0, 4.0, 8.0), "pixel / [2, 4, 8]"),
        ("mean=1,2,3", (1.0, 2.0, 3.0), (1.0, 1.0, 1.0), "(pixel - [1, 2, 3])"),
    ],
)
def test_a_map_is_a_range_or_mean_and_std(
    text: str, mean: tuple[float, ...], std: tuple[float, ...], formula: str
) -> None:
    found = parse_map(text)
    assert found == PixelMap(mean, std)
    assert found.describe() == formula
    assert maps_of(maps_to_text({"image": found}).encode()) == {"image": found}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1",
            "x",
            "1..0",
            "0..",
            "nan..1",
            "0..inf",
            "mean=",
            "mean=1 mean=2",
            "std=0",
            "std=-1",
            "mean=1,2 std=1,2,3",
            "mean=1e39",
            "0..1e-37",
            "std=1e-40",
        ),
        *("mean=nan", "scale=2"),
    ],
)
def test_another_text_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(EdgetfError, match="is not a map of pixels") as caught:
        parse_map(text)
    assert "0..1" in caught.value.hint


def test_a_map_with_one_whole_mean_is_a_scale_and_a_zero_point() -> None:
    assert [parse_map(text).zero_point for text in ("0..1", "mean=128 std=9", "-1..1", "mean=1,2")] == [
        0,
        128,
        None,
        None,
    ]
    assert parse_map("mean=256").zero_point is None
    assert parse_map("mean=0,255 std=1,5").span == (-51.0, 255.0)


def test_whole_numbers_of_another_program_are_a_map_too() -> None:
    assert maps_of(b'{"image": {"mean": [128], "std": [64]}}')["image"].zero_point == 128


def test_what_float32_does_not_hold_is_refused_in_a_file() -> None:
    for number in ("1e39", "1" + "0" * 400, "NaN"):
        with pytest.raises(ValueError, match="mean is not a number"):
            maps_of(f'{{"image": {{"mean": [{number}], "std": [1.0]}}}}'.encode())
