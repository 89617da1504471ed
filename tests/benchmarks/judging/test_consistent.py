from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetf.benchmarks.judging.consistent import refuse_contradictions
from edgetf.benchmarks.judging.distinct import Distinct
from edgetf.benchmarks.judging.label_metrics import built_in_metrics
from edgetf.benchmarks.judging.labels import interpret
from edgetf.benchmarks.judging.own_metric import AskedMetric, own_metric
from edgetf.benchmarks.judging.parity import compare
from edgetf.benchmarks.judging.verdict import Budgets, judge_parity
from edgetf.errors import EdgetfError
from edgetf.figures import Block, Latency
from edgetf.results import MetricFigures, MetricState, Parity, Result, Status

KINDS = ("numbers", "boxes", "classes", "labels", "maps", "tags", "values")


def _parity(kind: str, n: int = 200, noise: float = 0.3, copies: int = 1, seed: int = 0) -> Parity:
    """A comparison of one output of a kind, with labels or without, and its metrics."""
    random = np.random.default_rng(seed)
    theirs: Any = random.normal(size=(n, 4))
    labels: Any = None
    if kind == "boxes":
        theirs *= [1000.0, 1000.0, 1.0, 1.0]
    if kind == "values":
        labels = theirs + random.normal(size=theirs.shape) * 0.1
    if kind in ("classes", "labels"):
        theirs = np.exp(3 * theirs)
        theirs /= theirs.sum(axis=1, keepdims=True)
        labels = theirs.argmax(axis=1) if kind == "labels" else None
    scale = theirs.std(axis=0)
    if kind == "maps":
        theirs, scale = random.integers(0, 3, (n, 6, 6)).astype(np.float64), np.ones(1)
        labels = theirs.astype(np.int64)
    if kind == "tags":
        theirs = (random.uniform(size=(n, 8)) < 0.3).astype(np.float64)
        labels, scale = theirs.astype(np.int64), np.ones(1)
        theirs = 0.1 + 0.8 * theirs
    ours = theirs + noise * scale * random.normal(size=theirs.shape)
    if kind == "maps":
        theirs, ours = np.round(theirs).astype(np.int64), np.round(ours).astype(np.int64)
    read = interpret({"y": theirs}, labels)
    distinct = Distinct(np.arange(n) // copies) if copies > 1 else None
    figures = compare("y", theirs, ours, read["y"], distinct=distinct)
    metrics = built_in_metrics({"y": theirs}, {"y": ours}, read, distinct)
    return judge_parity("int8", n if distinct is None else distinct.count, [figures], Budgets(), metrics)


def _result(parity: Parity | None, **changes: Any) -> Result:
    made = Result("v", "int8", "local", Status.OK, "litert", 1000, "0" * 64, 1, "none", parity=parity)
    return replace(made, **changes)


@settings(max_examples=30)
@given(
    kind=st.sampled_from(KINDS),
    n=st.integers(1, 60),
    power=st.integers(-12, 3),
    copies=st.sampled_from([1, 1, 3, 70]),
    seed=st.integers(0, 99),
)
def test_figures_of_a_real_comparison_do_not_contradict_each_other(
    kind: str, n: int, power: int, copies: int, seed: int
) -> None:
    refuse_contradictions(_result(_parity(kind, n, 10.0**power, copies, seed)))
    refuse_contradictions(_result(_parity(kind, n, 0.0, copies, seed)))


@settings(max_examples=30)
@given(
    st.sampled_from(["mean", "each", "largest", "distinct", "noisy", "fails"]),
    st.booleans(),
    st.integers(2, 60),
    st.integers(0, 99),
)
def test_figures_of_a_real_metric_do_not_contradict_each_other(kind: str, less: bool, n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    theirs = random.permutation(2 * n).astype(np.float64)[:n, np.newaxis]
    ours = np.round(theirs + random.normal(size=theirs.shape))
    functions: dict[str, Callable[[Any, Any], Any]] = {
        "mean": lambda o, y: float(np.abs(o["y"] - y).mean()),
        "each": lambda o, y: np.abs(o["y"] - y)[:, 0] * 1e6,
        "largest": lambda o, y: o["y"].max(),
        "distinct": lambda o, y: len(np.unique(y[o["y"] == y])),  # a resample has fewer
        "noisy": lambda o, y: random.normal(),
        "fails": lambda o, y: "nothing",
    }
    found = own_metric(AskedMetric(kind, functions[kind], less), {"y": theirs}, {"y": ours}, theirs)
    refuse_contradictions(_result(judge_parity("int8", n, [compare("y", theirs, ours)], Budgets(), [found])))


# edits ------------------------------------------------------------------------------------------------------------


def _of_output(**changes: Any) -> Callable[[Parity], Parity]:
    return lambda parity: replace(parity, outputs=(replace(parity.outputs[0], **changes),))


def _within_output(part: str, **changes: Any) -> Callable[[Parity], Parity]:
    def change(parity: Parity) -> Parity:
        return _of_output(**{part: replace(getattr(parity.outputs[0], part), **changes)})(parity)

    return change


def _of_column(**changes: Any) -> Callable[[Parity], Parity]:
    def change(parity: Parity) -> Parity:
        first, *rest = parity.outputs[0].columns
        return _of_output(columns=(replace(first, **changes), *rest))(parity)

    return change


def _of_class(part: str, **changes: Any) -> Callable[[Parity], Parity]:
    def change(parity: Parity) -> Parity:
        first, *rest = parity.outputs[0].classes
        return _of_output(classes=(replace(first, **{part: replace(getattr(first, part), **changes)}), *rest))(parity)

    return change


EDITS: dict[str, tuple[str, Callable[[Parity], Parity], str]] = {
    "an SQNR below its interval": ("numbers", _of_output(centred_low_db=30.0), "SQNR of y of v contradicts its interv"),
    "an interval without an SQNR": ("numbers", _of_output(centred_db=None), "SQNR of y of v contradicts its interval"),
    "an SQNR above that of the errors": (
        "numbers",
        _of_output(centred_db=40.0, centred_low_db=39.0, centred_high_db=41.0),
        "SQNR of y of v contradicts its errors",
    ),
    "the same with the other SQNR": (
        "numbers",
        _of_output(sqnr_db=40.0, centred_db=40.0, centred_low_db=39.0, centred_high_db=41.0),
        "SQNR of y of v contradicts its errors",
    ),
    "the same with smaller errors": (
        "numbers",
        _of_output(sqnr_db=40.0, centred_db=40.0, centred_low_db=39.0, centred_high_db=41.0, mean_abs=1e-4),
        "SQNR of y of v contradicts its errors",  # the cosine
    ),
    "no error at all": ("numbers", _of_output(max_abs=0.0), "SQNR of y of v contradicts its errors"),
    "no error, but answers that differ": (
        "labels",
        _of_output(max_abs=0.0, mean_abs=0.0, sqnr_db=None, centred_db=None, centred_low_db=None, centred_high_db=None),
        "SQNR of y of v contradicts its errors",
    ),
    "an SQNR of some columns": ("boxes", _of_column(centred_low_db=50.0), "SQNR of y of v contradicts its interval"),
    "columns that are not judged": (
        "boxes",
        _of_column(centred_db=None, centred_low_db=None, centred_high_db=None),
        "SQNR of y of v contradicts its errors",
    ),
    "columns with larger errors than the whole": ("boxes", _of_column(max_abs=1e9), "contradicts its errors"),
    "a narrower agreement": ("classes", _within_output("agreement", low=0.99), "agreement of y of v contradicts"),
    "more of the same": ("classes", _within_output("agreement", share=1.0), "agreement of y of v contradicts"),
    "an agreement of positions": (
        "maps",
        _within_output("agreement", low=0.999, high=0.9999),
        "agreement of y of v contradicts its counts",
    ),
    "a share of positions": (
        "maps",
        _within_output("agreement", share=0.999, low=0.99, high=1.0),
        "agreement of y of v contradicts its counts",
    ),
    "a drop": ("labels", _within_output("accuracy", drop_points=0.0), "accuracy of y of v contradicts its counts"),
    "fewer lost": ("labels", _within_output("accuracy", only_reference_right=0), "accuracy of y of v contradicts"),
    "a reference that is never right": (
        "labels",
        lambda parity: _within_output(
            "accuracy",
            reference=0.0,
            variant=-parity.outputs[0].accuracy.drop_points / 100,  # type: ignore[union-attr]
        )(parity),
        "accuracy of y of v contradicts its counts",
    ),
    "another interval at any time": (
        "labels",
        _of_output(any_time=True),
        "interval of y of v contradicts a run of all",
    ),
    "the agreement of a class": (
        "classes",
        _of_class("agreement", share=1.0),
        "results by class of y of v contradicts",
    ),
    "the accuracy of a class": ("labels", _of_class("accuracy", low=0.0), "results by class of y of v contradicts"),
    "a constant output that shows nothing": (
        "classes",
        _of_output(constant=True, centred_db=None, centred_low_db=None, centred_high_db=None),
        "output y, which is constant, of v contradicts",
    ),
    "more distinct samples than samples": ("numbers", lambda parity: replace(parity, distinct=201), "distinct samples"),
    "a metric's score": (
        "values",
        lambda parity: replace(parity, metrics=(replace(parity.metrics[0], variant=parity.metrics[0].reference),)),
        "contradicts its scores",
    ),
    "a metric's interval": (
        "values",
        lambda parity: replace(parity, metrics=(replace(parity.metrics[0], low=-0.001, high=0.001),)),
        "contradicts its scores",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_figure_that_contradicts_another_is_refused(name: str) -> None:
    kind, change, words = EDITS[name]
    parity = _parity(kind)
    refuse_contradictions(_result(parity))
    with pytest.raises(EdgetfError, match=words) as caught:
        refuse_contradictions(_result(change(parity)))
    assert caught.value.hint == "benchmark.json was changed or damaged: benchmark again"


@pytest.mark.parametrize(
    ("metric", "refused"),
    [
        (MetricFigures("m", None, 200, 1.0, 0.9, 0.1, 0.05, 0.15, ()), False),
        (MetricFigures("m", None, 200, 1.0, 1.1, 0.1, 0.05, 0.15, (), less_is_better=True), False),
        (MetricFigures("m", None, 200, 1.0, 0.0, 0.0, -0.001, 0.001, ()), True),
        (MetricFigures("m", None, 200, 1.0, 0.0, 1.0, -0.001, 0.001, ()), True),
        (MetricFigures("m", None, 200, 1.0, 1.1, 0.1, 0.05, 0.15, ()), True),
        (MetricFigures("m", None, 200, 1e-9, 0.0, 0.0, -1e-12, 1e-12, ()), True),
        (MetricFigures("m", None, 200, 1.0, 0.9, 0.1, 0.0, 0.0, ("it differs between calls",)), False),
        (MetricFigures("m", None, 200, 0.0, 0.0, 0.0, 0.0, 0.0, ("it failed",), state=MetricState.FAILED), False),
        (MetricFigures("m", None, 200, 0.0, 0.0, 0.0, 0.0, 0.0, (), state=MetricState.FAILED), True),
    ],
)
def test_the_drop_of_a_metric_is_that_of_its_scores_and_in_its_interval(metric: MetricFigures, refused: bool) -> None:
    result = _result(judge_parity("int8", 200, [], Budgets(), [metric]))
    if not refused:
        refuse_contradictions(result)
        return
    with pytest.raises(EdgetfError, match="the m of v contradicts its scores"):
        refuse_contradictions(result)


@pytest.mark.parametrize("labels", [True, False])
def test_a_lost_class_cannot_be_left_out(labels: bool) -> None:
    theirs = np.eye(3)[np.arange(300) % 3] * 0.7 + 0.1
    ours = np.where(theirs.argmax(axis=1)[:, np.newaxis] == 2, np.roll(theirs, 1, axis=1), theirs)
    read = interpret({"y": theirs}, theirs.argmax(axis=1) if labels else None)["y"]
    figures = compare("y", theirs, ours, read)
    assert figures.lost == ("class 2 is lost: it keeps 0 of 100",)
    refuse_contradictions(_result(judge_parity("int8", 300, [figures], Budgets())))
    with pytest.raises(EdgetfError, match="results by class of y of v contradicts that no class is lost"):
        refuse_contradictions(_result(judge_parity("int8", 300, [replace(figures, lost=())], Budgets())))


@pytest.mark.parametrize("tags", [True, False])
def test_one_answer_that_is_nearly_all_of_the_references_loses_its_class(tags: bool) -> None:
    """A variant that always answers something else than the reference nearly always answers."""
    wanted = np.r_[np.zeros(99, np.int64), 1]
    truth = np.stack([1 - wanted, wanted, 1 - wanted], axis=1)
    theirs = 0.1 + 0.8 * truth if tags else np.eye(3)[wanted]
    ours = np.tile([0.2, 0.2, 0.1] if tags else [0.1, 0.2, 0.7], (100, 1))
    figures = compare("y", theirs, ours, interpret({"y": theirs}, truth if tags else None)["y"])
    assert figures.lost[0] == "class 0 is lost: it keeps 0 of 99"
    refuse_contradictions(_result(judge_parity("int8", 100, [figures], Budgets())))


def test_a_latency_is_in_its_interval_and_among_its_blocks() -> None:
    blocks = tuple(Block(k, 10.0 + k, 100, "", "", "", "", "") for k in (1, 2, 3))
    latency = Latency(12.0, 10.0, 14.0, 15.0, 16.0, 12.0, 1.0, 300)
    refuse_contradictions(_result(None, latency_ms=latency, blocks=blocks))
    for median, low, high, words in ((5.0, 10.0, 14.0, "its interval"), (5.0, 4.9, 5.1, "its blocks")):
        edited = replace(latency, median=median, low=low, high=high)
        with pytest.raises(EdgetfError, match=f"the latency of v contradicts {words}"):
            refuse_contradictions(_result(None, latency_ms=edited, blocks=blocks))
