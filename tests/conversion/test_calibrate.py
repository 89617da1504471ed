"""Ranges compared with TensorFlow's own calibrator, and quantized variants with the official converter."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partialmethod
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgetf.conversion import calibrate as calibrate_module
from edgetf.conversion.calibrate import Calibrator, calibrate, write_ranges
from edgetf.conversion.choose_ranges import choose_ranges
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.engine import Engines, Observed
from edgetf.conversion.observe import walk
from edgetf.conversion.official import convert_official
from edgetf.conversion.ranges import RANGES_SCHEMA, Choice, RangeChoice, Ranges
from edgetf.conversion.repairs import split_samples
from edgetf.conversion.savedmodel import fix_shapes, read_source, save_with_shapes
from edgetf.errors import EdgetfError
from edgetf.files import read_document
from edgetf.results import Calibration, RepairKind, RepairState, Source, TensorSpec
from edgetf.samples import Samples, load_samples, make_samples
from edgetf.schemes import SCHEMES
from tests.conftest import Small, ignore
from tests.conversion.graphs import chain


def _no_progress(done: int, of: int) -> None:
    """For verbs whose progress does not matter."""


def _layers() -> Any:
    import keras

    return keras.layers


def _depthwise(inputs: Any) -> Any:
    layers = _layers()
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(y))
    x = layers.Add(name="residual")([x, y])  # Keras counts the names that it gives in the whole process
    return layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x))


def _dilated(inputs: Any) -> Any:
    layers = _layers()
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="relu")(inputs)
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(x)
    x = layers.Concatenate()([x, layers.UpSampling2D()(inputs)])
    return layers.Conv2D(3, 1, activation="sigmoid")(x)


def _hard_swish(inputs: Any) -> Any:
    layers = _layers()
    x = layers.Conv2D(12, 3, padding="same")(inputs)
    x = layers.Multiply()([x, layers.ReLU(6.0)(layers.Rescaling(1.0, 3.0)(x))])
    x = layers.MaxPooling2D()(x)
    gate = layers.Dense(12, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Dense(4)(layers.Flatten()(layers.Multiply()([x, gate])))


NETWORKS = {"depthwise": _depthwise, "dilated": _dilated, "hard_swish": _hard_swish}


@dataclass(frozen=True)
class Network:
    saved_model: Path
    source: Source
    samples: Samples
    engines: Engines


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Network:
    import keras

    folder = tmp_path_factory.mktemp(request.param)
    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3), name="image")
    keras.Model(inputs, NETWORKS[request.param](inputs)).export(str(folder / "model"), verbose=False)
    source = fix_shapes(read_source(folder / "model", None), {})
    images = np.random.default_rng(0).normal(size=(40, 16, 16, 3)).astype(np.float32)
    samples = make_samples("random", {"image": images}, None)
    fixed = save_with_shapes(source, folder / "fixed")
    calibration = Calibration(samples.used(), len(samples), 0)
    return Network(fixed, source, samples, Engines(fixed, source, Observed(samples, calibration), False, _no_progress))


def _parameters(content: bytes) -> dict[str, tuple[Any, Any]]:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    found = {}
    for detail in interpreter.get_tensor_details():
        parameters = detail["quantization_parameters"]
        if len(parameters["scales"]):
            found[detail["name"]] = (parameters["scales"], parameters["zero_points"])
    return found


def _outputs(content: bytes, samples: Samples) -> Any:
    runner = Interpreter(model_content=content).get_signature_runner()
    images = samples.inputs["image"]
    return np.concatenate([runner(image=images[k : k + 1])["output_0"] for k in range(len(images))])


def _true_ranges(content: bytes, samples: Samples) -> dict[str, tuple[float, float]]:
    """Smallest and largest value of every tensor, from reference kernels and an interpreter that keeps all tensors."""
    interpreter = Interpreter(
        model_content=content,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    details = [d for d in interpreter.get_tensor_details() if d["dtype"] is np.float32]
    seen: dict[str, list[tuple[float, float]]] = {}
    for image in samples.inputs["image"]:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        for detail in details:
            values = interpreter.get_tensor(detail["index"])
            if values.size:
                seen.setdefault(f"{detail['name']}#{detail['index']}", []).append((values.min(), values.max()))
    return {name: (min(low for low, _ in ends), max(high for _, high in ends)) for name, ends in seen.items()}


def test_ranges_are_those_of_the_reference_kernels(network: Network) -> None:
    true = _true_ranges(network.engines.make(SCHEMES["float32"], None).content, network.samples)
    for found in network.engines.ranges.ranges:
        low, high = true[found.tensor]
        step = (high - low) / 255
        assert (found.low, found.high) == pytest.approx((low, high), abs=1e-3 * step + 1e-6), found.tensor


@pytest.mark.parametrize("scheme", ["int8", "int16x8"])
def test_scales_and_outputs_are_the_official_converters(network: Network, scheme: str) -> None:
    """Where they differ, it is the official range that is wrong: an op overwrote its input before it was observed."""
    ours = network.engines.make(SCHEMES[scheme], None)
    assert ours.engine == "fast"
    theirs, _ = convert_official(
        network.saved_model, network.source, SCHEMES[scheme], network.samples, False, _no_progress
    )
    our_scales, their_scales = _parameters(ours.content), _parameters(theirs)
    assert set(our_scales) == set(their_scales)
    differing = []
    for name, (scales, zero_points) in our_scales.items():
        same = np.allclose(scales, their_scales[name][0], rtol=1e-4) and (zero_points == their_scales[name][1]).all()
        if not same:
            differing.append(name)
            assert (scales <= their_scales[name][0] * (1 + 1e-4)).all(), (
                name
            )  # the official range is too wide, never too narrow
    assert len(differing) <= 0.1 * len(our_scales), differing
    step = _parameters(theirs)
    last = max(
        float(np.max(scales))
        for scales, _ in [step[name] for name in step if "output" in name or "Partitioned" in name]
    )
    apart = np.abs(_outputs(ours.content, network.samples) - _outputs(theirs, network.samples))
    if not differing:
        assert (apart <= last * 1.01).mean() >= 0.999
    float32 = _outputs(network.engines.make(SCHEMES["float32"], None).content, network.samples)
    ours_off = np.sqrt(np.mean((_outputs(ours.content, network.samples) - float32) ** 2))
    theirs_off = np.sqrt(np.mean((_outputs(theirs, network.samples) - float32) ** 2))
    assert ours_off <= 1.1 * theirs_off  # no further from the float model


@pytest.mark.parametrize("network", ["depthwise"], indirect=True)
def test_an_input_that_an_addition_overwrites_keeps_its_own_range(network: Network) -> None:
    """TensorFlow's calibrator (2.21) takes the sum for the range of the addend."""
    names = [one.tensor for one in network.engines.ranges.ranges]
    sums = [name for name in names if "residual" in name and "/Add#" in name]
    by_name = {one.tensor: one for one in network.engines.ranges.ranges}
    addend = names[names.index(sums[0]) - 1]
    assert by_name[addend].high < 0.99 * by_name[sums[0]].high


