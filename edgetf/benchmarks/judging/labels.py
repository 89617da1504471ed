"""The meaning of labels. In: the Reference's outputs and the labels. Out: an Interpretation of each output.

An output decides between classes (for a sample or for each of its positions), or it is numbers. Labels are classes or
values. Both are derived from shapes, dtypes and values, and from how often the Reference is right. Ambiguous labels are
not used; the reason names the option that decides. A float32 variant must be exact and is judged without labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.benchmarks.judging import statistics
from edgetf.errors import EdgetfError, nearest
from edgetf.results import LabelsAre, LabelScore, LabelUse

Numbers = NDArray[Any]
Decide = Callable[[Numbers], Numbers]
BLOCK = 1 << 20  # numbers that are processed at once
_MOST_CLASSES = 1 << 20  # larger integers are counts or measurements, not classes
_MOSTLY = 0.5  # of the labels
_FEW_CLASSES = 64  # a map of more different numbers may be an image
_ASK = "give edgetf benchmark --labels-are class or --labels-are value"


@dataclass(frozen=True)
class Interpretation:
    """The interpretation of one output.

    `decide` maps values of shape (rows, ...) to decisions, int64, of shape (rows,) or (rows, ...); None for numbers.
    `truth` has the shape of the decisions, or of the output for values; None if labels are not used. `right` and
    `chance` are the scores of the Reference and of a constant answer: a share, or an error for values.
    """

    use: LabelUse
    reason: str = ""
    decide: Decide | None = None
    truth: Numbers | None = None
    right: float | None = None
    chance: float | None = None

    def shuffled(self, order: NDArray[np.int64]) -> Interpretation:
        """The same for outputs whose samples are in another order."""
        return self if self.truth is None else replace(self, truth=self.truth[order])


def interpret(
    outputs: Mapping[str, Numbers],
    labels: Numbers | None,
    own: Mapping[str, Numbers] | None = None,
    asked: LabelsAre | None = None,
) -> dict[str, Interpretation]:
    """Interpret the Reference's `outputs`, shape (n, ...) each, with `labels` for any of them and `own` for named ones.

    `labels` are used by every output that they fit; the others then have NONE, with the reason. If labels are clearly
    the classes or values of an output but the Reference is no better than a constant answer, they cannot be used for
    verdicts, and the use is UNFIT. Raises EdgetfError for `own` labels of an unknown output, and for an `asked` meaning
    that no output can have.
    """
    own = own or {}
    for name in own:
        if name not in outputs:
            raise EdgetfError(f"the model has no output {name!r} for labels_{name}", nearest(name, outputs))
    found = {n: _interpret(n, values, own.get(n, labels), asked) for n, values in outputs.items()}
    given = labels is not None or own
    used = [name for name, one in found.items() if one.truth is not None]
    if asked is not None and given and not used and all(one.use is not LabelUse.UNFIT for one in found.values()):
        reason = next(one.reason for one in found.values())
        raise EdgetfError(f"no output can have labels that are a {asked.value}: {reason}", "leave --labels-are out")
    sharing = [name for name in used if name not in own]
    for name, one in found.items():
        if not used or name in own or one.use not in (LabelUse.UNFIT, LabelUse.IGNORED):
            continue
        if sharing:
            found[name] = replace(one, use=LabelUse.NONE, reason=f"the labels are those of {', '.join(sharing)}")
        else:  # labels beside those of single outputs, which may be a copy of one of them: no verdict waits for them
            found[name] = replace(one, use=LabelUse.IGNORED)
    return found


def settle(name: str, read: Interpretation, reference: Numbers, variant: Numbers) -> Interpretation:
    """The interpretation of one output of a variant, of shape (n, ...), that has n or more samples of the Reference.

    The whole numbers of a float output are decisions only if the variant's are whole as well: else they are numbers.
    """
    if not are_decisions(read) or variant.dtype.kind != "f" or _is_whole(variant):
        return read
    if read.truth is None:
        return replace(read, decide=None)
    values = np.asarray(read.truth[: len(variant)], np.float64).reshape(variant.shape)
    return _fit_values(name, reference[: len(variant)], values)


def reread(
    read: Mapping[str, Interpretation], known: Mapping[str, Numbers], now: Mapping[str, Numbers]
) -> dict[str, Interpretation]:
    """The interpretations of the outputs `now`, some of which are new or have another shape than those in `known`."""
    found = {}
    for name, values in now.items():
        same = name in known and known[name].shape[1:] == values.shape[1:]
        found[name] = read[name] if same else interpret({name: values}, None)[name]
    return found


def score_labels(read: Mapping[str, Interpretation]) -> tuple[LabelScore, ...]:
    """The Reference's score on the labels for each output; empty without labels."""
    return tuple(
        LabelScore(name, one.use, one.reason, one.right, one.chance)
        for name, one in read.items()
        if one.use is not LabelUse.NONE
    )


