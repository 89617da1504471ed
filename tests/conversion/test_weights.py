"""The schemes whose constants are int8: their content, their outputs, and the proof of repairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetf.conversion.constants import find_constants, values_of
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.improve import Improver
from edgetf.conversion.observe import answers
from edgetf.conversion.repairs import split_samples, sqnr_db
from edgetf.conversion.weights import quantize_weights
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job
from edgetf.flatbuffer import unpack
from edgetf.results import RepairKind, RepairState, Status, Variant, read_conversion
from edgetf.samples import Samples, load_samples, make_samples
from tests.conftest import Small, ignore

N = 64


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of two inputs, two outputs and most kinds of weights, its samples and all its schemes."""
    import keras

    layers, folder = keras.layers, tmp_path_factory.mktemp("mixed")
    keras.utils.set_random_seed(0)
    image, tokens = keras.Input((10, 10, 3), name="image"), keras.Input((8,), dtype="int32", name="tokens")
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.DepthwiseConv2D(5, padding="same", depth_multiplier=2, activation="relu")(x)
    x = layers.Conv2D(32, 3, dilation_rate=2, padding="valid")(layers.UpSampling2D()(x))
    x = layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu")(x)
    y = layers.Embedding(200, 32)(tokens)
    y = layers.Dense(64, activation="tanh")(layers.Flatten()(layers.EinsumDense("btd,de->bte", (8, 48))(y)))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), y])
    outputs = {"decision": layers.Dense(24, activation="softmax")(x), "value": layers.Dense(40)(y)}
    keras.Model([image, tokens], outputs).export(str(folder / "model"), verbose=False)
    random = np.random.default_rng(0)
    images = random.normal(size=(N, 10, 10, 3)).astype(np.float32).cumsum(axis=1)  # neighbours are related
    texts = random.integers(0, 200, (6, 8))[random.integers(0, 6, N)]  # six that come again, with other beginnings
    texts[:, :2] = random.integers(0, 200, (N, 2))
    np.savez(folder / "s.npz", image=images, tokens=texts.astype(np.int32))
    options = ConvertOptions(("float32", "weights", "dynamic"), samples=folder / "s.npz")
    convert(folder / "model", folder / "out", options, ignore)
    return folder


def _samples(mixed: Path) -> Samples:
    with np.load(mixed / "s.npz") as arrays:
        return make_samples("mixed", dict(arrays), None)


def _constants(content: bytes) -> dict[str, tuple[str, NDArray[Any], list[float], int]]:
    """The constants of two and more axes by name: type, steps or values, scales and their axis."""
    model, schema = unpack(content)
    found = {}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is None or tensor.shape is None or len(tensor.shape) < 2:
            continue
        dtype = {schema.TensorType.INT8: "int8", schema.TensorType.FLOAT32: "float32"}.get(tensor.type)
        if dtype is not None:
            q = tensor.quantization
            scales = [] if q is None or q.scale is None else [float(one) for one in q.scale]
            values = np.frombuffer(bytes(data), dtype).reshape(tensor.shape)
            found[tensor.name.decode()] = (dtype, values, scales, 0 if q is None else q.quantizedDimension)
    return found


def _variants(folder: Path) -> dict[str, Variant]:
    return {variant.scheme: variant for variant in read_conversion(folder).variants}


