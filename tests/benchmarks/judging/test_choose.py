from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.choose import Choice, Objective, Order, Outcome, Standing, choose, exit_code
from edgetf.benchmarks.judging.choose_words import (
    alike,
    answer,
    budgets_in_words,
    context,
    loss_in_words,
    rule,
    why_not,
)
from edgetf.benchmarks.judging.front import cost_of
from edgetf.benchmarks.judging.loss import Loss, LossKind, loss_of
from edgetf.benchmarks.judging.verdict import Budgets, judge_parity
from edgetf.benchmarks.report.words import how_it_ran, same_speed
from edgetf.errors import EdgetfError, ExitCode
from edgetf.results import Benchmark, Result, read_benchmark
from tests.benchmarks.made_bench import broken, dropped, figures_of, float32, int8, measured, variant, with_results


@pytest.fixture
def document(benchmarked: Path) -> Benchmark:
    return read_benchmark(benchmarked)


def chosen(document: Benchmark, *results: Result, objective: Objective = Objective.BOTH) -> Choice:
    (choice,) = choose(with_results(document, *results), objective)
    return choice


def standings(choice: Choice) -> dict[str, Standing]:
    return {candidate.variant: candidate.standing for candidate in choice.candidates}


def reasons(choice: Choice) -> dict[str, str]:
    return {candidate.variant: why_not(choice, candidate) for candidate in choice.candidates}


def test_the_answer_states_gains_and_losses_compared_with_float32(document: Benchmark) -> None:
    choice = chosen(document, float32(document), variant(document, "int8", 0.9, 1000))
    assert answer(choice) == "int8: 3.3 times faster, 4.0 times smaller than float32, accuracy unchanged (±0.38 points)"
    assert choice.outcome is Outcome.CHOSEN
    (best, base) = choice.candidates
    assert best.beside_base is not None
    assert best.beside_base.latency == pytest.approx(0.3)
    assert best.beside_base.latency_order is Order.LESS
    assert base.standing is Standing.BEHIND
    assert why_not(choice, base) == "passes, 3.3 times slower, 4.0 times larger than int8"


def test_the_answer_always_mentions_that_a_variant_is_slower_or_larger(document: Benchmark) -> None:
    slow = chosen(document, float32(document), variant(document, "int16x8", 210, 1000), objective=Objective.SIZE)
    assert answer(slow).startswith("int16x8: 4.0 times smaller than float32, but 70 times slower, accuracy")
    fast = chosen(document, float32(document), variant(document, "big", 1, 8000), objective=Objective.LATENCY)
    assert answer(fast).startswith("big: 3.0 times faster than float32, but 2.0 times larger, accuracy")
    same = chosen(document, float32(document), variant(document, "int8", 3.01, 1000))
    assert "4.0 times smaller than float32, no measurable difference in speed from float32" in answer(same)


def test_each_objective_minimizes_a_different_figure(document: Benchmark) -> None:
    results = (
        float32(document),
        variant(document, "fast", 1.0, 3900),
        variant(document, "small", 4.0, 900, peak_rss_bytes=39_900_000),
        variant(document, "middle", 1.5, 1100),
        variant(document, "thrifty", 9.0, 3000, peak_rss_bytes=30_000_000),
    )
    found = {objective: chosen(document, *results, objective=objective).variant for objective in Objective}
    assert found == {
        Objective.BOTH: "middle",
        Objective.LATENCY: "fast",
        Objective.SIZE: "small",
        Objective.MEMORY: "thrifty",
    }


def test_the_smallest_of_the_equivalent_variants_is_chosen(document: Benchmark) -> None:
    results = (
        float32(document),
        variant(document, "a", 1.0, 1200),
        variant(document, "b", 1.015, 1100),
        variant(document, "c", 1.1, 1000),
    )
    choice = chosen(document, *results, objective=Objective.LATENCY)
    assert choice.variant == "b"
    assert standings(choice)["a"] is Standing.ALIKE
    assert standings(choice)["c"] is Standing.BEHIND
    assert alike(choice) == "a would do as well: no measurable difference in latency."
    assert reasons(choice)["a"] == "passes and would do as well: 9 % larger than b"


def test_an_unstable_timing_is_not_slower_than_what_its_blocks_overlap(document: Benchmark) -> None:
    steady, shaky = variant(document, "steady", 1.0), variant(document, "shaky", 1.3, 999)
    assert chosen(document, steady, shaky, objective=Objective.LATENCY).variant == "steady"
    blocks = tuple(replace(block, median_ms=ms) for block, ms in zip(shaky.blocks, (0.95, 1.6), strict=False))
    shaky = replace(shaky, stable=False, blocks=blocks)
    assert chosen(document, steady, shaky, objective=Objective.LATENCY).variant == "shaky"  # the smaller of the two
    assert same_speed([steady, shaky]) == ["steady and shaky"]


