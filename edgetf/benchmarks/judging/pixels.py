"""Variants that take pixels, and samples of the model's values. Out: warnings where the two do not meet."""

from __future__ import annotations

from collections.abc import Sequence

from edgetf.benchmarks.timing.targets import Target
from edgetf.conversion.pixels import fractions
from edgetf.flatbuffer import read_contents
from edgetf.samples import Samples


def between_pixels(targets: Sequence[Target], samples: Samples) -> list[str]:
    """Warnings if samples are not made of whole pixels: such variants get others than the reference."""
    contents = [read_contents(one.path, one.signature) for one in targets if one.failed is None]
    maps = {(name, one): None for found in contents for name, one in found.pixels.items() if name in samples.inputs}
    return list(dict.fromkeys(warning for name, one in maps for warning in fractions({name: one}, samples)))
