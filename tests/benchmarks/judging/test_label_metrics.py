from __future__ import annotations

import functools
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgetf.benchmarks.judging import statistics
from edgetf.benchmarks.judging.label_metrics import Outputs, built_in_metrics
from edgetf.benchmarks.judging.labels import interpret
from edgetf.benchmarks.judging.own_metric import load_metric, metric_name, own_metric, with_chance
from edgetf.benchmarks.judging.parity import compare
from edgetf.benchmarks.judging.toothless import toothless
from edgetf.benchmarks.judging.verdict import Budgets, judge_metric, judge_parity
from edgetf.errors import EdgetfError
from edgetf.files import to_text
from edgetf.limits import MOST
from edgetf.results import MetricFigures, MetricState, Verdict, read_benchmark
from edgetf.samples import Array
from tests.conftest import Run

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
RANDOM = np.random.default_rng(0)


# the interval -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", ["normal", "exponential", "mostly none"])
def test_the_paired_interval_covers_the_true_drop_in_about_95_of_100_cases(draw: str) -> None:
    """60 samples, whose differences have the mean 0.3, in 300 runs: a coverage of 95 % is hardly ever below 93 % here;
    skewed differences of so few samples are known to cover a little less."""
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


def test_no_difference_in_a_few_samples_is_not_a_proof() -> None:
    low, high = statistics.paired_bootstrap(np.zeros(20), (0.0, 100.0))
    assert low < -10
    assert high > 10
    rights = np.zeros(100)  # right or wrong: a proportion
    assert statistics.paired_bootstrap(rights, (0.0, 1.0)) == pytest.approx(statistics.paired_interval(0, 0, 100))


def test_few_small_changes_widen_an_interval_only_slightly() -> None:
    """One position of 40 in 2 of 300 samples: others may be lost as well, but not 300 complete samples."""
    differences = np.zeros(300)
    differences[:2] = 2.5
    low, high = statistics.paired_bootstrap(differences, (0.0, 100.0), step=2.5)
    assert -0.15 < low < 2 * 2.5 / 300 < high < 0.15
    none_low, none_high = statistics.paired_bootstrap(np.zeros(300), (0.0, 100.0), step=2.5)
    assert -0.07 < none_low < 0 < none_high < 0.07
    assert statistics.paired_bootstrap(np.zeros(300), (0.0, 100.0), step=100) == pytest.approx(
        tuple(100 * end for end in statistics.paired_interval(0, 0, 300))
    )  # a single position is a proportion


@pytest.mark.parametrize("rate", [0.002, 0.01, 0.03])
@pytest.mark.parametrize("n", [100, 300, 1000])
def test_the_interval_of_few_changes_of_any_size_covers_the_true_drop(rate: float, n: int) -> None:
    """Samples that change lose 1 to 12 of 40 positions, mostly few; 400 runs."""
    random, held = np.random.default_rng(2), 0
    sizes = np.minimum(random.geometric(0.4, 100_000), 12) * 2.5
    true = rate * sizes.mean()
    for _ in range(400):
        differences = np.where(random.uniform(size=n) < rate, random.choice(sizes, n), 0.0)
        low, high = statistics.paired_bootstrap(differences, (0.0, 100.0), step=2.5)
        held += low <= true <= high
    assert held >= 0.92 * 400


# what labels show -------------------------------------------------------------------------------------------------


def _measure(reference: Outputs, variant: Outputs, labels: Array) -> list[MetricFigures]:
    return built_in_metrics(reference, variant, interpret(reference, labels))


def test_dense_outputs_are_judged_by_the_positions_that_are_right() -> None:
    labels = RANDOM.integers(0, 3, (50, 6, 6))
    sure = np.eye(3, dtype=np.float32)[labels] + RANDOM.normal(0, 0.1, (50, 6, 6, 3)).astype(np.float32)
    worse = sure.copy()
    worse[:, 0, 0] = np.eye(3)[(labels[:, 0, 0] + 1) % 3]  # one position of 36 is wrong in each sample
    (found,) = _measure({"mask": sure}, {"mask": worse}, labels)
    assert found.reference == pytest.approx(100)
    assert found.drop == pytest.approx(100 / 36)
    assert found.low <= found.drop <= found.high
    assert judge_metric("int8", found, Budgets()).verdict is Verdict.FAIL
    assert judge_metric("int8", found, Budgets(max_drop=5)).verdict is Verdict.PASS