def test_unstable_timings_are_named_with_the_answer(document: Benchmark) -> None:
    steady, noisy = float32(document), replace(variant(document, "dynamic", 0.5), stable=False)
    choice = chosen(document, steady, noisy)
    assert "not stable for dynamic" in context(with_results(document, steady, noisy), choice.device)["timings"]
    assert "timings" not in context(with_results(document, steady), choice.device)
    assert "all variants" in context(with_results(document, noisy), choice.device)["timings"]
    assert "timings" not in context(with_results(document, replace(noisy, emulated=True)), choice.device)  # none counts


def test_times_of_an_emulated_device_choose_nothing(document: Benchmark) -> None:
    results = [replace(r, emulated=True) for r in (float32(document), variant(document, "int8", 90.0, 1000))]
    choice = chosen(document, *results)
    assert choice.variant == "int8"
    assert "speed not known" in answer(choice)
    assert "the device is emulated" in rule(choice)
    assert alike(choice) == ""


def test_only_a_passing_variant_is_chosen_and_the_others_have_a_reason(document: Benchmark) -> None:
    like = int8(document)
    choice = chosen(
        document,
        float32(document),
        variant(document, "lossy", 0.1, 100, parity=dropped(like, 60, 0)),
        variant(document, "open", 0.1, 100, parity=dropped(like, 9, 0)),
        broken(document, "gone"),
        broken(document, "unmade", "conversion"),
    )
    assert choice.variant == "float32"
    assert answer(choice) == "float32: 3 ms, 4 kB, accuracy unchanged (±0.38 points)"
    why = reasons(choice)
    assert why["lossy"].startswith("fails: accuracy drop +6.00 points")
    assert why["open"].startswith("is undecided: accuracy drop +0.90 points")
    assert "more samples would decide" in why["open"]
    assert why["gone"] == "did not run: it died"
    assert why["unmade"] == "was not converted: it died"
    assert list(standings(choice).values()) == [
        Standing.CHOSEN,
        Standing.UNDECIDED,
        Standing.FAILS,
        Standing.FAILS,
        Standing.NOT_RUN,
    ]
    assert exit_code([choice]) is ExitCode.DONE


def test_a_variant_that_fails_and_is_slow_is_called_slow_too(document: Benchmark) -> None:
    lossy = variant(document, "lossy", 210, 5000, parity=dropped(int8(document), 60, 0))
    why = reasons(chosen(document, float32(document), lossy))["lossy"]
    assert why.endswith("(and 70 times slower, 25 % larger than float32)")


def test_the_budgets_decide_what_can_be_chosen(document: Benchmark) -> None:
    results = with_results(document, float32(document), variant(document, "int8", 0.9, 1000))
    (tight,) = choose(results, Objective.BOTH, Budgets(max_drop=0.2, max_bytes=2000), explicit_drop=True)
    assert tight.outcome is Outcome.UNDECIDED
    assert answer(tight) == "nothing to ship yet: no variant passes, and int8 is undecided"
    assert exit_code([tight]) is ExitCode.NOT_ENOUGH_DATA
    assert budgets_in_words(tight) == "at most 0.2 points of accuracy lost, at most 2 kB"
    (none,) = choose(results, Objective.BOTH, Budgets(max_bytes=10))
    assert answer(none) == "nothing to ship: none of 2 variants passes"
    assert rule(none) == alike(none) == ""
    assert exit_code([none]) is ExitCode.BUDGET_MISSED
    (gone,) = choose(with_results(document, broken(document, "int8")))
    assert gone.outcome is Outcome.NOTHING_RAN
    assert exit_code([gone, none, tight]) is ExitCode.DEVICE_FAILED


def test_each_device_has_its_own_answer(document: Benchmark) -> None:
    there = [replace(result, device="pi") for result in (float32(document), variant(document, "int8", 9, 1000))]
    here = (float32(document), variant(document, "int8", 0.9, 1000), variant(document, "slow", 4, 1001))
    one, other = choose(with_results(document, *here, *there), Objective.LATENCY)
    assert (one.device, one.variant, len(one.candidates)) == ("local", "int8", 3)
    assert (other.device, other.variant, len(other.candidates)) == ("pi", "float32", 2)
    assert context(document, other.device, other)["device"].startswith("pi")


