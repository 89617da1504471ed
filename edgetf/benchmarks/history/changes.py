"""Changes between two commits. In: entries of the history. Out: the change of each figure, with its significance.

Times are compared by the medians of sessions, and by how much these differ for one file (`sessions`); accuracies by the
numbers of right samples. These changes are reported only if they are significant. A variant that cannot be compared any
more is a change too: the user must confirm the removal of a variant, its parity or its latency, or another runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import Enum
from itertools import combinations

from edgetf.benchmarks.history.sessions import Session, Side, Spread, compare_sides, spread_of, squares_of
from edgetf.benchmarks.history.store import Entry, find_commit
from edgetf.benchmarks.judging.statistics import wilson
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.results import Accuracy, MetricState, Parity, Result, Status, Verdict

try:
    from scipy import special
except ModuleNotFoundError as error:
    raise MissingExtraError("scipy", "report") from error

_ALPHA = 0.05
_EXACT = 100_000  # samples up to which Fisher's exact test takes no time
_MEDIAN = "median ms"

SessionsOf = Callable[[Entry], Sequence[Session]]  # those of the variant of an entry, with its conditions


class ChangeKind(str, Enum):
    """The kind of a change. All except `figure` are failures unless the user allows them by this name."""

    FIGURE = "figure"
    GONE = "gone"  # the variant, or its device or machine, is missing
    PARITY = "parity"  # the comparison with a reference, or its kind
    SAMPLES = "samples"  # it fails, on other samples
    RUNTIME = "runtime"  # the runtime, or its settings
    LATENCY = "latency"  # the times, or those of the hardware


class Effect(str, Enum):
    WORSE = "worse"
    BETTER = "better"
    NONE = "none"


class Unit(str, Enum):
    """What the figures of a change are. The interval of milliseconds is that of their ratio, else of a difference."""

    BYTES = "bytes"
    MILLISECONDS = "ms"
    OTHER = "other"


@dataclass(frozen=True)
class Change:
    """The change of one figure of a variant of the model `name` on a device between two commits, with a `summary`.

    `low` to `high` is the 95 % interval of new / old for the latency, of new - old in points for the accuracy; `p` is
    the p-value of "no difference". These changes are reported only if they are significant by Holm's rule over all
    comparisons. `spread` is how much sessions differ, which the interval of the latency includes.
    """

    name: str
    variant: str
    device: str
    what: str
    old: float | None
    new: float | None
    low: float | None
    high: float | None
    p: float | None
    summary: str
    effect: Effect = Effect.NONE
    kind: ChangeKind = ChangeKind.FIGURE
    unit: Unit = Unit.OTHER
    spread: Spread | None = None


def compare(
    known: Sequence[Entry],
    old: str,
    new: str,
    allowed: AbstractSet[ChangeKind] = frozenset(),
    sessions_of: SessionsOf = lambda entry: (),
) -> list[Change]:
    """The changes between two commits (or prefixes of their names), for each variant of a model on each device.

    The latest benchmark of each commit counts, and for latencies all of `sessions_of` an entry: those of its variant
    with the same conditions. With another runtime, a variant is compared only if that is `allowed`.
    Raises EdgetfError for an unknown commit, or if nothing was measured in both with the same settings.
    """
    before, after = (_of(known, find_commit(commit, known)) for commit in (old, new))
    changes, compared, others = list[Change](), False, _Nearest(list(after.values()))
    for key, one in before.items():
        if one.result.status != Status.OK:
            continue
        if key in after:
            compared = True
            changes += _changes(one, after[key], sessions_of)
            continue
        near, differing = others.to(one)
        if near is not None and _is_runtime(differing) and ChangeKind.RUNTIME in allowed:
            compared = True
            changes += [
                _About(one).change("run", _differ(one, near, differing), kind=ChangeKind.RUNTIME),
                *_changes(one, near, sessions_of),
            ]
        else:
            why = f": {_differ(one, near, differing)}" if near is not None else ""
            kind = ChangeKind.RUNTIME if _is_runtime(differing) else ChangeKind.GONE
            changes.append(_About(one).change("run", f"not measured now{why}", effect=Effect.WORSE, kind=kind))
    if not compared:
        raise _incomparable(f"{old} and {new}", [(one, *others.to(one)) for one in before.values()])
    return _by_holm(sorted(changes, key=lambda one: (one.name, one.device, one.variant, one.what)))


def _incomparable(commits: str, found: Sequence[tuple[Entry, Entry | None, tuple[str, ...]]]) -> EdgetfError:
    """The error if no entry has one with the same conditions; `found` are the nearest ones, and how they differ."""
    reasons = dict.fromkeys(f"{one.variant}: {_differ(one, near, differing)}" for one, near, differing in found if near)
    reason = "; ".join(reasons) or "no variant was measured in both"
    hint = f"all of {', '.join(_CONDITIONS.values())} must be the same in both"
    if any(_is_runtime(differing) for _, _, differing in found):
        hint += ", or give --allow runtime"
    return EdgetfError(f"nothing can be compared between {commits}: {reason}", hint)


def is_failure(change: Change, allowed: AbstractSet[ChangeKind]) -> bool:
    """Whether something became worse that is not allowed."""
    return change.effect is Effect.WORSE and (change.kind is ChangeKind.FIGURE or change.kind not in allowed)


def _of(known: Sequence[Entry], commit: str) -> dict[tuple[object, ...], Entry]:
    """The latest entry of each variant at `commit`, including failed ones."""
    return {_conditions(one, tuple(_CONDITIONS)): one for one in known if one.commit == commit}


def _conditions(one: Entry, names: Sequence[str]) -> tuple[object, ...]:
    return tuple(getattr(one, name) for name in names)


class _Nearest:
    """The entries of a commit, by any of their conditions: a commit may have thousands of models."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._indexes: dict[tuple[str, ...], dict[tuple[object, ...], int]] = {}

    def to(self, one: Entry) -> tuple[Entry | None, tuple[str, ...]]:
        """The entry of the same variant that differs from `one` in the fewest conditions, and these."""
        free = [name for name in _CONDITIONS if name != "variant"]
        for count in range(len(free) + 1):
            places = {differing: self._first(one, differing) for differing in combinations(free, count)}
            known = [(place, differing) for differing, place in places.items() if place is not None]
            if known:
                place, differing = min(known)
                return self._entries[place], differing
        return None, ()

    def _first(self, one: Entry, differing: tuple[str, ...]) -> int | None:
        """The place of the first entry that is equal in all other conditions."""
        equal = tuple(name for name in _CONDITIONS if name not in differing)
        if equal not in self._indexes:
            places = reversed(list(enumerate(self._entries)))
            self._indexes[equal] = {_conditions(other, equal): place for place, other in places}
        return self._indexes[equal].get(_conditions(one, equal))


