from __future__ import annotations

from dataclasses import replace

import pytest

from edgetf.benchmarks.judging.check import check_one
from edgetf.benchmarks.judging.covered import coverage_in_words, coverages_in_words, judge_coverage
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.figures import Coverage, CoverageSource, LeftOperations
from edgetf.results import Result, Status, Verdict

WHY = "XNNPACK took no DEPTHWISE_CONV_2D on float32 with int8 weights"
DYNAMIC = Coverage(
    operations=65,
    delegated=55,
    partitions=11,
    left=(LeftOperations("DEPTHWISE_CONV_2D", 10, WHY, 0.31),),
    crossing_bytes=384_000,
    accelerator="XNNPACK",
    software=False,
    source=CoverageSource.NODES,
)
COMPLETE = replace(DYNAMIC, delegated=65, partitions=1, left=())
NOTHING = replace(
    DYNAMIC,
    delegated=0,
    partitions=0,
    left=(LeftOperations("CONV_2D", 35, "no int8"), LeftOperations("ADD", 30, "no int8")),
)
RESULT = Result("int8", "int8", "pi", Status.OK, "litert", 1, "", 1, "xnnpack", coverage=DYNAMIC)


def test_a_sentence_names_what_stayed_behind_and_what_it_costs() -> None:
    assert coverage_in_words(DYNAMIC) == (
        "XNNPACK took 55 of 65 operations in 11 pieces; 10 DEPTHWISE_CONV_2D stay on TFLite's kernels "
        "(31 % of the time)"
    )
    softmax = (LeftOperations("SOFTMAX", 1, "", 0.001),)
    assert coverage_in_words(replace(DYNAMIC, delegated=64, partitions=1, left=softmax)) == (
        "XNNPACK took 64 of 65 operations in one piece; 1 SOFTMAX stays on TFLite's kernels (less than 1 % of the time)"
    )
    many = tuple(LeftOperations(kind, count, "") for kind, count in (("A", 4), ("B", 3), ("C", 2), ("D", 1)))
    assert "4 A, 3 B, 2 C and 1 other stay on TFLite's kernels" in coverage_in_words(replace(DYNAMIC, left=many))
    assert "; the other 10 stay on TFLite's kernels" in coverage_in_words(replace(DYNAMIC, left=()))


def test_a_sentence_names_what_was_not_delegated_at_all() -> None:
    assert coverage_in_words(NOTHING) == (
        "XNNPACK took none of 65 operations, which run on TFLite's own kernels: no int8"
    )
    assert coverage_in_words(replace(NOTHING, accelerator="")).startswith("no delegate was asked for: 65 operations")
    assert coverage_in_words(COMPLETE) == "XNNPACK took all of 65 operations in one piece"


def test_variants_with_the_same_coverage_share_a_sentence() -> None:
    float32, float16 = (replace(RESULT, variant=name, coverage=COMPLETE) for name in ("float32", "float16"))
    other = replace(float16, coverage=replace(COMPLETE, operations=130, delegated=130))
    unknown = replace(RESULT, coverage=None)
    first, second = coverages_in_words([float32, other, RESULT, unknown])
    assert first == "float32, float16: XNNPACK took all operations in one piece"
    assert second.startswith("int8: XNNPACK took 55 of 65")


@pytest.mark.parametrize(
    ("coverage", "delegated", "pieces"),
    [
        (DYNAMIC, Verdict.FAIL, Verdict.FAIL),
        (COMPLETE, Verdict.PASS, Verdict.PASS),
        (NOTHING, Verdict.FAIL, Verdict.FAIL),  # no piece is not at most one piece
        (None, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
    ],
)
def test_budgets_of_coverage(coverage: Coverage | None, delegated: Verdict, pieces: Verdict) -> None:
    result = replace(RESULT, coverage=coverage)
    judged = judge_coverage(result, Budgets(min_delegated=0.95, max_partitions=1))
    assert {name: one.verdict for name, one in judged.items()} == {"delegated": delegated, "pieces": pieces}
    assert judge_coverage(result, Budgets()) == {}
    checked = check_one(result, Budgets(min_delegated=0.95), explicit_drop=False, compared=False)
    assert checked.verdict is delegated
    assert judge_coverage(RESULT, Budgets(max_partitions=11))["pieces"].verdict is Verdict.PASS