def test_the_loss_is_stated_in_terms_of_the_judged_figure(document: Benchmark) -> None:
    like = int8(document)

    def of(result: Result) -> str:
        return answer(chosen(document, result)).split(", ", 2)[2]

    base = variant(document, "a", 1.0)
    lost, won = replace(base, parity=dropped(like, 60, 0, 10_000)), replace(base, parity=dropped(like, 0, 60, 10_000))
    assert of(lost) == "0.6 points of accuracy lost (0.47 to 0.77)"
    assert of(won) == "0.6 points of accuracy gained (0.47 to 0.77)"
    known = replace(figures_of(like), accuracy=None)
    assert known.agreement is not None
    same = replace(known, agreement=statistics.agreement(995, 1000))
    assert of(replace(base, parity=judge_parity("int8", 1000, [same], Budgets()))) == (
        "decides as the reference on 99.5 % of the samples (98.8 to 99.8 %)"
    )
    noisy = replace(known, agreement=None, centred_db=42.0, centred_low_db=41.0, centred_high_db=43.5)
    noisy = replace(noisy, sqnr_db=50.0, mean_abs=1e-5, cosine=1.0)
    exact = replace(noisy, centred_db=None, centred_low_db=None, centred_high_db=None, sqnr_db=None)
    exact = replace(exact, max_abs=0.0, mean_abs=0.0)
    assert of(replace(base, parity=judge_parity("int8", 1000, [exact, noisy], Budgets()))) == (
        "SQNR 42.0 dB (41.0 to 43.5 dB)"
    )
    assert of(replace(base, parity=judge_parity("int8", 1000, [exact], Budgets()))) == "no error at all"
    assert of(replace(base, parity=measured(like, 0.002, 0.001))) == "0.002 of own:score lost (0.001 to 0.003)"
    assert of(replace(base, parity=measured(like, -0.002, 0.001))) == "0.002 of own:score gained (0.001 to 0.003)"
    assert of(replace(base, parity=measured(like, 0.001, 0.004))) == "own:score unchanged (±0.005)"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.9, 0.8, "accuracy unchanged (±0.9 points)"),
        (-30.0, 0.9, "3 points of accuracy gained (-0.9 to 30)"),
        (-0.9, 1.1, "3 points of accuracy gained (-1.1 to 0.9)"),
    ],
)
def test_unchanged_requires_both_ends_of_the_interval_within_the_budget(low: float, high: float, words: str) -> None:
    assert loss_in_words(Loss(LossKind.ACCURACY, "y", -3.0, low, high), Budgets()) == words
    none = loss_in_words(Loss(LossKind.ACCURACY, "y", 0.0, -1.9, 1.9), Budgets())
    assert none == "no change of accuracy measured (-1.9 to 1.9 points)"
    own = loss_in_words(Loss(LossKind.METRIC, "m:f", -0.03, low / 100, high / 100), Budgets())
    assert ("unchanged" in own) is ("unchanged" in words)
    assert "unchanged" in loss_in_words(Loss(LossKind.LABELS, "mean error of y", -3.0, low, high), Budgets(max_drop=30))


def test_the_answer_and_the_picture_show_the_drop_of_the_same_metric(document: Benchmark) -> None:
    like = int8(document)
    small, large = measured(like, 0.001, 0.004).metrics[0], measured(like, 0.5, 0.01).metrics[0]
    for metrics, shown in (
        ((small, replace(large, name="own:other")), 0.001),  # in different units: the first, for all variants
        ((replace(small, output="a"), replace(large, output="b")), 0.5),  # both in points: the worst
    ):
        result = replace(like, parity=replace(measured(like, 0.001, 0.004), metrics=metrics))
        loss, cost = loss_of(result.parity), cost_of(result, drops=True)
        assert loss is not None
        assert cost is not None
        assert (loss.value, loss.low, loss.high) == (cost.value, cost.low, cost.high)
        assert loss.value == shown


def test_one_exact_output_does_not_hide_the_error_of_another(document: Benchmark) -> None:
    figures = replace(figures_of(int8(document)), accuracy=None, agreement=None, centred_db=None)
    exact, constant = replace(figures, name="a", max_abs=0.0), replace(figures, name="b", max_abs=1.0)
    parity = judge_parity("int8", 1000, [exact, constant], Budgets())
    assert loss_of(parity) is None
    loss = loss_of(judge_parity("int8", 1000, [exact], Budgets()))
    assert loss is not None
    assert loss_in_words(loss, Budgets()) == "no error at all"


def test_without_a_reference_only_other_budgets_choose(document: Benchmark) -> None:
    bare = replace(
        with_results(document, variant(document, "a", parity=None), variant(document, "b", 2.0, parity=None)),
        reference=None,
    )
    with pytest.raises(EdgetfError, match="nothing was compared"):
        choose(bare)
    (choice,) = choose(bare, Objective.LATENCY, Budgets(max_bytes=5000))
    assert answer(choice) == "a: 1 ms, 1 kB, not compared with a reference"


def test_groups_that_share_their_speed_are_named_once(document: Benchmark) -> None:
    results = [variant(document, name, ms) for name, ms in (("a", 1.0), ("b", 1.015), ("c", 1.045), ("d", 2.0))]
    assert same_speed(results) == ["a and b", "b and c"]
    assert same_speed([replace(result, emulated=True) for result in results]) == []
    assert how_it_ran(results).endswith("in 9 turns")
    assert how_it_ran([results[0], replace(results[1], blocks=results[1].blocks[:5])]).endswith("in 5 to 9 turns")
    twelve = [variant(document, f"v{k}") for k in range(12)]
    assert len(same_speed(twelve)) == 1