def test_regressions_are_judged_by_their_distance_from_the_labels() -> None:
    truth = RANDOM.normal(size=(400, 2)).astype(np.float32)
    near = truth + RANDOM.normal(0, 0.2, truth.shape).astype(np.float32)
    (same,) = _measure({"y": near}, {"y": near + np.float32(1e-4)}, truth)
    assert judge_metric("int8", same, Budgets()).verdict is Verdict.PASS
    (far,) = _measure({"y": near}, {"y": near + np.float32(0.5)}, truth)
    assert far.drop == pytest.approx(
        100 * ((np.abs(near + 0.5 - truth) - np.abs(near - truth)) / truth.std(axis=0)).mean()
    )
    assert judge_metric("int8", far, Budgets()).verdict is Verdict.FAIL
    (few,) = _measure({"y": near[:5]}, {"y": near[:5]}, truth[:5])
    assert judge_metric("int8", few, Budgets()).verdict is Verdict.INCONCLUSIVE


def test_a_budget_beyond_the_score_of_a_constant_answer_gives_a_warning() -> None:
    truth = RANDOM.normal(size=(400, 2)).astype(np.float32)
    weak = (0.02 * truth).astype(np.float32)  # hardly better than the median
    figures = [compare("y", weak, weak)]
    found = _measure({"y": weak}, {"y": weak}, truth)
    assert found[0].chance == pytest.approx(100 * -np.abs(truth - np.median(truth, axis=0)).mean(), rel=0.05)
    [warning] = toothless(judge_parity("int8", 400, figures, Budgets(max_drop=5), found), Budgets(max_drop=5))
    assert "max_drop 5 passes a variant with meaningless outputs" in warning
    assert not toothless(judge_parity("int8", 400, figures, Budgets(), found), Budgets(max_drop=0.5))


def test_class_maps_are_judged_by_the_positions_that_are_right() -> None:
    labels = RANDOM.integers(0, 3, (60, 8, 8))
    theirs, ours = labels.copy(), labels.copy()
    theirs[:, 0, 0], ours[:, :2, 0] = 3, 3
    (found,) = _measure({"map": theirs}, {"map": ours}, labels)
    assert found.reference == pytest.approx(100 * 63 / 64)
    assert found.variant == pytest.approx(100 * 62 / 64)


def test_each_column_of_a_regression_counts_in_its_own_unit() -> None:
    truth = RANDOM.normal(size=(400, 2)) * [1e5, 1e-3]  # a pressure and a strain
    near = truth * (1 + 1e-3)
    broken = near * [1, 0]
    (found,) = _measure({"y": near}, {"y": broken}, truth)
    assert judge_metric("int8", found, Budgets()).verdict is Verdict.FAIL
    assert found.drop > 20


def test_labels_of_classes_are_left_to_the_accuracy() -> None:
    output = RANDOM.uniform(size=(10, 3)).astype(np.float32)
    assert _measure({"p": output}, {"p": output}, RANDOM.integers(0, 3, 10)) == []
    assert built_in_metrics({"p": output}, {"p": output}, interpret({"p": output}, None)) == []


def test_labels_of_one_output_do_not_excuse_another_output() -> None:
    truth = RANDOM.normal(size=(400, 1)).astype(np.float32)
    other = RANDOM.normal(size=(400, 2)).astype(np.float32)
    ours, theirs = {"a": truth, "b": -other}, {"a": truth, "b": other}
    scores = _measure(theirs, ours, truth)
    assert [score.output for score in scores] == ["a"]
    figures = [compare(name, theirs[name], ours[name]) for name in ("a", "b")]
    found = judge_parity("int8", 400, figures, Budgets(), scores)
    assert {output.name: output.verdict for output in found.outputs} == {"a": Verdict.PASS, "b": Verdict.FAIL}
    assert found.verdict is Verdict.FAIL


