"""Attacks on the verdict by outputs and labels: each row is a way to an undeserved PASS, and what stops it.

The table goes through the whole comparison with arrays on disk, without running anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.judging.consistent import refuse_contradictions
from edgetf.benchmarks.judging.distinct import Distinct, find_copies, find_distinct
from edgetf.benchmarks.judging.ground import Ground, judge_course, with_metrics
from edgetf.benchmarks.judging.labels import interpret
from edgetf.benchmarks.judging.parity import compare, costs
from edgetf.benchmarks.rows import Outputs
from edgetf.benchmarks.timing.rounds import Course, Turn
from edgetf.benchmarks.timing.targets import Target
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import MEASUREMENT_SCHEMA, Measurement, Output, Pass
from edgetf.errors import EdgetfError
from edgetf.files import read_plain, to_plain
from edgetf.results import OutputFigures, Parity, Result, Status, Verdict, read_reference
from edgetf.samples import make_samples
from tests.attacks.kit import (
    BRIEF,
    FEATURES,
    NONE,
    WEIGHTS,
    Case,
    answers,
    good,
    inputs,
    write_model,
    write_reference,
    write_samples,
)
from tests.conftest import BLOCKS, ignore

Array = NDArray[Any]
PASS, FAIL, OPEN = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def _rare(minority: int, n: int = 1000, labels: bool = True, classes: int = 2) -> Case:
    """The last class is decided for a few samples only, and the variant has forgotten it."""
    x = inputs(n)
    logits = x @ WEIGHTS[:, :classes]
    ahead = np.sort(logits[:, -1] - logits[:, :-1].max(axis=1))
    bias = np.zeros(classes, np.float32)
    bias[-1] = -(ahead[-minority] + ahead[-minority - 1]) / 2
    theirs = answers(x, WEIGHTS[:, :classes], bias)
    ours = answers(x, WEIGHTS[:, :classes], bias - np.eye(classes, dtype=np.float32)[-1] * 50)
    return Case(x, theirs, ours, theirs.argmax(axis=1) if labels else None)


def _changed(ours: Callable[[Array], Array], labels: bool = True, n: int = 1000) -> Case:
    case = good(n, labels=labels)
    return replace(case, ours=np.asarray(ours(case.theirs.copy()), case.theirs.dtype))


def _relabelled(labels: Callable[[Array], Array]) -> Case:
    case = good()
    assert case.labels is not None
    return replace(case, ours=case.theirs[:, [1, 2, 3, 0]], labels=labels(case.labels))


def _with(values: Array, where: Any, what: float) -> Array:
    values[where] = what
    return values


def _map(copies: int = 1, forget: int | None = None, labels: bool = False) -> Case:
    """Maps of classes of which the last has one position of a hundred."""
    random = np.random.default_rng(3)
    truth = np.tile(random.choice(3, (60 // copies, 8, 8), p=[0.6, 0.39, 0.01]), (copies, 1, 1)).astype(np.int32)
    ours = truth.copy()
    if forget is not None:
        ours[ours == forget] = 0
    return Case(inputs(60, copies), truth, ours, truth if labels else None)


def _tags(forget: int | None) -> Case:
    """Twenty answers yes or no a sample, of which the last is yes in one sample of fifty."""
    random = np.random.default_rng(4)
    truth = (random.uniform(size=(1000, 20)) < np.array([0.3] * 19 + [0.02])).astype(np.int64)
    theirs = (0.1 + 0.8 * truth).astype(np.float32)
    ours = theirs + random.uniform(0, 0.01, theirs.shape).astype(np.float32)
    if forget is not None:
        ours[:, forget] *= np.float32(0.3)
    return Case(inputs(1000), theirs, ours, truth)


def _numbers(copies: int, broken: bool = False, n: int = 200) -> Case:
    x = inputs(n, copies)
    theirs = np.asarray(x @ WEIGHTS, np.float32)
    return Case(x, theirs, np.roll(theirs, 1, axis=0) if broken else theirs * np.float32(1.001))


def _in_pairs(case: Case) -> Case:
    """The same as an output without an axis for samples, of a model that takes two at once."""
    theirs, ours = ((side[::2] + side[1::2]) / 2 for side in (case.theirs, case.ours))
    return Case(case.x, theirs, ours)


def _column(case: Case) -> Case:
    """The same as one logit, which means yes above 0."""
    theirs, ours = (np.log(p[:, 1:] / p[:, :1]) for p in (case.theirs.astype(np.float64), case.ours.astype(np.float64)))
    return replace(case, theirs=theirs.astype(np.float32), ours=ours.astype(np.float32))


ATTACKS: dict[str, tuple[Callable[[], Case], Verdict, str]] = {
    # the first that went undetected
    "twelve samples a hundred times": (lambda: good(1200, 100), OPEN, "12 distinct samples of 1,200"),
    "the same without labels": (lambda: good(1200, 100, labels=False), OPEN, "12 distinct samples of 1,200"),
    "always the majority": (lambda: _rare(5), FAIL, "it decides class 0 for every sample"),
    "the same without labels ": (lambda: _rare(5, labels=False), FAIL, "it decides class 0 for every sample"),
    # a correct variant still passes
    "a good variant": (good, PASS, ""),
    "a good variant without labels": (lambda: good(labels=False), PASS, ""),
    "saturated scores that decide alike": (lambda: _changed(lambda p: np.eye(4)[p.argmax(1)]), PASS, ""),
    "a few copies among many": (
        lambda: good(2000, copies=2), PASS, "1,000 distinct samples of 2,000"),
    "a rare class that is kept": (lambda: replace(_rare(5), ours=_rare(5).theirs), PASS, ""),
    # copies
    "one sample a thousand times": (lambda: good(1000, 1000), OPEN, "1 distinct sample of 1,000"),
    "numbers of five samples": (lambda: _numbers(40), OPEN, "5 sample(s) are too few"),
    "maps of three samples": (lambda: _map(20), OPEN, "3 distinct samples of 60"),
    "an output for two samples together": (lambda: _in_pairs(good(1200, labels=False)), PASS, ""),
    "the same of twelve samples": (
        lambda: _in_pairs(good(1200, 100, labels=False)), OPEN, "6 distinct samples of 600"),
    "numbers for two samples together": (lambda: _in_pairs(_numbers(100, n=1200)), OPEN, "6 distinct samples of 600"),
    # classes
    "of two in a thousand": (lambda: _rare(2), FAIL, "it decides class 0 for every sample"),
    "of one in a thousand": (lambda: _rare(1, labels=False), OPEN, "but the reference does not for one"),
    "as one logit": (lambda: _column(_rare(5)), FAIL, "it decides class 0 for every sample"),
    "as whole numbers": (
        lambda: replace(_rare(5, labels=False), theirs=_rare(5).theirs.argmax(1), ours=_rare(5).ours.argmax(1)),
        FAIL, "the same for every sample"),
    "a rare class of four is lost": (lambda: _rare(9, 2000, classes=4), FAIL, "class 3 is lost: it keeps 0 of 9"),
    "the same without labels  ": (
        lambda: _rare(9, 2000, labels=False, classes=4), FAIL, "class 3 is lost: it keeps 0 of 9"),
    "a class of four samples": (lambda: _rare(4, 2000, classes=4), OPEN, "class 3 is perhaps lost: it keeps 0 of 4"),
    "a class of maps": (lambda: _map(forget=2), FAIL, "class 2 is lost"),
    "a class of maps with labels": (lambda: _map(forget=2, labels=True), FAIL, "class 2 is lost"),
    "tags that are all kept": (lambda: _tags(None), PASS, ""),
    "a rare tag of twenty": (lambda: _tags(19), FAIL, "class 19 is lost: it keeps 0 of"),
    "all-equal scores": (lambda: _changed(lambda p: np.full_like(p, 0.25)), FAIL, "the same for every sample"),
    "nearly equal scores": (
        lambda: _changed(lambda p: 0.25 + 1e-3 * (p - p.mean(1, keepdims=True)) * [1, 0, 0, 0] + [1e-1, 0, 0, 0]),
        FAIL, "it decides class 0 for every sample"),
    # values
    "one NaN": (lambda: _changed(lambda p: _with(p, (3, 1), np.nan)), FAIL, "NaN or infinite"),
    "infinite scores": (lambda: _changed(lambda p: _with(p, (slice(None), 0), np.inf)), FAIL, "NaN or infinite"),
    "a constant output": (lambda: _changed(lambda p: np.tile(p[:1], (len(p), 1))), FAIL, "the same for every sample"),
    # order
    "classes permuted": (lambda: _changed(lambda p: p[:, [1, 0, 2, 3]]), FAIL, "class 0 is lost"),
    "classes permuted without labels": (lambda: _changed(lambda p: p[:, [1, 0, 2, 3]], False), FAIL, ""),
    "answers to the sample before": (lambda: _changed(lambda p: np.roll(p, 1, axis=0)), FAIL, ""),
    "answers in reverse": (lambda: _changed(lambda p: p[::-1]), FAIL, ""),
    "numbers of other samples": (lambda: _numbers(1, broken=True), FAIL, "SQNR"),
    # labels
    "labels shifted": (lambda: _relabelled(lambda y: np.roll(y, 1)), FAIL, "the labels do not fit"),
    "labels in another order": (lambda: _relabelled(lambda y: y[::-1].copy()), FAIL, "the labels do not fit"),
    "labels with classes exchanged": (lambda: _relabelled(lambda y: (y + 1) % 4), FAIL, "the labels do not fit"),
    "one label for all": (lambda: _relabelled(lambda y: np.zeros_like(y)), FAIL, "agrees on"),
    # numbers of samples
    "five samples": (lambda: good(5), OPEN, ""),
    "one sample": (lambda: good(1), OPEN, ""),
    "nine numbers": (lambda: _numbers(1, n=9), OPEN, "9 sample(s) are too few"),
}  # fmt: skip


def _judge(case: Case, folder: Path, scheme: str | None = None) -> Parity:
    samples = make_samples("attack", {"x": case.x}, case.labels)
    write_samples(folder / "samples.npz", case.x, case.labels)
    reference = read_reference(write_reference(folder / "ref", folder / "samples.npz", case.theirs))
    (folder / "v").mkdir()
    np.save(folder / "v" / "output-0.npy", case.ours)
    passed = Pass(len(case.x), 1, 1.0, [Output("p", "output-0.npy")])
    measurement = Measurement(MEASUREMENT_SCHEMA, "", "", "", "", {}, {}, {}, threads=1, samples=passed)
    course = Course(Target(folder / "v.tflite", "v", 1, "0", scheme), passes=[Turn(0, "v", measurement, None)])
    read = interpret({"p": case.theirs}, case.labels)
    distinct = find_distinct(samples.inputs)
    ground = Ground(samples, False, reference, Outputs({"p": case.theirs}), read, distinct=distinct)
    found = judge_course(course, folder, ground)
    refuse_contradictions(Result("v", scheme, "", Status.OK, "", 1, "0", 1, "", parity=found))
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_outputs_and_labels_cannot_be_arranged_so_that_anything_passes(name: str, tmp_path: Path) -> None:
    make, verdict, words = ATTACKS[name]
    found = _judge(make(), tmp_path)
    assert (found.verdict, words in found.reason) == (verdict, True), found.reason


def test_float32_is_not_proven_by_copies_either(tmp_path: Path) -> None:
    case = good(1200, 200)
    found = _judge(replace(case, ours=case.theirs), tmp_path, "float32")
    assert found.verdict is OPEN
    assert "6 sample(s) are too few" in found.reason


def test_each_class_has_its_own_figures_with_intervals(tmp_path: Path) -> None:
    [output] = _judge(_rare(9, 2000, classes=4), tmp_path).outputs
    worst = output.classes[0]
    assert worst.accuracy is not None
    assert (worst.label, worst.n, worst.agreement.share, worst.accuracy.drop_points) == (3, 9, 0.0, 100.0)
    assert worst.agreement.high < 0.4
    assert 30 < worst.accuracy.low < worst.accuracy.drop_points
    assert len(output.classes) == 4
    assert sum(one.n for one in output.classes) == 2000


@pytest.mark.parametrize(
    ("x", "count"),
    [
        (np.array(["a", "b", "a"]), 2),
        (np.array([True, False, True]), 2),
        (np.array([1, 0.0, -0.0, np.nan, np.nan], np.float16), 3),
        (np.repeat(np.random.default_rng(0).random((6, 20)), 2, axis=0).astype(">f4"), 6),
        (np.full((4, 9), np.nan), 1),
        (np.repeat(np.arange(12.0)[:, np.newaxis] * 1e307, 9, axis=1), None),
        (np.zeros((3, 0)), 1),
    ],
)
def test_copies_are_found_in_samples_of_every_kind(x: Array, count: int | None) -> None:
    found = find_distinct({"x": x})
    assert (found.count if found else None) == count


@pytest.mark.parametrize(
    ("group", "rows", "expected"),
    [
        ([0, 1, 0, 1, 2, 3], 6, [0, 1, 0, 1, 2, 3]),
        ([0, 1, 0, 1, 2, 3], 3, [0, 0, 1]),
        ([0, 1, 1, 0], 2, [0, 1]),  # another order is another inference
        ([0, 1, 2, 0, 1], 2, [0, 1]),  # the last has fewer
        ([0, 0, 0], 1, [0]),
    ],
)
def test_inferences_on_the_same_samples_are_copies(group: list[int], rows: int, expected: list[int]) -> None:
    assert Distinct(np.array(group)).of_rows(rows).group.tolist() == expected


def test_copies_are_not_evidence_in_a_sequential_test_either() -> None:
    case = good(1200, 100)
    distinct, read = find_distinct({"x": case.x}), interpret({"p": case.theirs}, case.labels)["p"]
    assert distinct is not None
    found = costs(case.theirs, case.ours[:600], read, distinct.upto(600))
    assert found is not None
    assert len(found.values) == 12


def test_similar_samples_are_not_copies() -> None:
    """Samples with one or two properties that vary, tables of different units, and outliers."""
    random = np.random.default_rng(2)
    phase, size = random.uniform(0, 6, (2, 1000, 1))
    wave = np.sin(phase + np.arange(32) / 5)
    table = random.normal(size=(1000, 10)) * ([1e5] + [1.0] * 9)
    for x in (wave, wave * (1 + size), table, random.standard_t(1, (1000, 10)), random.normal(size=(1000, 2))):
        assert find_distinct({"x": x.astype(np.float32)}) is None
        assert find_copies({"x": x.astype(np.float32)})[1] > 900
    tokens = random.integers(0, 30_000, (300, 20))
    other = tokens.copy()
    other[:, 3] += 1
    assert find_distinct({"x": np.concatenate([tokens, other])}) is None
    assert find_distinct({"x": np.tile(tokens, (2, 1)), "y": np.arange(600.0)}) is None  # alike in one input only


@pytest.mark.parametrize("noise", [0.0, 1e-4, 3e-3])
def test_copies_with_noise_are_recognized_but_counted(noise: float) -> None:
    x = inputs(1200, 100, noise)
    assert find_copies({"x": x})[1] == 12
    found = find_distinct({"x": x})
    assert (found.count if found else None) == (None if noise else 12)


def test_a_benchmark_warns_of_copies_with_noise(tmp_path: Path) -> None:
    case = good(400, 10, 1e-4)
    write_samples(tmp_path / "samples.npz", case.x, case.labels)
    write_reference(tmp_path / "ref", tmp_path / "samples.npz", case.theirs)
    write_model(tmp_path / "v.tflite", WEIGHTS * np.float32(1.0001), NONE)
    options = BenchmarkOptions(reference=tmp_path / "ref", timing=BRIEF, blocks=BLOCKS, patience=1, energy_s=0.0)
    found = benchmark([tmp_path / "v.tflite"], LocalDevice(), tmp_path / "bench", options, ignore)
    [reported] = [warning for warning in found.warnings if "nearly the same" in warning]
    assert reported.startswith("360 of 400 distinct samples are nearly the same as others: they count")


def _quiet(numbers: int = FEATURES) -> tuple[Array, Array]:
    """Clips of which a tenth, class 0, are silence, each with a different hiss."""
    random = np.random.default_rng(1)
    labels = np.where(np.arange(1000) % 10 == 0, 0, random.integers(1, 12, 1000))
    loud = np.where(labels == 0, 10 ** random.uniform(-4, -3, 1000), 10 ** random.uniform(-2, -0.5, 1000))
    return (random.normal(size=(1000, numbers)) * loud[:, np.newaxis]).astype(np.float32), labels


def test_each_quiet_sample_counts_as_separate_evidence(tmp_path: Path) -> None:
    x, labels = _quiet()
    theirs, ours = (
        np.where(np.arange(12) == chosen[:, np.newaxis], 0.78, 0.02).astype(np.float32)
        for chosen in (labels, np.where(labels == 0, 5, labels))
    )
    found = _judge(Case(x, theirs, ours, labels), tmp_path)
    assert found.verdict is FAIL
    assert found.outputs[0].lost == ("class 0 is lost: it keeps 0 of 100",)
    assert found.outputs[0].accuracy is not None
    assert found.outputs[0].accuracy.drop_points == pytest.approx(10)
    random = np.random.default_rng(2)
    quiet = np.arange(1000)[:, np.newaxis] < 400
    frames = np.where(quiet, random.integers(0, 4, (1000, 99)), random.integers(0, 256, (1000, 99))).astype(np.uint8)
    motion = random.normal(size=(1000, 32, 3)) * np.where(quiet, 0.02, 0.6)[..., np.newaxis] + [0, 0, 1.0]
    for one in (x, _quiet(200)[0], frames, motion):
        assert find_distinct({"x": one}) is None
        assert find_copies({"x": one})[1] == 1000


def test_metrics_with_the_same_name_are_refused_before_anything_runs(tmp_path: Path) -> None:
    case = good(100)
    assert case.labels is not None
    write_samples(tmp_path / "samples.npz", case.x, case.labels)
    reference = read_reference(write_reference(tmp_path / "ref", tmp_path / "samples.npz", case.theirs))
    ground = Ground(make_samples("s", {"x": case.x}, case.labels), False, reference, Outputs({"p": case.theirs}))
    hide: Any = [lambda o, y: o["p"].argmax(1) == y, lambda o, y: o["p"][:, 0]]
    with pytest.raises(EdgetfError, match=r"two metrics have the name .*:.*<lambda>: one would hide") as caught:
        with_metrics(ground, hide, False)
    assert "functions with different names" in caught.value.hint


@pytest.mark.parametrize("low", [-1, -(1 << 62), 1 << 60])
def test_classes_may_be_any_whole_numbers(low: int) -> None:
    classes = (low + np.arange(200) % 3).astype(np.int64)[:, np.newaxis]
    figures = compare("p", classes, classes.copy(), interpret({"p": classes}, None)["p"])
    assert sorted(one.label for one in figures.classes) == [low, low + 1, low + 2]
    assert read_plain(to_plain(figures), OutputFigures) == figures