def _is_runtime(differing: Iterable[str]) -> bool:
    """Whether the runtime or its settings are all that differs."""
    return bool(differing := set(differing)) and differing <= {"settings", "nice"}


def _differ(one: Entry, other: Entry, differing: Iterable[str]) -> str:
    found = [f"the {_CONDITIONS[key]} was {getattr(one, key)!r} and is {getattr(other, key)!r}" for key in differing]
    return ", ".join(found)


# conditions that must be equal in two compared results
_CONDITIONS = {
    "name": "model",
    "variant": "variant",
    "device": "device",
    "machine": "machine",
    "settings": "runtime and settings",
    "nice": "nice value",
}


@dataclass(frozen=True)
class _About:
    """The variant of changes."""

    entry: Entry

    def change(
        self,
        what: str,
        summary: str,
        figures: tuple[float | None, float | None] = (None, None),
        effect: Effect = Effect.NONE,
        kind: ChangeKind = ChangeKind.FIGURE,
    ) -> Change:
        one = self.entry
        return Change(one.name, one.variant, one.device, what, *figures, None, None, None, summary, effect, kind)


def _changes(old: Entry, new: Entry, sessions_of: SessionsOf) -> Iterator[Change]:
    about = _About(old)
    if new.result.status != Status.OK:
        yield about.change("run", "fails now", effect=Effect.WORSE)
        return
    sizes = old.result.bytes, new.result.bytes
    if sizes[0] is not None and sizes[1] is not None:
        summary = "equal" if sizes[0] == sizes[1] else "larger" if sizes[1] > sizes[0] else "smaller"
        yield replace(about.change("bytes", summary, sizes), unit=Unit.BYTES)
    if old.result.latency_ms and not old.result.emulated:
        yield _latency(about, new, sessions_of)
    before, after = old.result.parity, new.result.parity
    if before and after is None:
        yield about.change("parity", "not compared with a reference now", effect=Effect.WORSE, kind=ChangeKind.PARITY)
    elif before and after and old.samples == new.samples:
        yield from _parity(about, before, after)
    elif before and after:
        summary = f"not compared: the samples differ ({old.samples[:12]} and {new.samples[:12]})"
        yield about.change("accuracy", summary)
        if after.verdict is Verdict.FAIL:
            summary = f"worse: {before.verdict.value} became {after.verdict.value}, on other samples"
            yield about.change("verdict", summary, effect=Effect.WORSE, kind=ChangeKind.SAMPLES)


