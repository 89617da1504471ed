from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgetf.benchmarks import statistics
from edgetf.benchmarks.metrics import built_in_metrics, own_metric
from edgetf.benchmarks.parity import compare
from edgetf.benchmarks.verdict import Budgets, judge_metric, judge_parity
from edgetf.errors import EdgetfError
from edgetf.results import Verdict, read_benchmark
from tests.conftest import Run

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
RANDOM = np.random.default_rng(0)


# the interval -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", ["normal", "exponential", "mostly none"])
def test_the_paired_interval_covers_the_true_drop_in_about_95_of_100_cases(draw: str) -> None:
    """60 samples, whose differences have the mean 0.3, in 300 runs: 93 % is the least that 95 % would nearly ever give;
    skewed ones of so few samples are known to cover a little less."""
    random, held = np.random.default_rng(1), 0
    for _ in range(300):
        if draw == "normal":
            differences = random.normal(0.3, 1, 60)
        elif draw == "exponential":
            differences = random.exponential(0.3, 60)
        else:
            differences = np.where(random.uniform(size=60) < 0.06, 5.0, 0.0)
        low, high = statistics.paired_bootstrap(differences, (0.0, 5.0))
        held += low <= 0.3 <= high
    assert held >= (0.88 if draw == "exponential" else 0.92) * 300


def test_no_difference_in_a_few_samples_is_no_proof() -> None:
    low, high = statistics.paired_bootstrap(np.zeros(20), (0.0, 100.0))
    assert low < -10
    assert high > 10
    rights = np.zeros(100)  # right or wrong: a proportion
    assert statistics.paired_bootstrap(rights, (0.0, 1.0)) == pytest.approx(statistics.paired_interval(0, 0, 100))


# what labels let one say ------------------------------------------------------------------------------------------


def test_dense_outputs_are_judged_by_the_positions_that_are_right() -> None:
    labels = RANDOM.integers(0, 3, (50, 6, 6))
    sure = np.eye(3, dtype=np.float32)[labels] + RANDOM.normal(0, 0.1, (50, 6, 6, 3)).astype(np.float32)
    worse = sure.copy()
    worse[:, 0, 0] = np.eye(3)[(labels[:, 0, 0] + 1) % 3]  # one position of 36 is wrong in each sample
    (found,) = built_in_metrics({"mask": sure}, {"mask": worse}, labels)
    assert found.reference == pytest.approx(100)
    assert found.drop == pytest.approx(100 / 36)
    assert found.low <= found.drop <= found.high
    assert judge_metric("int8", found, Budgets()).verdict is Verdict.FAIL
    assert judge_metric("int8", found, Budgets(max_drop=5)).verdict is Verdict.PASS


def test_regressions_are_judged_by_their_error_beside_the_labels() -> None:
    truth = RANDOM.normal(size=(400, 2)).astype(np.float32)
    near = truth + RANDOM.normal(0, 0.2, truth.shape).astype(np.float32)
    (same,) = built_in_metrics({"y": near}, {"y": near + np.float32(1e-4)}, truth)
    assert judge_metric("int8", same, Budgets()).verdict is Verdict.PASS
    (far,) = built_in_metrics({"y": near}, {"y": near + np.float32(0.5)}, truth)
    assert far.drop == pytest.approx(100 * (np.abs(near + 0.5 - truth) - np.abs(near - truth)).mean() / truth.std())
    assert judge_metric("int8", far, Budgets()).verdict is Verdict.FAIL
    (few,) = built_in_metrics({"y": near[:5]}, {"y": near[:5]}, truth[:5])
    assert judge_metric("int8", few, Budgets()).verdict is Verdict.INCONCLUSIVE


def test_a_reference_that_knows_nothing_is_a_doubt() -> None:
    truth = RANDOM.normal(size=(100, 1)).astype(np.float32)
    (found,) = built_in_metrics({"y": truth[::-1]}, {"y": truth[::-1]}, truth)
    judged = judge_metric("int8", found, Budgets())
    assert (judged.verdict, "do not fit y" in judged.reason) == (Verdict.INCONCLUSIVE, True)