def test_no_wrong_position_among_few_samples_is_not_a_proof() -> None:
    labels = RANDOM.integers(0, 3, (10, 4, 4))
    perfect = {"mask": np.eye(3, dtype=np.float32)[labels]}
    (found,) = _measure(perfect, perfect, labels)
    assert judge_metric("int8", found, Budgets()).verdict is Verdict.INCONCLUSIVE


# the user's own ---------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_metric.py").write_text(
        "import numpy as np\n"
        "def each(outputs, labels): return -np.abs(outputs['y'][:, 0] - labels)\n"
        "def whole(outputs, labels): return np.corrcoef(outputs['y'][:, 0], labels)[0, 1]\n"
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
        found = own_metric(load_metric(name), {"y": near}, {"y": far}, truth)
        assert found.low <= found.drop <= found.high
        assert found.drop == pytest.approx(found.reference - found.variant)
        assert judge_metric("int8", found, Budgets()).verdict is Verdict.FAIL


def test_a_metric_that_ignores_the_outputs_is_inconclusive(own: Path) -> None:
    truth = RANDOM.integers(0, 3, 50)
    found = own_metric(load_metric("own_metric:blind"), {"y": np.eye(3)[truth]}, {"y": np.eye(3)[truth]}, truth)
    judged = judge_metric("int8", found, Budgets())
    assert (judged.verdict, "does it use outputs, a dict" in judged.reason) == (Verdict.INCONCLUSIVE, True)


def test_an_unchanged_score_of_few_samples_is_not_a_proof(own: Path) -> None:
    truth = RANDOM.integers(0, 2, 10)
    y = {"y": truth[:, None].astype(np.float32)}
    found = own_metric(load_metric("own_metric:whole"), y, y, truth)
    assert found.low < found.drop < found.high
    assert judge_metric("int8", found, Budgets()).verdict is Verdict.INCONCLUSIVE
    assert judge_metric("float32", found, Budgets()).verdict is Verdict.PASS  # that is judged by its numbers


def test_resamples_whose_metric_cannot_be_computed_are_left_out_or_reported(own: Path) -> None:
    rare = np.zeros(200)
    rare[:6] = 1  # none of them in some 2 of 1,000 drawings
    y = {"y": rare[:, None] + RANDOM.normal(0, 0.1, (200, 1))}
    assert own_metric(load_metric("own_metric:both"), y, y, rare).doubts == ()
    rare[1:] = 0
    assert "cannot be computed for" in own_metric(load_metric("own_metric:both"), y, y, rare).doubts[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own_metric", "does not name a function"),
        ("own_metric:nothing", "cannot load own_metric:nothing"),
        ("no_such_module:f", "cannot load no_such_module:f"),
        ("own_metric:number", "is not a function"),
    ],
)
def test_a_metric_that_cannot_be_loaded_is_refused(own: Path, name: str, words: str) -> None:
    with pytest.raises(EdgetfError, match=words):
        load_metric(name)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("np.zeros(3)", r"shape [3] for 80 samples"),
        ("np.zeros((80, 2))", r"shape [80, 2] for 80 samples"),
        ("outputs['x']", "KeyError: 'x'"),
        ("1 / 0", "ZeroDivisionError"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("(_ for _ in ()).throw(type('Mute', (Exception,), {'__str__': lambda self: 1 / 0}))", "Mute"),
        ("float('nan')", "NaN"),
        ("np.inf", "infinity"),
        ("np.full(80, 1.7e308)", "above 1e+99"),
        ("10**400", "of object"),
        ("1j * outputs['y'][:, 0]", "complex128"),
        ("True", "it returned bool"),
        ("None", "it returned NoneType"),
        ("'0.5'", "it returned str"),
        ("[None] * 80", "of object"),
    ],
)
def test_a_metric_that_does_not_return_numbers_fails_and_is_inconclusive(own: Path, body: str, words: str) -> None:
    (own / "own_metric.py").write_text(f"import sys\nimport numpy as np\ndef it(outputs, labels): return {body}\n")
    y, truth = {"y": RANDOM.normal(size=(80, 1))}, np.arange(80)
    found = own_metric(with_chance(load_metric("own_metric:it"), y, truth), y, y, truth)
    assert found.state is MetricState.FAILED
    for scheme in ("int8", "float32"):
        judged = judge_metric(scheme, found, Budgets(max_metric_drop=1000))
        assert judged.verdict is Verdict.INCONCLUSIVE
        assert f"the metric own_metric:it failed: {words}" in judged.reason or words in judged.reason
    json.loads(to_text(found))


