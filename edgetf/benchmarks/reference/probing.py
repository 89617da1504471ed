"""How a model takes samples and returns outputs, found by calling it: in batches, alone, and twice on the same.

An output has an axis for samples if its length follows the number of samples. A model that is random (a sampling
layer, dropout that was left on) or keeps a state returns nothing that a variant could be compared with. If the samples
of a batch only depend on each other (BatchNorm in training mode, a shuffle), the model gets one sample at a time, as
its variants do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgetf.benchmarks.rows import stack
from edgetf.results import Source
from edgetf.samples import Array, Samples

Ask = Callable[[Mapping[str, Array]], Mapping[str, Array]]

_ROWS = 16  # samples that are computed in a batch and alone
ASKED = 32  # samples, counted each time that they are computed, among which randomness must show
_ULPS, _ULPS_HALF = 64, 4  # of the largest value: a sum in another order
# of an output's range: what computing in a batch and alone may differ by. Float32 was seen to differ by some 1e-6; half
# precision has 11 bits
_MIXED, _MIXED_HALF = 1e-3, 2e-2


@dataclass(frozen=True)
class Habits:
    """`batch` is how many samples the model computes at once; the rest are names of outputs.

    `unbatched` have no axis for samples; for `unclear` only the values will show it. `random` differ when the same is
    computed twice; `mixing` depend on the other samples of a batch, so that `batch` is the smallest.
    """

    batch: int
    unbatched: tuple[str, ...]
    unclear: tuple[str, ...]
    random: tuple[str, ...]
    mixing: tuple[str, ...]


def find_habits(
    ask: Ask, source: Source, samples: Samples, most: int, half: bool, failures: tuple[type[Exception], ...]
) -> Habits:
    """Compute a few samples in several ways. `most` is the limit of one request; `half` is whether precision is half.

    If a batch raises one of `failures`, or returns outputs that do not follow its size, it is one sample at a time.
    """
    n, own = len(samples), samples.batch
    free = own == 1 and not samples.unbatched and all(spec.shape[:1] == (None,) for spec in source.inputs)
    sizes = [size for size in (3, 2, 1) if size <= min(n, most)][:2] if free else []
    try:
        answers = {size: ask(samples.feed(0, size)) for size in sizes}
        unbatched = {name for size, found in answers.items() for name, value in found.items() if not _fits(value, size)}
        batch = min(most, n) if free and len(sizes) == 2 and not unbatched else own
    except failures:
        batch, sizes = own, []
    unclear: set[str] = set()
    if len(sizes) < 2:
        once, known = ask(samples.feed(0, own)), {spec.name: spec.shape[:1] for spec in source.outputs}
        unbatched = {name for name, value in once.items() if not _fits(value, own)}
        if own == 1 and not free:  # a length that the signature leaves open may be 1 by chance
            unclear = {name for name in once if name not in unbatched and known.get(name) != (1,)}
            unbatched |= unclear
    random, mixing = _look_for_chance(ask, samples, batch, half, frozenset(unbatched))
    return Habits(own if mixing else batch, tuple(sorted(unbatched)), tuple(sorted(unclear)), random, mixing)


def as_rows(value: Array, count: int, batched: bool) -> Array:
    """An output of one inference on `count` samples with its rows along axis 0: one for each, or one in all."""
    return value if batched and _fits(value, count) else value[np.newaxis]


def _fits(value: Array, count: int) -> bool:
    return value.ndim > 0 and len(value) == count


# chance -----------------------------------------------------------------------------------------------------------


def _look_for_chance(
    ask: Ask, samples: Samples, batch: int, half: bool, unbatched: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The outputs that are random, and those that depend on the other samples of a batch."""
    own = samples.batch
    few = max(1, min(len(samples), _ROWS) // own)
    singles = [samples.feed(k * own, (k + 1) * own) for k in range(few)]
    times = max(2, -(-ASKED // (few * own)))
    alone = [_concatenated([ask(fed) for fed in singles], own, unbatched) for _ in range(times)]
    random = _differing(alone)
    if batch == own:
        return random, ()
    # of the size that is used: a model may treat small and large batches differently
    whole = [_concatenated([ask(samples.feed(0, batch))], batch, unbatched) for _ in range(2)]
    unsteady = set(_differing(whole))
    share = _MIXED_HALF if half else _MIXED
    for name, values in whole[0].items():
        if _apart(values[:few] if name not in unbatched else values, alone[0][name], share):
            unsteady.add(name)
    return random, tuple(sorted(unsteady - set(random)))


def _concatenated(outputs: Sequence[Mapping[str, Array]], count: int, unbatched: frozenset[str]) -> dict[str, Array]:
    names = list(outputs[0]) if outputs else []
    return {
        name: stack([as_rows(np.asarray(one[name]), count, name not in unbatched) for one in outputs])[0]
        for name in names
    }


def _differing(runs: Sequence[Mapping[str, Array]]) -> tuple[str, ...]:
    """The outputs that are not the same in all runs, beyond the rounding of sums in another order."""
    names = sorted(runs[0]) if runs else []
    return tuple(name for name in names if any(_apart(runs[0][name], other[name], 0.0) for other in runs[1:]))


def _apart(one: Array, other: Array, share: float) -> bool:
    """Whether two arrays differ by more than rounding and a `share` of the range of the first."""
    if one.shape != other.shape:
        return True
    if not np.issubdtype(one.dtype, np.floating):
        return not np.array_equal(one, other)
    a, b = one.astype(np.float64), other.astype(np.float64)
    known = np.isfinite(a) & np.isfinite(b)
    if (np.isfinite(a) != np.isfinite(b)).any():
        return True
    if not known.any():
        return False
    a, b = a[known], b[known]
    ulps = _ULPS_HALF if one.dtype.itemsize == 2 else _ULPS
    rounding = ulps * float(np.finfo(one.dtype.name).eps) * float(np.abs(a).max())
    return bool(np.abs(a - b).max() > max(rounding, share * float(np.ptp(a))))