def test_labels_of_classes_are_left_to_the_accuracy() -> None:
    output = RANDOM.uniform(size=(10, 3)).astype(np.float32)
    assert built_in_metrics({"p": output}, {"p": output}, RANDOM.integers(0, 3, 10)) == []
    assert built_in_metrics({"p": output}, {"p": output}, None) == []


def test_what_labels_say_of_one_output_excuses_no_other() -> None:
    truth = RANDOM.normal(size=(400, 1)).astype(np.float32)
    other = RANDOM.normal(size=(400, 2)).astype(np.float32)
    ours, theirs = {"a": truth, "b": -other}, {"a": truth, "b": other}
    scores = built_in_metrics(theirs, ours, truth)
    assert [score.output for score in scores] == ["a"]
    figures = [compare(name, theirs[name], ours[name]) for name in ("a", "b")]
    found = judge_parity("int8", 400, figures, Budgets(), scores)
    assert {output.name: output.verdict for output in found.outputs} == {"a": Verdict.PASS, "b": Verdict.FAIL}
    assert found.verdict is Verdict.FAIL


def test_no_wrong_position_among_few_samples_is_no_proof() -> None:
    labels = RANDOM.integers(0, 3, (10, 4, 4))
    perfect = {"mask": np.eye(3, dtype=np.float32)[labels]}
    (found,) = built_in_metrics(perfect, perfect, labels)
    assert judge_metric("int8", found, Budgets()).verdict is Verdict.INCONCLUSIVE


# the user's own ---------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_metric.py").write_text(
        "import numpy as np\n"
        "def each(outputs, labels): return -np.abs(outputs['y'][:, 0] - labels)\n"
        "def whole(outputs, labels): return np.corrcoef(outputs['y'][:, 0], labels)[0, 1]\n"
        "def short(outputs, labels): return np.zeros(3)\n"
        "def broken(outputs, labels): return outputs['x']\n"
        "def nan(outputs, labels): return float('nan')\n"
        "number = 3\n"
        "def blind(outputs, labels): return np.asarray(outputs).argmax(-1) == labels\n"
        "def both(outputs, labels):\n"
        "    one, other = (outputs['y'][labels == k, 0] for k in (1, 0))\n"
        "    return one.mean() - other.mean() if len(one) else float('nan')\n"
    )
    yield tmp_path
    sys.modules.pop("own_metric", None)


def test_a_metric_may_be_a_number_for_each_sample_or_one_for_all(own: Path) -> None:
    truth = RANDOM.normal(size=80)
    near, far = truth[:, None] + 0.01 * RANDOM.normal(size=(80, 1)), truth[:, None] + RANDOM.normal(size=(80, 1))
    for name in ("own_metric:each", "own_metric:whole"):
        found = own_metric(name, {"y": near}, {"y": far}, truth)
        assert found.low <= found.drop <= found.high
        assert found.drop == pytest.approx(found.reference - found.variant)
        assert judge_metric("int8", found, Budgets()).verdict is Verdict.FAIL


def test_a_metric_that_does_not_look_at_outputs_is_a_doubt(own: Path) -> None:
    truth = RANDOM.integers(0, 3, 50)
    found = own_metric("own_metric:blind", {"y": np.eye(3)[truth]}, {"y": np.eye(3)[truth]}, truth)
    judged = judge_metric("int8", found, Budgets())
    assert (judged.verdict, "does it look at outputs, a dict" in judged.reason) == (Verdict.INCONCLUSIVE, True)


def test_a_number_for_all_of_few_samples_that_does_not_differ_is_no_proof(own: Path) -> None:
    truth = RANDOM.integers(0, 2, 10)
    y = {"y": truth[:, None].astype(np.float32)}
    found = own_metric("own_metric:whole", y, y, truth)
    assert found.low < found.drop < found.high
    assert judge_metric("int8", found, Budgets()).verdict is Verdict.INCONCLUSIVE
    assert judge_metric("float32", found, Budgets()).verdict is Verdict.PASS  # that is judged by its numbers