def test_a_metric_that_changes_its_inputs_or_results_is_harmless(own: Path) -> None:
    (own / "own_metric.py").write_text(
        "import numpy as np\n"
        "def greedy(outputs, labels):\n"
        "    labels[:] = outputs['y'][:, 0] = 0\n"
        "    return np.ones(len(labels))\n"
        "def moody(outputs, labels): return np.random.uniform()\n"
        "calls = []\n"
        "def late(outputs, labels):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 30: raise OverflowError('late')\n"
        "    return -np.abs(outputs['y'][:, 0] - labels).mean()\n"
    )
    truth = np.arange(80.0)
    y = {"y": truth[:, None].copy()}
    for name, words in (("greedy", "the same for outputs of"), ("moody", "differs between"), ("late", "resamples")):
        found = own_metric(load_metric(f"own_metric:{name}"), y, y, truth)
        assert words in judge_metric("int8", found, Budgets()).reason
    assert (y["y"][:, 0] == truth).all()
    assert truth[1] == 1


def test_less_is_better_for_an_error_and_the_other_direction_is_refused(own: Path) -> None:
    (own / "own_metric.py").write_text(
        "import numpy as np\n"
        "def error(outputs, labels): return (outputs['y'][:, 0] - labels) ** 2\n"
        "def loss(outputs, labels): return float(error(outputs, labels).mean())\n"
        "def right(outputs, labels): return np.abs(outputs['y'][:, 0] - labels) < 0.5\n"
    )
    truth = RANDOM.normal(size=200)
    y, broken = {"y": truth[:, None] + 0.1}, {"y": RANDOM.normal(size=(200, 1))}
    for name in ("own_metric:error", "own_metric:loss"):
        with pytest.raises(EdgetfError, match="less is better") as reported:
            with_chance(load_metric(name), y, truth)
        assert "--metric-less-is-better" in reported.value.hint
        asked = with_chance(load_metric(name, less_is_better=True), y, truth)
        lost = own_metric(asked, y, broken, truth)
        assert lost.drop == pytest.approx(lost.variant - lost.reference)
        assert lost.low <= lost.drop <= lost.high
        assert judge_metric("int8", lost, Budgets(max_metric_drop=0.1)).verdict is Verdict.FAIL
        better = own_metric(asked, {"y": truth[:, None] + 0.2}, y, truth)
        assert judge_metric("int8", better, Budgets(max_metric_drop=0.1)).verdict is Verdict.PASS
    with pytest.raises(EdgetfError, match="more is better"):
        with_chance(load_metric("own_metric:right", less_is_better=True), y, truth)
    assert with_chance(load_metric("own_metric:right"), y, truth).chance == pytest.approx(0.25, abs=0.15)


def test_the_direction_of_a_heavy_tailed_error_is_known_on_ten_samples(own: Path) -> None:
    """Few samples with large errors: the standard deviation of shuffled scores is as large as their mean."""
    (own / "own_metric.py").write_text("def error(outputs, labels): return (outputs['y'][:, 0] - labels) ** 2\n")
    random, passed = np.random.default_rng(0), 0
    for _ in range(50):
        truth = random.standard_t(1.5, size=10)
        y, noise = {"y": truth[:, None] + 0.01}, {"y": random.normal(size=(10, 1))}
        try:
            asked = with_chance(load_metric("own_metric:error"), y, truth)
        except EdgetfError:
            continue
        found = own_metric(asked, y, noise, truth)
        passed += judge_metric("int8", found, Budgets(max_metric_drop=0.01)).verdict is Verdict.PASS
    assert passed == 0


