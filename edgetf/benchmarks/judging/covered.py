"""What ran where: a Coverage in; one sentence, and the verdicts on its budgets, out.

A delegate that takes part of a graph, or nothing, reports no error: the rest runs on TFLite's own kernels. Where the
coverage is unknown, a budget for it is undecided; if nothing was delegated, every such budget is missed.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgetf.benchmarks.judging.verdict import Budgets, Judged
from edgetf.device.runner.delegates import DEFAULT_DELEGATE, DELEGATES
from edgetf.figures import Coverage
from edgetf.results import Result, Verdict
from edgetf.units import list_in_words

_KINDS = 3  # of left operations that a sentence names
_XNNPACK = {row.label for row in DELEGATES.values() if row.node == DELEGATES[DEFAULT_DELEGATE].node}


def judge_coverage(result: Result, budgets: Budgets) -> dict[str, Judged]:
    """The verdicts on `min_delegated` and `max_partitions`, by name, if they are set."""
    found, coverage = {}, result.coverage
    unknown = Judged(Verdict.INCONCLUSIVE, "the device did not report what its delegate took")
    if (least := budgets.min_delegated) is not None:
        found["delegated"] = unknown if coverage is None else _judge_share(coverage, least)
    if (most := budgets.max_partitions) is not None:
        found["pieces"] = unknown if coverage is None else _judge_pieces(coverage, most)
    return found


def _judge_share(coverage: Coverage, least: float) -> Judged:
    taken = f"{coverage.delegated} of {_operations(coverage.operations)}, budget {100 * least:.4g} %"
    reason = taken if coverage.is_complete else f"{taken}; {left_in_words(coverage)} on {_rest(coverage)}"
    return Judged(Verdict.PASS if coverage.share >= least else Verdict.FAIL, reason)


def _judge_pieces(coverage: Coverage, most: int) -> Judged:
    reason = (
        f"{pieces_in_words(coverage.partitions)}, budget {most}" if coverage.partitions else "nothing was delegated"
    )
    return Judged(Verdict.PASS if 0 < coverage.partitions <= most else Verdict.FAIL, reason)


def coverage_in_words(coverage: Coverage) -> str:
    """One sentence: what the delegate took, in how many pieces, what stayed behind, and its share of the time."""
    every = _operations(coverage.operations)
    if not coverage.accelerator:
        return f"no delegate was asked for: {every} on TFLite's own kernels"
    if not coverage.delegated:
        reasons = dict.fromkeys(one.reason for one in coverage.left if one.reason)
        why = f": {next(iter(reasons))}" if len(reasons) == 1 else ""
        return f"{coverage.accelerator} took none of {every}, which run on {_rest(coverage, 'own ')}{why}"
    pieces = pieces_in_words(coverage.partitions)
    if coverage.is_complete:
        return f"{coverage.accelerator} took all of {every} in {pieces}"
    taken = f"{coverage.accelerator} took {coverage.delegated} of {every} in {pieces}"
    return f"{taken}; {left_in_words(coverage)} on {_rest(coverage)}{_time(coverage)}"


def left_in_words(coverage: Coverage) -> str:
    """What stayed behind, the most common kinds by name, with its verb: "10 DEPTHWISE_CONV_2D stay"."""
    count = coverage.operations - coverage.delegated
    named = [f"{one.count} {one.kind}" for one in coverage.left[:_KINDS]]
    rest = sum(one.count for one in coverage.left[_KINDS:])
    named += [f"{rest} other{'' if rest == 1 else 's'}"] if rest else []
    return f"{list_in_words(named) or f'the other {count}'} {'stays' if count == 1 else 'stay'}"


def coverages_in_words(results: Iterable[Result]) -> list[str]:
    """A sentence for each coverage, with the variants that have it."""
    found: dict[str, list[str]] = {}
    for result in results:
        if result.coverage is not None:
            complete = result.coverage.is_complete and result.coverage.partitions == 1
            every = f"{result.coverage.accelerator} took all operations in {pieces_in_words(1)}"
            words = every if complete else coverage_in_words(result.coverage)
            found.setdefault(words, []).append(result.variant)
    return [f"{', '.join(variants)}: {words}" for words, variants in found.items()]


def culprit_in_words(result: Result) -> str:
    """One sentence on the operation that differs, with what to try; empty if there is none."""
    found = result.culprit
    if found is None:
        return ""
    label = result.coverage.accelerator if result.coverage else result.delegate
    where = f"operation {found.position} of {found.operations}" + (f", layer {found.layer}" if found.layer else "")
    hint = "; try --delegate-option precision=float32" if result.delegate_options.get("precision") == "default" else ""
    return f"{label} differs from TFLite's kernels first in {found.kind} ({where}): {found.db:.1f} dB{hint}"


def culprits_in_words(results: Iterable[Result]) -> list[str]:
    """A sentence for each result with an operation that differs."""
    return [f"{one.variant}: {words}" for one in results if (words := culprit_in_words(one))]


def pieces_in_words(count: int) -> str:
    return "one piece" if count == 1 else f"{count} pieces"


def _operations(count: int) -> str:
    return "1 operation" if count == 1 else f"{count} operations"


def leaves_to_tflite(coverage: Coverage) -> bool:
    """Whether TFLite's own kernels run what the delegate left: of another delegate XNNPACK takes it, if it can."""
    return not coverage.accelerator or coverage.accelerator in _XNNPACK


def _rest(coverage: Coverage, own: str = "") -> str:
    return f"TFLite's {own}kernels" if leaves_to_tflite(coverage) else "the CPU"


def _time(coverage: Coverage) -> str:
    share = coverage.left_time_share
    if share is None:
        return ""
    return " (less than 1 % of the time)" if share < 0.01 else f" ({100 * share:.0f} % of the time)"