def decisions(decide: Decide, values: Numbers) -> Numbers:
    """All decisions of an output, computed block by block."""
    first, *others = blocks(values)
    part = decide(np.asarray(values[first]))
    found = np.empty((len(values), *part.shape[1:]), part.dtype)
    found[first] = part
    for rows in others:
        found[rows] = decide(np.asarray(values[rows]))
    return found


def answers_by_column(read: Interpretation) -> bool:
    """Whether an output answers yes or no in each of its columns: then each column is a class."""
    return read.truth is not None and read.truth.ndim == 2 and read.decide in (_above_half, _above_zero)


def are_decisions(read: Interpretation) -> bool:
    """Whether the values of an output are its decisions."""
    return read.decide is _same


def largest_decides(read: Interpretation) -> bool:
    """Whether an output decides for the class with the largest value."""
    return read.decide is _largest


def between_classes(values: Numbers) -> Numbers:
    """What decides in an output for which `largest_decides`: the values, shape (n, ...), less their mean over classes.

    A number that is added to all classes of a position changes no decision, so that it is neither signal nor noise.
    """
    found = _cored(np.asarray(values, np.float64))
    return np.asarray(found - found.mean(axis=-1, keepdims=True)).reshape(values.shape)


def blocks(array: Numbers) -> Iterator[slice]:
    """Slices along axis 0, each of about BLOCK numbers."""
    rows = max(1, BLOCK // max(1, array[0].size))
    for begin in range(0, len(array), rows):
        yield slice(begin, min(begin + rows, len(array)))


# one output -------------------------------------------------------------------------------------------------------


def _interpret(name: str, reference: Numbers, labels: Numbers | None, asked: LabelsAre | None) -> Interpretation:
    plain = _plain_decision(reference)
    if labels is None:
        return Interpretation(LabelUse.NONE, decide=plain)
    if np.asarray(labels).dtype.kind not in "iufb":
        reason = f"labels of {np.asarray(labels).dtype.name} are neither class numbers nor values"
        return Interpretation(LabelUse.IGNORED, reason, plain)
    if len(labels) != len(reference):
        reason = f"there are {len(labels)} labels and {len(reference)} rows of {name}"
        return Interpretation(LabelUse.IGNORED, reason, plain)
    if np.size(labels) and bool((np.asarray(labels) == np.asarray(labels)[:1]).all()):
        return Interpretation(LabelUse.IGNORED, "the labels are the same for every sample, which shows nothing", plain)
    classes = None if asked is LabelsAre.VALUE else _as_classes(reference, np.asarray(labels), asked)
    values = None if asked is LabelsAre.CLASS else _as_values(reference, np.asarray(labels))
    if classes is None and values is None:
        if off := _off_by_one(name, reference, np.asarray(labels)):
            return Interpretation(LabelUse.UNFIT, off, plain)
        have, want = list(np.shape(labels)), list(reference.shape)
        reason = f"labels of shape {have} are neither classes nor values of {name}, which has shape {want}"
        return Interpretation(LabelUse.IGNORED, reason, plain)
    if classes is None:
        assert values is not None
        return _fit_values(name, reference, values)
    found = _fit_classes(name, reference, classes)
    if classes.certain or asked is LabelsAre.CLASS:
        return found
    as_values = values is not None and _fit_values(name, reference, values).use is LabelUse.VALUE
    if found.use is not LabelUse.UNFIT and not as_values:
        return found
    reason = found.reason or f"the labels could be classes of {name}, decided at 0, or its values"
    reason = reason if values is None else f"{reason}; {_ASK}"
    return replace(found, use=LabelUse.IGNORED, reason=reason, decide=plain, truth=None)


def _off_by_one(name: str, reference: Numbers, labels: Numbers) -> str:
    """A description of the fault of class labels that do not begin at 0; empty for other labels."""
    out = _core(reference)
    if labels.dtype.kind not in "iuf" or not _is_whole(labels) or not out or _core(labels) != out[:-1]:
        return ""
    least, most = int(labels.min()), int(labels.max())
    if least < 1 or most != out[-1]:
        return ""
    return f"the labels run from {least} to {most}, the classes of {name} from 0 to {out[-1] - 1}: subtract 1"


@dataclass(frozen=True)
class _Classes:
    """Labels as classes; `certain` if no other meaning is possible."""

    truth: NDArray[np.int64]
    decide: Decide
    certain: bool


def _as_classes(reference: Numbers, labels: Numbers, asked: LabelsAre | None) -> _Classes | None:
    """`labels` as the classes that the output decides between, or None if that is impossible.

    -1 and +1 are no and yes: a regression does not have only these values. Whole numbers in a float output are classes
    if they are right at least half the time, as those of a regression (an age, rounded) hardly are, or if that is
    `asked` for.
    """
    out, integer = _core(reference), reference.dtype.kind in "iub"
    columns = out[-1] if out and not integer else 1
    signs = _are_signs(labels) and (_core(labels) == out or (columns == 2 and _core(labels) == out[:-1]))
    if signs and not integer:
        labels = labels > 0
    elif not signs and not _is_whole(labels):
        return None
    if _is_one_hot(labels) and (_core(labels) == out or (integer and _core(labels)[:-1] == out)):
        labels = labels.argmax(axis=-1)
    row = _core(labels)
    truth = np.asarray(labels.reshape(len(labels), *row), np.int64)
    if integer and row == out:
        return _Classes(truth, _same, certain=True)
    if columns >= 2 and row == out[:-1] and truth.max() < columns:
        certain = _is_probability(reference) or int(truth.max()) + 1 == columns
        return _Classes(truth, _largest, certain)
    if not integer and row == out and truth.max() <= 1:
        unit = _within_unit(reference)
        return _Classes(truth, _above_half if unit else _above_zero, certain=unit or signs)
    if row == out and _is_whole(reference):
        mostly = bool((decisions(_same, reference) == truth).mean() >= _MOSTLY)
        return _Classes(truth, _same, certain=True) if mostly or asked is LabelsAre.CLASS else None
    return None


def _as_values(reference: Numbers, labels: Numbers) -> Numbers | None:
    """`labels` as the expected numbers of the output, in its shape, or None if that is impossible."""
    if reference.dtype.kind != "f" or labels.dtype.kind not in "iuf" or _core(labels) != _core(reference):
        return None
    if _is_one_hot(labels) or (_within_unit(reference) and bool(np.isin(labels, (0, 1)).all())):
        return None  # the output of a classifier, as probabilities
    return np.asarray(labels, np.float64).reshape(reference.shape)


def _fit_classes(name: str, reference: Numbers, classes: _Classes) -> Interpretation:
    """Interpret labels as classes; they fit if the Reference is right more often than with its samples shuffled.

    A model with meaningless outputs has no accuracy to lose, and any variant of it would pass. The lower bound must be
    higher: Wilson's, or two standard errors of the samples' shares of right positions. If classes are rare, a good
    model may be right no more often than the most common label, which is reported as `chance`.
    """
    truth, decided = classes.truth, decisions(classes.decide, reference)
    right = decided == truth
    share, chance = float(right.mean()), _chance(truth, len(_core(reference)))
    use = LabelUse.CLASS if truth.ndim == 1 else LabelUse.POSITIONS
    if truth.ndim == 1:
        least = statistics.agreement(int(right.sum()), len(right)).low
    else:
        shares = right.reshape(len(right), -1).mean(axis=1)
        least = share - 2 * float(shares.std()) / len(shares) ** 0.5
    found = Interpretation(use, "", classes.decide, truth, share, chance)
    if least > _independent(decided, truth):
        return found
    reason = f"the labels do not fit {name}: the reference is right on {share:.1%}, "
    reason += f"always answering the most common label would be right on {chance:.1%}"
    return replace(found, use=LabelUse.UNFIT, reason=reason, truth=None)


def _independent(decided: Numbers, truth: NDArray[np.int64]) -> float:
    """The expected share of right answers, position by position, if the samples were shuffled."""
    known = np.intersect1d(decided, truth)
    return float(sum(((decided == k).mean(axis=0) * (truth == k).mean(axis=0)).mean() for k in known))


def _fit_values(name: str, reference: Numbers, truth: Numbers) -> Interpretation:
    """Interpret labels as values; they fit if the Reference's error is less than that of each column's median."""
    errors = [float(np.abs(np.asarray(reference[rows], np.float64) - truth[rows]).sum()) for rows in blocks(reference)]
    error = sum(errors) / truth.size
    chance = float(np.abs(truth - np.median(truth, axis=0)).mean())
    found = Interpretation(LabelUse.VALUE, "", None, truth, error, chance)
    if error < chance and len(truth) > 1:
        return found
    reason = f"the labels do not fit {name}: the reference's mean absolute error is {error:.3g}, "
    reason += f"always answering the median would have {chance:.3g}"
    return replace(found, use=LabelUse.UNFIT, reason=reason, truth=None)


def _chance(truth: NDArray[np.int64], output_axes: int) -> float:
    """The share that a constant answer gets right; with several yes-or-no columns, one answer for each."""
    if truth.ndim == 2 and output_axes == 1 and truth.min() >= 0 and truth.max() <= 1:
        ones = truth.mean(axis=0)
        return float(np.maximum(ones, 1 - ones).mean())
    _, counts = np.unique(truth, return_counts=True)
    return float(counts.max()) / truth.size


# what arrays look like --------------------------------------------------------------------------------------------


def _plain_decision(reference: Numbers) -> Decide | None:
    """How an output decides without labels: integers are decisions, for rows of probabilities the largest decides.

    So are the whole numbers of a float map (several axes) if there are only a few different ones, as in an argmax that
    was made a float. Rows of one axis may be counts; of a one-hot map most positions agree, whatever it decides.
    """
    core = _core(reference)
    if reference.dtype.kind in "iub" or (len(core) > 1 and _is_class_map(reference)):
        return _same
    return _largest if len(core) == 1 and _is_probability(reference) else None


def _same(values: Numbers) -> Numbers:
    return _cored(values).astype(np.int64)


def _largest(values: Numbers) -> Numbers:
    return np.asarray(np.argmax(_cored(values), axis=-1))


def _above_half(values: Numbers) -> Numbers:
    return np.asarray(_cored(values) > 0.5, np.int64)


def _above_zero(values: Numbers) -> Numbers:
    return np.asarray(_cored(values) > 0, np.int64)


def _core(array: Numbers) -> tuple[int, ...]:
    """A row's shape without axes of length 1: (n, 1), (n, 1, 1) and (n,) are equivalent for labels."""
    return tuple(size for size in array.shape[1:] if size != 1)


def _cored(values: Numbers) -> Numbers:
    return values.reshape(len(values), *_core(values))


def _is_whole(labels: Numbers) -> bool:
    if labels.dtype.kind not in "iufb" or not labels.size:
        return False
    pieces = (np.asarray(labels[rows]) for rows in blocks(labels))
    whole = labels.dtype.kind != "f" or all(bool((one == np.round(one)).all()) for one in pieces)
    return whole and bool(labels.min() >= 0) and bool(labels.max() <= _MOST_CLASSES)


def _is_class_map(reference: Numbers) -> bool:
    """Whether a float output has only a few different whole numbers, and is not one-hot along an axis."""
    if not _is_whole(reference):
        return False
    found: set[float] = set()
    one_hot = set(range(1, reference.ndim))
    for rows in blocks(reference):
        values = np.asarray(reference[rows])
        found.update(np.unique(values)[: _FEW_CLASSES + 1].tolist())
        one_hot = {axis for axis in one_hot if values.shape[axis] > 1 and bool((values.sum(axis=axis) == 1).all())}
    return 2 <= len(found) <= _FEW_CLASSES and not (found <= {0.0, 1.0} and one_hot)


def _are_signs(labels: Numbers) -> bool:
    """Whether they are -1 and +1, the labels of a hinge loss."""
    return labels.dtype.kind in "if" and bool(np.isin(labels, (-1, 1)).all()) and bool((labels == -1).any())


def _is_one_hot(labels: Numbers) -> bool:
    """Whether each row along the last axis, of at least two elements, contains one 1 and zeros."""
    if labels.ndim < 2 or labels.shape[-1] < 2:
        return False
    return bool(np.isin(labels, (0, 1)).all()) and bool((labels.sum(axis=-1) == 1).all())


def _is_probability(reference: Numbers) -> bool:
    """Whether values along the last axis are not negative and sum to 1."""
    sums = (_cored(np.asarray(reference[rows], np.float64)).sum(axis=-1) for rows in blocks(reference))
    return _within_unit(reference) and all(np.allclose(one, 1, atol=1e-3) for one in sums)


def _within_unit(values: Numbers) -> bool:
    pieces = (values[rows] for rows in blocks(values))
    return all(np.min(one) >= -1e-6 and np.max(one) <= 1 + 1e-6 for one in pieces)
