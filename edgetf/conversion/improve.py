"""In: the converter's float flatbuffer and samples. Out: variants that are better than the converter's.

Each step is judged. Samples are run once for all schemes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from edgetf.conversion.bias import correct_biases
from edgetf.conversion.calibrate import Calibrator
from edgetf.conversion.choose_ranges import FEWEST, MINMAX, Quantize, choose_ranges
from edgetf.conversion.dynamic import reround
from edgetf.conversion.equalize import equalize, find_pairs
from edgetf.conversion.factors import Factors
from edgetf.conversion.prune import prune
from edgetf.conversion.ranges import Ranges
from edgetf.conversion.repairs import HeldOut, NotWorthItError, not_tried, why_not_judged
from edgetf.conversion.weights import Rounder, quantize_weights
from edgetf.flatbuffer import weight_types
from edgetf.results import Repair, RepairKind, RepairState
from edgetf.samples import Samples

_GOOD_DB = 40.0  # of int8; above it there is little to gain
_MARGIN_DB = 0.5  # by which corrected biases must improve the outputs
_LIKELY_DB = 0.5  # of a few samples: with less, the ranges of all samples are not chosen for equalized channels
_BOUND_DB = 1.0  # by which equalization must: mixtures cannot take its layers apart

Improved = tuple[bytes, tuple[Repair, ...]]


@dataclass(frozen=True)
class Basis:
    """What int8 is made of: a float flatbuffer, its Ranges, and the factors of its tensors if it is equalized; and the
    repairs so far."""

    float32: bytes
    ranges: Ranges
    repairs: tuple[Repair, ...] = ()
    factors: Factors = field(default_factory=dict)


class Improver:
    """Improves variants of one model; `float32` is its float flatbuffer, `samples` those to calibrate on, if any."""

    def __init__(self, float32: bytes, samples: Samples | None) -> None:
        self._float32, self._samples = float32, samples

    def weights(self) -> Improved:
        """The variant with int8 constants that computes in float32, and the record of the rounding."""
        nearest = prune(quantize_weights(self._float32, None))
        if "int8" not in weight_types(nearest):
            return nearest, ()
        if self._held_out is None:
            return nearest, self._not_tried(RepairKind.ROUNDING)
        content, record = self._held_out.choose(
            RepairKind.ROUNDING, nearest, lambda: prune(quantize_weights(self._float32, self._rounder))
        )
        return content, (record,)

    def dynamic(self, content: bytes) -> Improved:
        """The hybrid variant with its constants rounded again."""
        if "int8" not in weight_types(content):
            return content, ()
        if self._held_out is None:
            return content, self._not_tried(RepairKind.ROUNDING)
        content, record = self._held_out.choose(
            RepairKind.ROUNDING, content, lambda: prune(reround(content, self._float32, self._rounder))
        )
        return content, (record,)

    def equalize(
        self, plain: Basis, calibrator: Callable[[bytes], Calibrator], quantize: Callable[[Basis], bytes]
    ) -> Basis:
        """`plain`, or the equalized flatbuffer with its own ranges, if its outputs are better."""
        pairs = find_pairs(self._float32)
        if not pairs:
            return plain
        held_out, samples, found = self._held_out, self._samples, plain
        if held_out is None or samples is None or self._few:
            record = not_tried(RepairKind.EQUALIZATION, self._why_not or self._few)
            return replace(plain, repairs=(*plain.repairs, record))

        quick: tuple[float, float] | None = None

        def change() -> bytes:
            nonlocal found, quick
            if held_out.score(content) >= _GOOD_DB:
                raise NotWorthItError(f"its outputs have at least {_GOOD_DB:g} dB without it")
            equal = equalize(self._float32, pairs, samples, held_out.split.some)
            if not equal.factors:
                raise NotWorthItError("the channels between its layers are alike")
            # a few samples and min-max, on both sides, show whether channels matter; ranges of all take far longer
            before, after = (self._quickly(one, calibrator, quantize) for one in (self._float32, equal.content))
            if after < before + _LIKELY_DB:
                quick = round(before, 2), round(after, 2)
                return content
            ranges, repairs = self.ranges(
                calibrator(equal.content), lambda ranges: quantize(Basis(equal.content, ranges))
            )
            found = Basis(equal.content, ranges, repairs, equal.factors)
            return quantize(found)

        content = quantize(plain)
        _, record = held_out.choose(RepairKind.EQUALIZATION, content, change, _BOUND_DB)
        if quick is not None:
            record = replace(
                record, before_db=quick[0], after_db=quick[1], detail=f"min-max of {len(held_out.split.some)}"
            )
        if record.state is not RepairState.KEPT:
            return replace(plain, repairs=(*plain.repairs, record))
        detail = f"{len(set(found.factors.values()))} of {len(pairs)} tensors"
        return replace(found, repairs=(*found.repairs, replace(record, detail=detail)))

    def _quickly(
        self, float32: bytes, calibrator: Callable[[bytes], Calibrator], quantize: Callable[[Basis], bytes]
    ) -> float:
        """The SQNR on the held-out samples with the least and largest values of a few others as ranges."""
        assert self._held_out is not None
        observed = calibrator(float32).observe(self._held_out.split.some, with_values=False)
        return self._held_out.score(quantize(Basis(float32, observed.ranges(MINMAX))))

    def int8(self, content: bytes, float32: bytes | None = None) -> Improved:
        """The int8 variant with its biases corrected; `float32` is what it was made of, if that is equalized."""
        held_out, samples = self._held_out, self._samples
        if held_out is None or samples is None:
            return content, self._not_tried(RepairKind.BIAS)
        if self._few:
            return content, (not_tried(RepairKind.BIAS, self._few),)

        def change() -> bytes:
            if held_out.score(content) >= _GOOD_DB:
                raise NotWorthItError(f"its outputs have at least {_GOOD_DB:g} dB without it")
            return prune(correct_biases(content, float32 or self._float32, samples, held_out.split.some))

        content, record = held_out.choose(RepairKind.BIAS, content, change, _MARGIN_DB)
        return content, (record,)

    def ranges(self, calibrator: Calibrator, quantize: Quantize) -> tuple[Ranges, tuple[Repair, ...]]:
        """The Ranges that int8 has the best outputs with, and how they were chosen."""
        assert self._samples is not None
        if self._held_out is None or self._few:
            everything = range(len(self._samples) // self._samples.batch)
            ranges = calibrator.observe(everything, with_values=False).ranges(MINMAX)
            return ranges, (not_tried(RepairKind.RANGES, self._why_not or self._few),)
        found, record = choose_ranges(calibrator, self._held_out, quantize, len(self._float32))
        return found, (record,)

    def _not_tried(self, kind: RepairKind) -> tuple[Repair, ...]:
        """The record of a repair that cannot be judged; empty without samples, where that is expected."""
        return (not_tried(kind, self._why_not),) if self._samples is not None else ()

    @cached_property
    def _why_not(self) -> str:
        return why_not_judged(self._float32, self._samples) if self._samples is not None else "there are no samples"

    @cached_property
    def _few(self) -> str:
        """Why nothing can be chosen for int8 on so few samples; or nothing."""
        n = len(self._samples) // self._samples.batch if self._samples is not None else 0
        return f"{n} inferences are too few to choose by: {FEWEST} are needed" if n < FEWEST else ""

    @cached_property
    def _held_out(self) -> HeldOut | None:
        return None if self._why_not or self._samples is None else HeldOut(self._float32, self._samples)

    @cached_property
    def _rounder(self) -> Rounder:
        assert self._held_out is not None
        assert self._samples is not None
        return Rounder(self._float32, self._samples, self._held_out.split.some)