def test_every_large_constant_is_int8_with_the_scale_of_each_channel(mixed: Path) -> None:
    exact = (mixed / "out" / "float32.tflite").read_bytes()
    model, schema = unpack(exact)
    kinds = {one.kind for one in find_constants(model, schema)}
    assert kinds >= {"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "GATHER"}
    constants = _constants((mixed / "out" / "weights.tflite").read_bytes())
    for one in find_constants(model, schema):
        name = model.subgraphs[0].tensors[one.tensor].name.decode()
        values = values_of(model, model.subgraphs[0], one.tensor)
        dtype, steps, scales, axis = constants[name]
        assert (dtype, axis, len(scales)) == ("int8", one.axis, values.shape[one.axis])
        assert np.abs(steps.astype(int)).max() <= 127
        others = tuple(k for k in range(values.ndim) if k != axis)
        np.testing.assert_allclose(scales, np.abs(values).max(axis=others) / 127, rtol=1e-6)


def test_weights_are_much_smaller_and_computed_in_float32(mixed: Path) -> None:
    variants = _variants(mixed / "out")
    float32, weights = variants["float32"], variants["weights"]
    assert float32.bytes is not None
    assert weights.bytes is not None
    assert weights.bytes < 0.5 * float32.bytes
    assert {name: n for name, n in weights.ops.items() if name != "DEQUANTIZE"} == float32.ops
    assert any("its memory is that of float32" in note for note in weights.notes)


def test_a_kept_repair_is_better_on_held_out_samples(mixed: Path) -> None:
    exact, samples = (mixed / "out" / "float32.tflite").read_bytes(), _samples(mixed)
    held = split_samples(samples).held
    right = answers(exact, samples, held)
    nearest = sqnr_db(right, answers(quantize_weights(exact, None), samples, held))
    for scheme in ("weights", "dynamic"):
        variant = _variants(mixed / "out")[scheme]
        [repair] = variant.repairs
        assert repair.kind is RepairKind.ROUNDING
        assert repair.n == len(held) == N // 4
        assert repair.before_db is not None
        assert repair.after_db is not None
        assert (repair.state is RepairState.KEPT) == (repair.after_db >= repair.before_db)
        found = sqnr_db(right, answers((mixed / "out" / f"{scheme}.tflite").read_bytes(), samples, held))
        assert found == pytest.approx(max(repair.before_db, repair.after_db), abs=0.01)
    [rounding] = _variants(mixed / "out")["weights"].repairs
    assert rounding.state is RepairState.KEPT
    assert rounding.before_db == pytest.approx(nearest, abs=0.01)
    assert rounding.after_db is not None
    assert rounding.after_db > nearest + 1


def test_depthwise_convolutions_of_dynamic_compute_in_float32(mixed: Path) -> None:
    model, schema = unpack((mixed / "out" / "dynamic.tflite").read_bytes())
    codes = [code.builtinCode for code in model.operatorCodes]
    graph, depthwise = model.subgraphs[0], schema.BuiltinOperator.DEPTHWISE_CONV_2D
    [op] = [op for op in graph.operators if codes[op.opcodeIndex] == depthwise]
    assert graph.tensors[op.inputs[1]].type == schema.TensorType.FLOAT32
    [made] = [one for one in graph.operators if op.inputs[1] in one.outputs]
    assert graph.tensors[made.inputs[0]].type == schema.TensorType.INT8
    assert any("DEPTHWISE_CONV_2D computes in float32" in note for note in _variants(mixed / "out")["dynamic"].notes)


def test_tflite_runtime_gives_the_numbers_of_litert(mixed: Path, tmp_path: Path) -> None:
    files = {name: str(tmp_path / f"{name}.npy") for name in ("image", "tokens")}
    for name, values in _samples(mixed).inputs.items():
        np.save(files[name], values)
    found = []
    for runtime in ("litert", "tflite-runtime"):
        job = Job(str(mixed / "out" / "weights.tflite"), files, "serving_default", runtime=runtime, timing=None)
        measured = LocalDevice().run(job, tmp_path / runtime, lambda event: None)
        assert measured.samples is not None, measured.error
        found.append({one.name: np.load(tmp_path / runtime / one.file) for one in measured.samples.outputs})
    for name, values in found[0].items():
        np.testing.assert_allclose(found[1][name], values, atol=1e-6 * float(np.abs(values).max()))


def test_xnnpack_runs_weights_in_as_many_pieces_as_float32(small: Small, converted: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    pieces = {}
    for scheme in ("float32", "weights"):
        interpreter = Interpreter(model_path=str(converted / f"{scheme}.tflite"))
        interpreter.allocate_tensors()
        pieces[scheme] = [op["op_name"] for op in interpreter._get_ops_details()].count("DELEGATE")
    assert pieces["weights"] == pieces["float32"] == 1


def test_without_enough_samples_the_nearest_step_is_used_and_noted(small: Small, tmp_path: Path) -> None:
    [variant] = convert(small.saved_model, tmp_path / "none", ConvertOptions(("weights",)), ignore).variants
    assert any("rounded to the nearest step: with --samples" in note for note in variant.notes)
    assert variant.repairs == ()
    few = ConvertOptions(("weights",), samples=small.samples, calibration=7)
    [other] = convert(small.saved_model, tmp_path / "few", few, ignore).variants
    assert other.sha256 == variant.sha256
    [repair] = other.repairs
    assert repair.state is RepairState.NOT_TRIED
    assert repair.reason == "7 inferences are too few to hold some of them out: 8 are needed"


def test_rounding_that_is_worse_or_raises_is_replaced_by_the_nearest_step(
    converted: Path, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = (converted / "float32.tflite").read_bytes()
    samples = make_samples(
        "images", dict(load_samples(small.samples, read_conversion(converted).source.inputs).inputs), None
    )
    improver = Improver(exact, samples.take(40))
    nearest, _ = Improver(exact, None).weights()

    def fail(*arguments: Any) -> NDArray[np.int8]:
        raise np.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr("edgetf.conversion.weights.round_for_inputs", fail)
    content, [failed] = improver.weights()
    assert content == nearest
    assert (failed.state, failed.reason, failed.after_db) == (RepairState.FAILED, "not positive definite", None)
    monkeypatch.setattr("edgetf.conversion.weights.round_for_inputs", lambda w, s, p: np.zeros(w.shape, np.int8))
    content, [refused] = Improver(exact, samples.take(40)).weights()
    assert content == nearest
    assert refused.state is RepairState.REFUSED
    assert refused.before_db is not None
    assert refused.after_db is not None
    assert refused.after_db < refused.before_db


def test_held_out_samples_are_separate_and_evenly_distributed() -> None:
    for n in (8, 30, 127, 128, 2000):
        split = split_samples(make_samples("x", {"x": np.zeros((n, 1), np.float32)}, None))
        assert not set(split.held) & set(split.fit)
        assert sorted((*split.held, *split.fit)) == list(range(n))
        assert len(split.held) == min(32, n // 4)
        assert set(split.some) <= set(split.fit)
        assert len(split.some) == min(32, len(split.fit))
        assert split.held[0] < n / 3
        assert split.held[-1] > n / 2


def test_the_worst_output_counts_and_a_zero_error_has_a_number() -> None:
    random = np.random.default_rng(0)
    exact = {"a": random.normal(size=(20, 3)), "b": 100 * random.normal(size=(20, 3)), "class": np.arange(20)}
    noisy = {"a": exact["a"] + 0.1, "b": exact["b"] + 0.1, "class": np.zeros(20, np.int64)}
    assert sqnr_db(exact, noisy) == pytest.approx(20, abs=1.5)  # of a; classes count only if there is nothing else
    assert sqnr_db(exact, exact) == 200
    assert sqnr_db({"class": exact["class"]}, noisy) < 3
    assert sqnr_db(exact, {**exact, "a": np.full((20, 3), np.nan)}) == -200
    with pytest.raises(ValueError, match="no output of one shape"):
        sqnr_db(exact, {})


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Keras 3 LSTM, a loop in TFLite, and samples."""
    import keras

    folder = tmp_path_factory.mktemp("recurrent")
    keras.utils.set_random_seed(0)
    layers = [keras.Input((6, 20), name="series"), keras.layers.LSTM(48), keras.layers.Dense(30)]
    keras.Sequential(layers).export(str(folder / "model"), verbose=False)
    np.savez(folder / "s.npz", series=np.random.default_rng(0).normal(size=(24, 6, 20)).astype(np.float32))
    return folder


def test_constants_of_loops_are_int8_and_the_loop_computes_the_same(recurrent: Path, tmp_path: Path) -> None:
    options = ConvertOptions(("float32", "weights"), samples=recurrent / "s.npz")
    float32, weights = convert(recurrent / "model", tmp_path / "out", options, ignore).variants
    assert weights.status is Status.OK
    assert float32.bytes is not None
    assert weights.bytes is not None
    assert weights.bytes < 0.6 * float32.bytes
    [repair] = weights.repairs
    assert repair.after_db is not None
    assert repair.after_db > 30