def test_drawings_of_which_a_metric_cannot_be_computed_are_left_out_or_told(own: Path) -> None:
    rare = np.zeros(200)
    rare[:6] = 1  # none of them in some 2 of 1,000 drawings
    y = {"y": rare[:, None] + RANDOM.normal(0, 0.1, (200, 1))}
    assert own_metric("own_metric:both", y, y, rare).doubts == ()
    rare[1:] = 0
    assert "cannot be computed of" in own_metric("own_metric:both", y, y, rare).doubts[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_metric", "names no function"),
        ("own_metric:nothing", "cannot load own_metric:nothing"),
        ("no_such_module:f", "cannot load no_such_module:f"),
        ("own_metric:number", "is no function"),
        ("own_metric:short", r"returned shape \[3\] for 80 samples"),
        ("own_metric:broken", "failed: KeyError: 'x'"),
        ("own_metric:nan", "returned NaN"),
    ],
)
def test_a_metric_that_cannot_be_used_is_told(own: Path, name: str, words: str) -> None:
    with pytest.raises(EdgetfError, match=words):
        own_metric(name, {"y": np.zeros((80, 1))}, {"y": np.zeros((80, 1))}, np.zeros(80))


def test_a_metric_without_labels_is_refused_before_anything_runs(
    converted: Path, own: Path, edgetf: Run, tmp_path: Path
) -> None:
    ended = edgetf("benchmark", converted, "--metric", "own_metric:each", "-o", "bench")
    assert (ended.returncode, "needs a reference" in ended.stderr) == (1, True)
    assert not (tmp_path / "bench").exists()


# the worked examples ----------------------------------------------------------------------------------------------


def _example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_of_detection_counts_as_it_is_known() -> None:
    detection = _example("detection")
    assert detection.iou(np.array([0, 0, 1, 1]), np.array([0, 0.5, 1, 1.5])) == pytest.approx(1 / 3)
    _, labels = detection.make_samples(20, 0)
    perfect = {"grid": detection.targets(labels)}
    assert detection.mean_average_precision(perfect, labels) == pytest.approx(1)
    assert detection.box_iou(perfect, labels) == pytest.approx(np.ones(20))
    blind = {"grid": np.zeros_like(perfect["grid"])}
    assert detection.mean_average_precision(blind, labels) == 0
    # two boxes, of which the first detection finds one, the second none: precision 1 up to the recall 0.5
    found = [(np.array([0.9, 0.8]), np.array([[0.7, 0.0], [0.0, 0.1]]))]
    assert detection._average_precision(found, 2, 0.5) == pytest.approx(0.5)


def test_the_example_of_sequences_counts_as_it_is_known() -> None:
    sequence = _example("sequence")
    assert sequence.edit_distance("kitten", "sitting") == 3
    assert sequence.edit_distance("", "abc") == 3
    _, columns, labels = sequence.make_samples(20, 0)
    perfect = {"character": np.eye(sequence.DIGITS + 1)[columns]}
    assert sequence.right_characters(perfect, labels) == pytest.approx(np.ones(20))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sizes"), [("detection", "2, 300, 30"), ("sequence", "1, 300, 60")])
def test_the_commands_of_a_worked_example_work_as_written(name: str, sizes: str, tmp_path: Path) -> None:
    """With a short training, and few samples."""
    text = (EXAMPLES / f"{name}.py").read_text()
    (tmp_path / f"{name}.py").write_text(text)
    commands = re.findall(r"^    (edgetf .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    subprocess.run([sys.executable, "-c", f"import {name}; {name}.main({sizes})"], cwd=tmp_path, check=True)
    for command in commands:
        ended = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    for result in read_benchmark(tmp_path / "bench").results:
        assert result.parity is not None
        assert len(result.parity.metrics) == len(re.findall("--metric", commands[-1]))
        assert all(metric.low <= metric.drop <= metric.high for metric in result.parity.metrics)
    assert re.search(rf"{name}:\w+: [\d.]+, the reference [\d.]+, drop", ended.stdout)