def test_ranges_are_stored_and_reused(small: Small, tmp_path: Path) -> None:
    once = ConvertOptions(("int8",), samples=small.samples, choice=RangeChoice())  # repairs need samples each time
    first = convert(small.saved_model, tmp_path / "a", once, ignore)
    assert first.ranges == "ranges.json"
    again = ConvertOptions(("int8", "int16x8"), ranges=tmp_path / "a" / "ranges.json")
    second = convert(small.saved_model, tmp_path / "b", again, ignore)
    assert second.variants[0].sha256 == first.variants[0].sha256
    assert second.calibration is None


def test_an_op_that_copies_has_the_range_of_its_operand(converted: Path) -> None:
    """The quantizer gives both one scale: that of a pool whose own range is narrower would clip the layer before it."""
    images = np.random.default_rng(0).standard_t(3, size=(40, 8, 8, 1)).astype(np.float32)
    samples, content = make_samples("tails", {"image": images}, None), (converted / "float32.tflite").read_bytes()
    calibrator = Calibrator(content, samples, Calibration(samples.used(), 40, 0), _no_progress)
    found = calibrator.observe(range(40), with_values=True).ranges(RangeChoice(Choice.MSE)).ranges
    assert len(calibrator.copies) == 2  # the pool and the reshaping
    for source, copy in calibrator.copies:
        assert (found[copy].low, found[copy].high) == (found[source].low, found[source].high)