def _outputs(about: _About, old: Parity, new: Parity) -> Iterator[Change]:
    after = {output.name: output for output in new.outputs}
    for output in old.outputs:
        now, gone = after.get(output.name), ""
        if now is None:
            gone = "parity"
        elif output.accuracy and now.accuracy:
            yield _accuracy(about, output.name, output.accuracy, now.accuracy)
        elif output.accuracy:
            gone = "accuracy"
        elif output.agreement and not now.agreement:
            gone = "agreement"
        if gone:
            what = f"{gone} of {output.name}"
            yield about.change(what, "not measured now", effect=Effect.WORSE, kind=ChangeKind.PARITY)


def _parity(about: _About, old: Parity, new: Parity) -> Iterator[Change]:
    yield from _outputs(about, old, new)
    metrics = {metric.name: metric for metric in new.metrics if metric.state is MetricState.MEASURED}
    for metric in old.metrics:
        if metric.state is MetricState.FAILED:
            continue
        if metric.name in metrics:
            summary = "reported without a test: the scores of samples are not stored"
            yield about.change(metric.name, summary, (metric.variant, metrics[metric.name].variant))
        else:
            yield about.change(metric.name, "not measured now", effect=Effect.WORSE, kind=ChangeKind.PARITY)
    verdicts = old.verdict, new.verdict
    if verdicts[0] != verdicts[1]:
        worse = verdicts[1] is Verdict.FAIL or verdicts[0] is Verdict.PASS
        effect = Effect.WORSE if worse else Effect.BETTER
        yield about.change("verdict", f"{effect.value}: {verdicts[0].value} became {verdicts[1].value}", effect=effect)


def _latency(about: _About, new: Entry, sessions_of: SessionsOf) -> Change:
    """By `compare_sides`: a ratio whose interval includes what differs between sessions of the same file."""
    was, now = about.entry.result, new.result
    assert was.latency_ms is not None
    if now.latency_ms is None or now.emulated:
        gone = "not measured now: the device is emulated" if now.emulated else "not measured now"
        return about.change(_MEDIAN, gone, (was.latency_ms.median, None), Effect.WORSE, ChangeKind.LATENCY)
    medians = was.latency_ms.median, now.latency_ms.median
    if reason := _incomparable_times(was, now):
        return replace(about.change(_MEDIAN, f"not compared: {reason}", medians), unit=Unit.MILLISECONDS)
    old, sessions = about.entry, sessions_of(about.entry)
    is_alike = _conditions(old, tuple(_CONDITIONS)) == _conditions(new, tuple(_CONDITIONS))
    sides = _side(old, sessions), _side(new, sessions if is_alike else sessions_of(new))
    spread = spread_of(sessions, (old.commit, new.commit))
    ratio = compare_sides(*sides, spread, _ALPHA)
    summary, effect = ("slower", Effect.WORSE) if ratio.low > 1 else ("faster", Effect.BETTER)
    medians = math.exp(sides[0].centre), math.exp(sides[1].centre)
    found = about.change(_MEDIAN, summary, medians, effect)
    return replace(found, unit=Unit.MILLISECONDS, low=ratio.low, high=ratio.high, p=ratio.p, spread=spread)