def test_a_metric_by_which_other_samples_outputs_are_as_good_never_passes() -> None:
    found = MetricFigures("m", None, 100, 0.5, 0.5, 0.0, -0.001, 0.001, (), chance=0.5)
    judged = judge_metric("int8", found, Budgets(max_metric_drop=0.01))
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "this metric shows nothing" in judged.reason
    assert judge_metric("int8", replace(found, chance=0.4), Budgets(max_metric_drop=0.01)).verdict is Verdict.PASS


def test_the_largest_scores_of_a_metric_can_be_stored_and_read(own: Path) -> None:
    (own / "own_metric.py").write_text("def huge(outputs, labels): return outputs['y'][:, 0] * 1e99\n")
    y, other = {"y": np.ones((20, 1))}, {"y": -np.ones((20, 1))}
    found = own_metric(load_metric("own_metric:huge"), y, other, np.zeros(20))
    assert found.state is MetricState.MEASURED
    assert max(abs(found.drop), abs(found.low), abs(found.high)) < MOST


def test_a_default_budget_larger_than_the_scale_of_a_metric_does_not_pass(own: Path) -> None:
    (own / "own_metric.py").write_text("def error(outputs, labels): return 1e-6 * (outputs['y'][:, 0] - labels) ** 2\n")
    truth = RANDOM.normal(size=200)
    y, broken = {"y": truth[:, None]}, {"y": RANDOM.normal(size=(200, 1))}
    found = own_metric(with_chance(load_metric("own_metric:error", True), y, truth), y, broken, truth)
    judged = judge_metric("int8", found, Budgets())
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "give edgetf check --max-metric-drop" in judged.reason


def test_a_metric_without_labels_is_refused_before_anything_runs(
    converted: Path, own: Path, edgetf: Run, tmp_path: Path
) -> None:
    ended = edgetf("benchmark", converted, "--metric", "own_metric:each", "-o", "bench")
    assert (ended.returncode, "needs a reference" in ended.stderr) == (1, True)
    assert not (tmp_path / "bench").exists()


def test_a_partial_has_the_name_of_its_function_and_an_object_that_of_its_class() -> None:
    class Counter:
        def __call__(self, outputs: Outputs, labels: Array) -> float:
            return float(len(labels))

    twice = functools.partial(functools.partial(load_metric, less_is_better=True), "a")
    assert metric_name(twice) == "edgetf.benchmarks.judging.own_metric:load_metric"
    assert metric_name(Counter()).endswith("test_label_metrics:" + Counter.__qualname__)
    assert metric_name("own:each") == "own:each"


# the worked examples ----------------------------------------------------------------------------------------------


def _example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_detection_example_computes_the_known_metric() -> None:
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


def test_the_sequence_example_computes_the_known_metric() -> None:
    sequence = _example("sequence")
    assert sequence.edit_distance("kitten", "sitting") == 3
    assert sequence.edit_distance("", "abc") == 3
    _, columns, labels = sequence.make_samples(20, 0)
    perfect = {"character": np.eye(sequence.DIGITS + 1)[columns]}
    assert sequence.right_characters(perfect, labels) == pytest.approx(np.ones(20))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sizes"), [("detection", "2, 300, 30"), ("sequence", "1, 300, 60")])
def test_the_commands_of_a_worked_example_work_as_written(name: str, sizes: str, tmp_path: Path) -> None:
    """A short training, few samples and few turns."""
    text = (EXAMPLES / f"{name}.py").read_text()
    (tmp_path / f"{name}.py").write_text(text)
    commands = re.findall(r"^    (edgetf .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    subprocess.run([sys.executable, "-c", f"import {name}; {name}.main({sizes})"], cwd=tmp_path, check=True)
    for command in commands:
        ended = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    for result in read_benchmark(tmp_path / "bench").results:
        assert result.parity is not None
        assert len(result.parity.metrics) == len(re.findall("--metric", commands[-1]))
        assert all(metric.low <= metric.drop <= metric.high for metric in result.parity.metrics)
    assert re.search(rf"{name}:\w+: [\d.]+, the reference [\d.]+, drop", ended.stdout)