class _Scores:
    """A judge whose scores are given: by choice, and for single tensors that have the range of min-max."""

    def __init__(self, samples: Samples, by_choice: dict[RangeChoice, float], better: dict[str, float]) -> None:
        self.split = split_samples(samples)
        self._by_choice, self._better, self._plain = by_choice, better, dict[str, float]()

    def quantize(self, ranges: Ranges) -> bytes:
        if ranges.choice == RangeChoice():
            self._plain = {one.tensor: one.high for one in ranges.ranges}
        extra = sum(db for name, db in self._better.items() if self._high(ranges, name) == self._plain[name])
        best = max(self._by_choice.values()) if ranges.choice.how is Choice.AUTO else self._by_choice[ranges.choice]
        return str(best + (extra if ranges.choice != RangeChoice() else 0)).encode()

    def score(self, content: bytes) -> float:
        return float(content)

    @staticmethod
    def _high(ranges: Ranges, name: str) -> float:
        return next(one.high for one in ranges.ranges if one.tensor == name)


@pytest.mark.parametrize("winner", [RangeChoice(), RangeChoice(Choice.PERCENTILE, 99.99), RangeChoice(Choice.MSE)])
def test_auto_takes_the_ranges_with_the_best_held_out_outputs_and_records_it(
    converted: Path, winner: RangeChoice
) -> None:
    images = np.random.default_rng(0).standard_t(3, size=(40, 8, 8, 1)).astype(np.float32)
    samples, content = make_samples("tails", {"image": images}, None), (converted / "float32.tflite").read_bytes()
    calibrator = Calibrator(content, samples, Calibration(samples.used(), 40, 0), _no_progress)
    choices = dict.fromkeys((RangeChoice(), RangeChoice(Choice.PERCENTILE, 99.99), RangeChoice(Choice.MSE)), 20.0)
    judge = _Scores(samples, {**choices, winner: 30.0}, {})
    ranges, record = choose_ranges(calibrator, cast("Any", judge), judge.quantize, len(content))
    assert ranges.choice == winner
    assert [one.tensor for one in ranges.ranges] == [one.name for one in calibrator.tensors]
    assert ranges.ranges[0].high == pytest.approx(images.max()) or winner != RangeChoice()
    plain = winner == RangeChoice()
    assert (record.kind, record.n) == (RepairKind.RANGES, 10)
    assert record.state is (RepairState.REFUSED if plain else RepairState.KEPT)
    assert (record.before_db, record.after_db) == ((30.0, 20.0) if plain else (20.0, 30.0))
    assert record.detail == ("" if plain else winner.describe())


def test_auto_changes_the_range_of_single_tensors_if_that_helps_and_uses_min_max_on_failure(
    converted: Path,
) -> None:
    images = np.random.default_rng(0).standard_t(3, size=(40, 8, 8, 1)).astype(np.float32)
    samples, content = make_samples("tails", {"image": images}, None), (converted / "float32.tflite").read_bytes()
    calibrator = Calibrator(content, samples, Calibration(samples.used(), 40, 0), _no_progress)
    plain = calibrate(content, samples, Calibration(samples.used(), 40, 0), RangeChoice(), _no_progress)
    first = plain.ranges[0].tensor
    choices = {RangeChoice(): 10.0, RangeChoice(Choice.PERCENTILE, 99.99): 11.0, RangeChoice(Choice.MSE): 20.0}
    judge = _Scores(samples, choices, {first: 5.0})
    ranges, record = choose_ranges(calibrator, cast("Any", judge), judge.quantize, len(content))
    assert ranges.choice.how is Choice.AUTO
    assert ranges.ranges[0] == plain.ranges[0]
    assert all(one.high <= other.high for one, other in zip(ranges.ranges, plain.ranges, strict=True))
    assert (record.before_db, record.after_db, record.detail) == (10.0, 25.0, "mse, of 1 tensor(s) minmax")
    failing, failed = choose_ranges(calibrator, cast("Any", judge), lambda ranges: b"no number", len(content))
    assert (failed.state, failed.after_db) == (RepairState.FAILED, None)
    assert failing.ranges == plain.ranges


