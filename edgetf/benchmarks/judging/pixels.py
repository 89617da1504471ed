"""Variants that take pixels, and samples of the model's values. Out: warnings where the two do not meet."""

from __future__ import annotations

from collections.abc import Sequence

from edgetf.benchmarks.timing.targets import Target
from edgetf.conversion.pixels import fractions
from edgetf.flatbuffer import read_contents
from edgetf.pixels import PixelMap
from edgetf.samples import Samples


def between_pixels(targets: Sequence[Target], samples: Samples) -> list[str]:
    """Warnings if samples are not made of whole pixels: such variants get others than the reference."""
    contents = [read_contents(one.path, one.signature) for one in targets if one.failed is None]
    maps = {(name, one): None for found in contents for name, one in found.pixels.items() if _fits(name, one, samples)}
    return list(dict.fromkeys(warning for name, one in maps for warning in fractions({name: one}, samples)))


def _fits(name: str, one: PixelMap, samples: Samples) -> bool:
    """Whether samples have the channels of a map; the device refuses a variant of which they have not."""
    return name in samples.inputs and len(one.mean) in (1, *samples.inputs[name].shape[1:][-1:])
