"""Pixels as inputs: what a file does with the uint8 values of an image before the model gets them.

In: the text of an option, or the metadata of a `.tflite` file. Out: a PixelMap for each input. It is written to the
file itself (`conversion/pixels.py`), where the runner on the device finds it (`device/runner/pixels.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgetf.errors import EdgetfError

ENTRY = "edgetf_pixels"  # the metadata of the file; the runner has the same name
LARGEST = 255  # of a pixel
_MOST = 1e30  # of a number: files and runners have float32
_DIGITS = 6
_HINT = "give a range such as 0..1 or -1..1, or 'mean=123.7,116.3,103.5 std=58.4,57.1,57.4'"


@dataclass(frozen=True)
class PixelMap:
    """The model's value of a pixel is (pixel - mean) / std: one of each, or one for each channel (the last axis).

    Raises ValueError for anything else.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = (*self.mean, *self.std)
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError("mean and std have different numbers of channels")
        if not all(type(one) in (int, float) and abs(one) <= _MOST for one in numbers) or min(self.std) < 1 / _MOST:
            raise ValueError("mean is not a number, or std is not above 0")

    @property
    def zero_point(self) -> int | None:
        """The pixel that is 0 to the model, if a scale and a zero point are all of the map."""
        whole = len(self.mean) == 1 and self.mean[0] % 1 == 0 and 0 <= self.mean[0] <= LARGEST
        return int(self.mean[0]) if whole else None

    @property
    def span(self) -> tuple[float, float]:
        """The model's values of the darkest and the brightest pixels, over all channels."""
        parts = list(zip(self.mean, self.std, strict=True))
        return min((0 - mean) / std for mean, std in parts), max((LARGEST - mean) / std for mean, std in parts)

    def describe(self) -> str:
        """The formula, such as `(pixel - 127.5) / 127.5`."""
        pixel = "pixel" if not any(self.mean) else f"(pixel - {_listed(self.mean)})"
        return pixel if set(self.std) == {1.0} else f"{pixel} / {_listed(self.std)}"


def _listed(values: tuple[float, ...]) -> str:
    texts = [f"{value:.{_DIGITS}g}" for value in values]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def parse_map(text: str) -> PixelMap:
    """The map of `0..1`, the range of the model's values, or of `mean=M std=S`, each a number or one for each channel.

    Raises EdgetfError for any other text.
    """
    try:
        low, dots, high = text.strip().partition("..")
        if dots:
            return _from_range(float(low), float(high))
        found = dict[str, tuple[float, ...]]()
        for part in text.split():
            name, equals, numbers = part.partition("=")
            if name not in ("mean", "std") or not equals or name in found:
                raise ValueError(f"{part!r} is neither mean=... nor std=...")
            found[name] = tuple(map(float, numbers.split(",")))
        if not found:
            raise ValueError("it is empty")
        channels = max(map(len, found.values()))
        mean, std = (_spread(found.get(name, (one,)), channels) for name, one in (("mean", 0.0), ("std", 1.0)))
        alike = len({*zip(mean, std, strict=False)}) == 1 and len(mean) == len(std)
        return PixelMap(mean[:1], std[:1]) if alike else PixelMap(mean, std)
    except ValueError as error:
        raise EdgetfError(f"{text!r} is not a map of pixels: {error}", _HINT) from error


def _from_range(low: float, high: float) -> PixelMap:
    if not low < high or not math.isfinite(high - low):
        raise ValueError("the first number must be below the second")
    std = LARGEST / (high - low)
    return PixelMap((-low * std + 0.0,), (std,))  # + 0.0: no negative zero


def _spread(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def maps_of(stored: bytes) -> dict[str, PixelMap]:
    """The maps in a file's metadata, by input name. Raises any error for something else."""
    return {name: PixelMap(tuple(one["mean"]), tuple(one["std"])) for name, one in json.loads(stored).items()}


def maps_to_text(maps: Mapping[str, PixelMap]) -> str:
    """The text of a file's metadata."""
    return json.dumps({name: {"mean": one.mean, "std": one.std} for name, one in maps.items()})