def test_with_few_samples_auto_is_min_max_and_16_bits_never_clip(small: Small, tmp_path: Path) -> None:
    few = ConvertOptions(("int8",), samples=small.samples, calibration=19)
    [variant] = convert(small.saved_model, tmp_path / "auto", few, ignore).variants
    [plain] = convert(small.saved_model, tmp_path / "minmax", replace(few, choice=RangeChoice()), ignore).variants
    assert variant.sha256 == plain.sha256
    assert [repair.kind for repair in variant.repairs] == [
        RepairKind.RANGES,
        RepairKind.EQUALIZATION,
        RepairKind.BIAS,
    ]
    for repair in variant.repairs:
        assert repair.state is RepairState.NOT_TRIED
        assert repair.reason == "19 inferences are too few to choose by: 20 are needed"
    fine = ConvertOptions(("int16x8",), samples=small.samples)
    [auto] = convert(small.saved_model, tmp_path / "16", fine, ignore).variants
    [wide] = convert(small.saved_model, tmp_path / "wide", replace(fine, choice=RangeChoice()), ignore).variants
    assert auto.sha256 == wide.sha256
    assert read_document(tmp_path / "16" / "ranges.json", Ranges, RANGES_SCHEMA).choice == RangeChoice()


def _run_once(graph: calibrate_module._Graph, look: object, quick: bool) -> float:
    """A time by which the ranges that the graph finds are `quick` to get, or not."""
    graph.run(0)
    return float((not graph.large) == quick)


@pytest.mark.parametrize("choice", [RangeChoice(), RangeChoice(Choice.PERCENTILE, 99.9)], ids=["minmax", "percentile"])
def test_ranges_that_the_graph_finds_are_those_of_all_values(
    network: Network, choice: RangeChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate_module, "_SMALL", 64)
    monkeypatch.setattr(calibrate_module, "_COPIED", 5)
    content, calibration = network.engines.flatbuffer, Calibration(network.samples.used(), len(network.samples), 0)

    def ranges(quick: bool) -> Ranges:
        calibrator = Calibrator(content, network.samples, calibration, _no_progress)
        assert calibrator.large
        assert len(calibrator.copied) == 5
        with monkeypatch.context() as patched:
            patched.setattr(calibrate_module._Graph, "seconds", partialmethod(_run_once, quick=quick))
            assert (calibrator.quick is not None) == quick
        return calibrator.observe(range(len(network.samples)), choice.needs_values).ranges(choice)

    assert ranges(quick=True) == ranges(quick=False)


def test_nan_before_an_imputation_is_found_where_the_graph_finds_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate_module, "_SMALL", 2)
    monkeypatch.setattr(calibrate_module._Graph, "seconds", partialmethod(_run_once, quick=True))
    images = np.random.default_rng(0).uniform(1, 2, (12, 4)).astype(np.float32)
    images[7, 2] = np.nan
    content = chain("ABS", "FLOOR", size=4)
    samples = make_samples("nan", {"input": images}, None, allow_nan=True)
    calibration = Calibration(samples.used(), 12, 0)
    calibrator = Calibrator(content, samples, calibration, _no_progress)
    assert calibrator.quick is not None
    with pytest.raises(EdgetfError, match="result-1#2 is not finite on calibration sample 7"):
        calibrator.observe(range(12), False).ranges(RangeChoice())  # it is an output: nothing replaces it
    names = [one.name for one in calibrator.tensors]
    [found] = calibrator.observe(range(12), False).observed[:1]
    assert found.lows[names.index("input#0")] >= 1
    assert found.highs[names.index("result-0#1")] <= 2


