"""In: samples and a way to quantize. Out: the ranges with the best int8 outputs on held-out samples.

Min-max, a percentile and the least squared error are each right for some models and wrong for others. Each is taken
from the samples that are not held out; the winner's ranges are then those of all samples. Single tensors for which two
choices differ most may take the other one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import perf_counter

from edgetf.conversion.calibrate import Calibrator, Observation
from edgetf.conversion.ranges import Choice, RangeChoice, Ranges
from edgetf.conversion.repairs import HeldOut
from edgetf.reading import reason_of
from edgetf.results import Repair, RepairKind, RepairState

FEWEST = 20  # inferences that a choice can be judged on
MINMAX = RangeChoice(Choice.MINMAX)
PERCENTILE, MSE = RangeChoice(Choice.PERCENTILE, 99.99), RangeChoice(Choice.MSE)
_CLEAR_DB = 0.5  # by which another choice must beat min-max
_WORTH_DB = 0.3  # by which a separate choice for a tensor must improve the outputs
_MOST_TENSORS, _BYTES = 4, 4 << 20  # tensors that are tried; none of large models, whose quantization takes longer

Quantize = Callable[[Ranges], bytes]


def choose_ranges(calibrator: Calibrator, held_out: HeldOut, quantize: Quantize, size: int) -> tuple[Ranges, Repair]:
    """The Ranges of all samples by the best choice, and the record; `size` is that of the float flatbuffer in bytes.

    Raises EdgetfError when an activation is not finite. After any other error the choice is min-max.
    """
    begin, n = perf_counter(), len(held_out.split.held)
    fit = calibrator.observe(held_out.split.fit, with_values=True)
    whole = fit + calibrator.observe(held_out.split.held, with_values=True)
    plain = whole.ranges(MINMAX)
    try:
        scores = {choice: held_out.score(quantize(fit.ranges(choice))) for choice in (MINMAX, PERCENTILE, MSE)}
        best = max(scores, key=lambda choice: scores[choice] - (0 if choice == MINMAX else _CLEAR_DB))
        most = min(_MOST_TENSORS, _BYTES // size)
        singles, after = _single_tensors(fit, best, scores[best], lambda ranges: held_out.score(quantize(ranges)), most)
        chosen = _merged(whole, best, singles)
    except Exception as error:
        reason, seconds = reason_of(error), perf_counter() - begin
        return plain, Repair(RepairKind.RANGES, RepairState.FAILED, None, None, n, round(seconds, 3), reason)
    kept = best != MINMAX or bool(singles)
    after = after if kept else max(score for choice, score in scores.items() if choice != MINMAX)
    record = Repair(
        kind=RepairKind.RANGES,
        state=RepairState.KEPT if kept else RepairState.REFUSED,
        before_db=round(scores[MINMAX], 2),
        after_db=round(after, 2),
        n=n,
        seconds=round(perf_counter() - begin, 3),
        detail=_describe(best, singles) if kept else "",
    )
    return chosen, record


def _single_tensors(
    fit: Observation, best: RangeChoice, db: float, score: Callable[[Ranges], float], most: int
) -> tuple[dict[str, RangeChoice], float]:
    """Tensors for which the other choice is better, and the SQNR with them; those that differ most are tried."""
    other = MSE if best == MINMAX else MINMAX
    here, there = fit.ranges(best), fit.ranges(other)
    apart = {
        one.tensor: abs(math.log((one.high - one.low) / (twin.high - twin.low)))
        for one, twin in zip(here.ranges, there.ranges, strict=True)
        if one.high > one.low and twin.high > twin.low
    }
    singles: dict[str, RangeChoice] = {}
    for tensor in sorted((name for name in apart if apart[name] > 0), key=lambda name: -apart[name])[:most]:
        tried = {**singles, tensor: other}
        found = score(_merged(fit, best, tried))
        if found >= db + _WORTH_DB:
            singles, db = tried, found
    return singles, db


def _merged(observation: Observation, best: RangeChoice, singles: Mapping[str, RangeChoice]) -> Ranges:
    """The ranges by one choice, and those of single tensors by others."""
    ranges = observation.ranges(best)
    if not singles:
        return ranges
    others = {choice: {one.tensor: one for one in observation.ranges(choice).ranges} for choice in singles.values()}
    mixed = tuple(others[singles[one.tensor]][one.tensor] if one.tensor in singles else one for one in ranges.ranges)
    return replace(ranges, choice=RangeChoice(Choice.AUTO), ranges=mixed)


def _describe(best: RangeChoice, singles: Mapping[str, RangeChoice]) -> str:
    """The choice in words."""
    others = sorted({choice.describe() for choice in singles.values()})
    return best.describe() + (f", of {len(singles)} tensor(s) {', '.join(others)}" if singles else "")
