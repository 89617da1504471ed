"""How far a variant's outputs are from the Reference's, output by output, on the same samples.

Comes in: arrays of both, in the same order (memory-mapped: they are read in blocks). Goes out: errors, SQNR, cosine
and, for outputs that decide between classes, top-1 agreement and accuracy drop. Verdicts are `verdict`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks import statistics
from edgetf.benchmarks.sequential import Bounds
from edgetf.errors import EdgetfError
from edgetf.results import Accuracy, Agreement, OutputFigures, Reference

Numbers = NDArray[Any]
_BLOCK = 1 << 20  # numbers that are compared at once
_MOST_CLASSES = 1 << 20  # larger whole numbers are counts or measurements, not classes


def compare(
    name: str,
    reference: Numbers,
    variant: Numbers,
    truth: Numbers | None = None,
    doubts: Sequence[str] = (),
) -> OutputFigures:
    """Compare one output of shape (n, ...) with the Reference's.

    `truth`, shape (n,), are the classes of the samples where they fit this output (see `fit_labels`, which also tells
    of `doubts`). Raises EdgetfError when the shapes differ. NaN, infinity and a constant output where the Reference's
    is not are `problems`; a Reference that is itself constant is a doubt, because it can show nothing.
    """
    if reference.shape != variant.shape:
        raise EdgetfError(
            f"output {name!r} has shape {list(variant.shape)}, the reference's has {list(reference.shape)}",
            "compare a variant with the reference of the SavedModel that it was made from",
        )
    mean = sum(_floats(reference[rows]).sum(axis=0) for rows in _blocks(reference)) / len(reference)
    sums = _Sums(len(reference), np.asarray(mean))
    for rows in _blocks(reference):
        sums.add(rows, _floats(reference[rows]), _floats(variant[rows]))
    decide = _decision(reference, truth)
    agreement = accuracy = None
    if decide is not None:
        ours, theirs = _decide_all(decide, variant), _decide_all(decide, reference)
        agreement = statistics.agreement(int(np.sum(ours == theirs)), len(ours))
        if truth is not None:
            accuracy = statistics.accuracy_drop(theirs == truth, ours == truth)
    return sums.figures(name, reference.size, agreement, accuracy, doubts)


def with_floor(figures: OutputFigures, reference: Reference) -> OutputFigures:
    """The same with how far TensorFlow is from itself."""
    name = figures.name
    return replace(figures, floor=reference.floor(name), floor_n=reference.floor_n(name))


@dataclass(frozen=True)
class Costs:
    """What each sample costs: right answers lost (1) or won (-1) where there are labels, else decisions that differ."""

    values: NDArray[np.float64]
    bounds: Bounds
    labelled: bool


def costs(reference: Numbers, variant: Numbers, truth: Numbers | None) -> Costs | None:
    """The costs of the first samples, as many as `variant` has; None for an output that decides between no classes.

    How the output decides is told by the whole `reference` and `truth`, of all samples.
    """
    decide = _decision(reference, truth)
    if decide is None:
        return None
    n = len(variant)
    ours, theirs = _decide_all(decide, variant), _decide_all(decide, reference[:n])
    if truth is None:
        return Costs(np.asarray(ours != theirs, np.float64), Bounds(0.0, 1.0), False)
    known = truth[:n]
    return Costs((theirs == known).astype(np.float64) - (ours == known), Bounds(-1.0, 1.0), True)


def decisions(reference: Numbers, variant: Numbers, truth: Numbers | None) -> tuple[Numbers, Numbers] | None:
    """The classes, shape (n,), that the Reference and the variant decide for; None where they decide between none.

    How the output decides is told by the whole `reference` and `truth`; the classes are those of the first samples, as
    many as `variant` has.
    """
    decide = _decision(reference, truth)
    if decide is None:
        return None
    return _decide_all(decide, reference[: len(variant)]), _decide_all(decide, variant)


def fit_labels(outputs: Mapping[str, Numbers], labels: Numbers | None) -> tuple[dict[str, Numbers], tuple[str, ...]]:
    """The classes for each of the Reference's `outputs` that decides between them, and doubts where none does.

    Labels are whole numbers from 0 (as integers or floats) or one-hot rows; others, such as the targets of a
    regression, are no classes and no doubt. They fit an output only when the Reference is right more often than the
    commonest label alone would be (Wilson's lower bound): a model that knows nothing has no accuracy to lose, and
    any variant of it would pass.
    """
    truth = _classes(labels)
    if truth is None:
        return {}, ()
    commonest = float(np.bincount(truth).max()) / len(truth)
    fitting, best = {}, 0.0
    for name, reference in outputs.items():
        decide = _decision(reference, truth)
        if decide is not None and len(reference) == len(truth):
            right = int(np.sum(_decide_all(decide, reference) == truth))
            best = max(best, right / len(truth))
            if statistics.agreement(right, len(truth)).low > commonest:
                fitting[name] = truth
    if fitting:
        return fitting, ()
    told = f"the reference is right on {best:.1%}, always saying the commonest label would be on {commonest:.1%}"
    return {}, (f"the labels fit no output: {told}",)


class _Sums:
    """Sums over blocks: powers for each sample, and what extremes there were."""

    def __init__(self, n: int, mean: Numbers) -> None:
        self.mean = mean
        self.signal, self.centred, self.noise, self.dot, self.power = (np.zeros(n) for _ in range(5))
        self.max_abs = self.total_abs = self.max_reference = 0.0
        self.not_finite = self.reference_not_finite = 0
        self.first: tuple[Numbers, Numbers] | None = None
        self.reference_varies = self.variant_varies = False

    def add(self, rows: slice, reference: Numbers, variant: Numbers) -> None:
        self.not_finite += int(np.sum(~np.isfinite(variant)))
        self.reference_not_finite += int(np.sum(~np.isfinite(reference)))
        reference, variant = (np.where(np.isfinite(values), values, 0.0) for values in (reference, variant))
        if self.first is None:
            self.first = reference[0].copy(), variant[0].copy()
        self.reference_varies |= bool((reference != self.first[0]).any())
        self.variant_varies |= bool((variant != self.first[1]).any())
        error = np.abs(variant - reference)
        self.signal[rows] = (reference**2).sum(axis=1)
        self.centred[rows] = ((reference - self.mean) ** 2).sum(axis=1)
        self.noise[rows] = (error**2).sum(axis=1)
        self.power[rows] = (variant**2).sum(axis=1)
        self.dot[rows] = (reference * variant).sum(axis=1)
        self.max_abs = max(self.max_abs, float(error.max()))
        self.total_abs += float(error.sum())
        self.max_reference = max(self.max_reference, float(np.abs(reference).max()))

    def figures(
        self, name: str, size: int, agreement: Agreement | None, accuracy: Accuracy | None, known_doubts: Sequence[str]
    ) -> OutputFigures:
        n = len(self.signal)
        signal, noise = float(self.signal.sum()), float(self.noise.sum())
        sqnr = float(10 * np.log10(signal / noise)) if signal > 0 and noise > 0 else None
        centred = low = high = None
        if self.reference_varies and noise > 0:
            centred = float(10 * np.log10(self.centred.sum() / noise))
            bounds = statistics.sqnr_interval(self.centred, self.noise)
            low, high = (bound if np.isfinite(bound) else None for bound in bounds)
        norm = float(np.sqrt(signal * self.power.sum()))
        problems: list[str] = []
        doubts = list(known_doubts)
        if self.not_finite:
            problems.append(f"{self.not_finite} values are NaN or infinite")
        if self.reference_not_finite:
            problems.append(f"{self.reference_not_finite} values of what it is compared with are NaN or infinite")
        if n > 1 and self.reference_varies and not self.variant_varies:
            problems.append("it is the same for every sample, and the reference's is not")
        if n > 1 and not self.reference_varies:
            doubts.append("the reference is the same for every sample, so these samples show nothing")
        return OutputFigures(
            name=name,
            max_abs=self.max_abs,
            mean_abs=self.total_abs / size,
            max_abs_reference=self.max_reference,
            sqnr_db=sqnr,
            centred_db=centred,
            centred_low_db=low,
            centred_high_db=high,
            cosine=min(1.0, float(self.dot.sum()) / norm) if norm else float(signal == 0 and noise == 0),
            agreement=agreement,
            accuracy=accuracy,
            problems=tuple(problems),
            doubts=tuple(doubts),
            floor=None,
            floor_n=None,
            any_time=False,
        )


def _blocks(array: Numbers) -> Iterator[slice]:
    rows = max(1, _BLOCK // max(1, array[0].size))
    for begin in range(0, len(array), rows):
        yield slice(begin, min(begin + rows, len(array)))


def _floats(values: Numbers) -> Numbers:
    return np.asarray(values, np.float64).reshape(len(values), -1)


# decisions --------------------------------------------------------------------------------------------------------

Decide = Callable[[Numbers], Numbers]


def _classes(labels: Numbers | None) -> NDArray[np.int64] | None:
    """Labels as classes of shape (n,), or None when they are none."""
    if labels is None:
        return None
    values = np.asarray(labels)
    one_hot = values.ndim == 2 and values.shape[1] > 1 and bool(np.isin(values, (0, 1)).all())
    if one_hot and bool((values.sum(axis=1) == 1).all()):
        return np.asarray(values.argmax(axis=1), np.int64)
    whole = values.size == len(values) and values.dtype.kind in "iufb" and bool((values == np.round(values)).all())
    if not whole or values.min() < 0 or values.max() > _MOST_CLASSES:
        return None
    return np.asarray(values.reshape(-1), np.int64)


def _decision(reference: Numbers, truth: Numbers | None) -> Decide | None:
    """How this output decides between classes, or None when it does not look as if it did.

    With classes that fit: the largest of K columns, or one column at 0.5. Otherwise: the largest of K columns that
    are probabilities (not negative, summing to 1).
    """
    columns = reference.shape[1] if reference.ndim == 2 else 0
    if truth is not None:
        if columns >= 2 and truth.max() < columns:
            return _largest
        if columns == 1 and truth.max() <= 1 and _within_unit(reference):
            return _above_half
    if columns >= 2 and _within_unit(reference):
        sums = (_floats(reference[rows]).sum(axis=1) for rows in _blocks(reference))
        return _largest if all(np.allclose(one, 1, atol=1e-3) for one in sums) else None
    return None


def _largest(values: Numbers) -> Numbers:
    return np.asarray(np.argmax(values, axis=1))


def _above_half(values: Numbers) -> Numbers:
    return np.asarray(values[:, 0] > 0.5, np.int64)


def _within_unit(values: Numbers) -> bool:
    blocks = (values[rows] for rows in _blocks(values))
    return all(np.min(one) >= -1e-6 and np.max(one) <= 1 + 1e-6 for one in blocks)


def _decide_all(decide: Decide, values: Numbers) -> Numbers:
    return np.concatenate([decide(np.asarray(values[rows])) for rows in _blocks(values)])