def test_the_graph_finds_no_ranges_where_a_sum_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate_module, "_SMALL", 2)
    monkeypatch.setattr(calibrate_module._Graph, "seconds", partialmethod(_run_once, quick=True))
    runs: list[int] = []
    run = calibrate_module._Graph.run

    def counted(graph: calibrate_module._Graph, number: int) -> None:
        runs.append(number)
        run(graph, number)

    monkeypatch.setattr(calibrate_module._Graph, "run", counted)
    masks = np.full((6, 4), np.finfo(np.float32).min, np.float32)  # as attention adds them
    samples = make_samples("masks", {"input": masks}, None)
    calibrator = Calibrator(chain("FLOOR", size=4), samples, Calibration(samples.used(), 6, 0), _no_progress)
    assert calibrator.quick is None
    runs.clear()
    found = calibrator.observe(range(6), False).ranges(RangeChoice())
    assert sorted(runs) == list(range(6))
    assert all(one.low == one.high == masks.min() for one in found.ranges)


def test_ranges_of_another_model_are_refused(small: Small, network: Network, converted: Path) -> None:
    with pytest.raises(EdgetfError, match="the ranges are of another model"):
        write_ranges((converted / "float32.tflite").read_bytes(), network.engines.ranges)


def test_a_percentile_cuts_an_outlier_off(converted: Path) -> None:
    images = np.random.default_rng(0).normal(size=(200, 8, 8, 1)).astype(np.float32)
    images[17, 3, 3, 0] = 1000.0
    samples = make_samples("outlier", {"image": images}, None)
    content = (converted / "float32.tflite").read_bytes()

    def first(choice: RangeChoice) -> Any:
        found: Ranges = calibrate(content, samples, Calibration(samples.used(), 200, 0), choice, _no_progress)
        return found.ranges[0]

    assert first(RangeChoice()).high == 1000.0
    assert first(RangeChoice()).widest_sample == 17
    assert first(RangeChoice(Choice.PERCENTILE, 99.9)).high < 10
    assert first(RangeChoice(Choice.MSE)).high < 1000.0


def test_an_activation_that_is_not_finite_names_the_sample(converted: Path) -> None:
    images = np.zeros((60, 8, 8, 1), np.float32)
    images[31] = 3e38
    samples = make_samples("overflow", {"image": images}, None)
    content = (converted / "float32.tflite").read_bytes()
    with pytest.raises(EdgetfError, match="is not finite on calibration sample 31"):
        calibrate(content, samples, Calibration(samples.used(), 60, 0), RangeChoice(), _no_progress)


def _resident(file: Path) -> int:
    """Bytes of a mapped file that count as this process's memory."""
    lines, inside, found = Path("/proc/self/smaps").read_text().splitlines(), False, 0
    for line in lines:
        if re.match("[0-9a-f]+-", line):
            inside = line.endswith(file.name)
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) * 1024
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="it has no /proc/self/smaps")
def test_samples_that_are_mapped_do_not_stay_in_memory(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((64, 1 << 16), np.float32)
    np.savez(tmp_path / "mapped.npz", input=values)
    samples = load_samples(tmp_path / "mapped.npz", [TensorSpec("input", (None, 1 << 16), "float32")])
    content, most = chain("TANH", size=1 << 16), 0

    def look(done: int, of: int) -> None:
        nonlocal most
        most = max(most, _resident(tmp_path / "mapped.npz"))

    ranges = calibrate(content, samples, Calibration(samples.used(), 64, 0), RangeChoice(), look)
    assert ranges.ranges[0].high == values.max()
    assert 0 < most < values.nbytes * 0.75  # two threads with some inferences each
    most = 0
    walk(content, [1], samples, range(len(samples)), lambda fetch: look(0, 0))
    assert most < values.nbytes / 8