def _incomparable_times(old: Result, new: Result) -> str:
    """Why the times of two results cannot be compared; empty if they can."""
    if min(len(old.blocks), len(new.blocks)) < 2:
        return "too few blocks"
    if old.stable is False or new.stable is False:
        return "unstable timing"
    timed = [one.latency_ms.median for one in (old, new) if one.latency_ms is not None]
    return "" if min(*timed, *(one.median_ms for one in (*old.blocks, *new.blocks))) > 0 else "times of 0 ms"


def _side(one: Entry, sessions: Sequence[Session]) -> Side:
    """The sessions of the entry's file at its commit, at least the entry itself."""
    assert one.result.latency_ms is not None
    logs = [math.log(block.median_ms) for block in one.result.blocks]
    found = [s.median_ms for s in sessions if (s.commit, s.file) == (one.commit, one.result.sha256)]
    variance = squares_of(logs) / (len(logs) - 1)
    error2 = math.pi / 2 * variance / len(logs)  # of a median of blocks, as in `timing.times`
    return Side(found or [one.result.latency_ms.median], error2, len(logs))


def _accuracy(about: _About, output: str, old: Accuracy, new: Accuracy) -> Change:
    """Fisher's exact test of right and wrong. Pairs of samples are not stored, so that a real change may be missed."""
    right = [min(round(one.variant * one.n), one.n) for one in (old, new)]
    counts = [[right[0], old.n - right[0]], [right[1], new.n - right[1]]]
    p = _p_value(right, (old.n, new.n)) if old.n + new.n > _EXACT else _exact(counts)
    low, high = _newcombe(right[1], new.n, right[0], old.n)
    less = new.variant < old.variant
    summary, effect = ("less accurate", Effect.WORSE) if less else ("more accurate", Effect.BETTER)
    found = about.change(f"accuracy of {output}, %", summary, (100 * old.variant, 100 * new.variant), effect)
    return replace(found, low=low, high=high, p=p)


def _exact(counts: Sequence[Sequence[int]]) -> float:
    from scipy import stats  # takes a second to import

    return float(stats.fisher_exact(counts).pvalue)


def _p_value(right: Sequence[int], of: Sequence[int]) -> float:
    """The test of two shares by the normal distribution, for numbers at which Fisher's takes minutes."""
    share = sum(right) / sum(of)
    apart = right[0] / of[0] - right[1] / of[1]
    deviation = math.sqrt(share * (1 - share) * (1 / of[0] + 1 / of[1]))
    return 2 * float(special.ndtr(-abs(apart) / deviation)) if deviation > 0 else 1.0


def _newcombe(a: int, n: int, b: int, m: int) -> tuple[float, float]:
    """Interval of a/n - b/m in points (Newcombe 1998, Statistics in Medicine 17:873, method 10)."""
    (one_low, one_high), (other_low, other_high) = wilson(a, n), wilson(b, m)
    p, q = a / n, b / m
    low = p - q - math.hypot(p - one_low, other_high - q)
    high = p - q + math.hypot(one_high - p, q - other_low)
    return 100 * low, 100 * high


def _by_holm(changes: list[Change]) -> list[Change]:
    """The changes, with only those that are significant by Holm's rule (Holm 1979, Scand. J. Statist. 6:65)."""
    order = sorted((k for k, one in enumerate(changes) if one.p is not None), key=lambda k: changes[k].p or 0.0)
    tested, open_ = list(changes), len(order)
    for rank, k in enumerate(order):
        if (changes[k].p or 0.0) > _ALPHA / (open_ - rank):
            for rest in order[rank:]:
                tested[rest] = replace(changes[rest], summary="no significant change", effect=Effect.NONE)
            break
    return tested
