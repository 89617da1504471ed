from __future__ import annotations

import contextlib
import copy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.optimize import calibrator

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.known_faults import repair_faults, writes_variables
from edgetf.conversion.official import convert_official
from edgetf.conversion.private import calibrating
from edgetf.conversion.ranges import Choice, Floats, RangeChoice
from edgetf.conversion.savedmodel import fix_shapes, read_source, save_with_shapes
from edgetf.flatbuffer import count_ops, listed, new_model, pack, read_contents, unpack
from edgetf.results import Status
from edgetf.samples import Array, make_samples
from edgetf.schemes import SCHEMES
from tests.conftest import ignore

_TRAIN = """
import numpy as np, tf_keras as keras
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.layers.Input((40, 2), name="series"), keras.layers.LSTM(4), keras.layers.Dense(1)])
weights = model.layers[0].get_weights()
weights[0][:], weights[1][:], weights[2][:] = 0.0, 0.0, 0.0
weights[2][0:8] = 20.0   # input and forget gates are open: the cell adds its input up
weights[0][:, 8:12] = 1.0
weights[2][12:16] = -3.0
model.layers[0].set_weights(weights)
model.save("model.h5")
series = np.ones((30, 40, 2), np.float32) * np.linspace(0.8, 1.2, 30, dtype=np.float32)[:, None, None]
series[:, 20:] *= -0.4  # the cell counts up to 19 and down to 7; clipped at 10 it ends below zero
np.savez("s.npz", x=series)
np.save("expected.npy", model.predict(series, verbose=0))
"""


_RECURRENT = """
import numpy as np, tf_keras as keras
keras.utils.set_random_seed(0)
layers = keras.layers
for name, second in {
    "lstm": layers.LSTM(8), "gru": layers.GRU(8), "both": layers.Bidirectional(layers.LSTM(8)),
}.items():
    first = layers.LSTM(8, return_sequences=True, bias_initializer="random_normal")
    model = keras.Sequential([layers.Input((12, 3), name="series"), first, second, layers.Dense(2)])
    model.save(f"{name}.h5")
    series = 2 * np.random.default_rng(0).normal(size=(30, 12, 3)).astype(np.float32)
    np.save(f"{name}.npy", model.predict(series, verbose=0))
np.savez("s.npz", series=series)

model = keras.Sequential([layers.Input((20, 2), name="series"), layers.LSTM(8), layers.Dense(2)])
weights = model.layers[0].get_weights()
weights[0] *= 0.5
weights[1] *= 0.2
weights[0][:, 16:24] = np.abs(weights[0][:, 16:24]) * 0.01  # cells grow slowly, within a sequence to 0.1,
weights[2][8:16] = 8.0  # and forget nothing: over many sequences to 10
model.layers[0].set_weights(weights)
model.save("growing.h5")
random = np.random.default_rng(0)
series = (random.normal(size=(100, 20, 2)) + random.uniform(0, 3, (100, 1, 2))).astype(np.float32)
np.savez("growing.npz", series=series)
np.save("growing.npy", model.predict(series, verbose=0))

model = keras.Sequential([layers.Input((12,), name="series"), layers.Embedding(900, 8), layers.LSTM(8)])
model.save("ids.h5")
ids = np.random.default_rng(0).integers(0, 900, (60, 12)).astype(np.float32)
np.savez("ids.npz", series=ids)
np.save("ids.npy", model.predict(ids, verbose=0))
"""


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keras 2 networks whose first LSTM becomes a fused op, and what Keras answers."""
    folder = tmp_path_factory.mktemp("recurrent")
    env = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    subprocess.run([sys.executable, "-c", _RECURRENT], cwd=folder, check=True, capture_output=True, env=env)
    return folder


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Keras 2 LSTM (which becomes one fused op) whose cells count beyond 10, its samples and Keras's answers."""
    folder = tmp_path_factory.mktemp("counting")
    env = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PATH": ""}
    subprocess.run([sys.executable, "-c", _TRAIN], cwd=folder, check=True, capture_output=True, env=env)
    return folder


def _run(content: bytes, series: Array) -> Floats:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    runner, found = interpreter.get_signature_runner(), []
    for one in series:
        interpreter.reset_all_variables()
        found.append(next(iter(runner(series=one[None]).values())))
    return np.concatenate(found)


def _sqnr_db(found: Floats, expected: Floats) -> float:
    return float(10 * np.log10(np.var(expected) / np.mean((found - expected) ** 2)))


def _states(content: bytes) -> list[tuple[int, float]]:
    """How many operands read each tensor that is a state, and its scale, or 0."""
    model, _ = unpack(content)
    graph = model.subgraphs[0]
    read = [int(k) for op in graph.operators for k in listed(op.inputs)]
    states = [(k, tensor) for k, tensor in enumerate(graph.tensors) if tensor.isVariable]
    return [(read.count(k), float((listed(t.quantization and t.quantization.scale) or [0])[0])) for k, t in states]


def test_cells_beyond_ten_are_not_clipped_and_float_parity_holds(counting: Path, tmp_path: Path) -> None:
    options = ConvertOptions(("float32", "dynamic"), samples=counting / "s.npz")
    float32, dynamic = convert(counting / "model.h5", tmp_path / "out", options, ignore).variants
    assert "clipping of the cell state was removed from 1 LSTM op" in float32.notes[0]
    assert dynamic.status is Status.OK
    series, expected = np.load(counting / "s.npz")["x"], np.load(counting / "expected.npy")
    content = (tmp_path / "out" / "float32.tflite").read_bytes()
    np.testing.assert_allclose(_run(content, series), expected, atol=1e-5)

    # without the repair, the outputs differ widely
    model, _ = unpack(content)
    for operator in model.subgraphs[0].operators:
        if hasattr(operator.builtinOptions, "cellClip"):
            operator.builtinOptions.cellClip = 10.0
    assert np.abs(_run(pack(model), series) - expected).max() > 1e-3


@pytest.mark.parametrize("name", ["lstm", "gru", "both"])
def test_a_loop_does_not_begin_with_the_state_of_the_fused_lstm_before_it(
    name: str, recurrent: Path, tmp_path: Path
) -> None:
    options = ConvertOptions(("float32", "float16", "dynamic"), samples=recurrent / "s.npz")
    series, expected = np.load(recurrent / "s.npz")["series"], np.load(recurrent / f"{name}.npy")
    for variant, tolerance in zip(
        convert(recurrent / f"{name}.h5", tmp_path / "out", options, ignore).variants, (1e-6, 1e-3, 1e-3), strict=True
    ):
        content = (tmp_path / "out" / str(variant.path)).read_bytes()
        assert {"UNIDIRECTIONAL_SEQUENCE_LSTM", "WHILE"} <= set(count_ops(content))
        assert any("shared the state of an LSTM op" in note for note in variant.notes)
        assert [count for count, _ in _states(content)] == [1, 1]
        np.testing.assert_allclose(_run(content, series), expected, atol=tolerance)


def test_two_lstm_ops_never_share_a_state(recurrent: Path, tmp_path: Path) -> None:
    """The converter was not seen to do it; the op is doubled here."""
    options = ConvertOptions(("float32",), samples=recurrent / "growing.npz")
    convert(recurrent / "growing.h5", tmp_path / "out", options, ignore)
    model, _ = unpack((tmp_path / "out" / "float32.tflite").read_bytes())
    operators = model.subgraphs[0].operators
    place = next(k for k, op in enumerate(operators) if len(listed(op.inputs)) >= 20)
    operators.insert(place, copy.copy(operators[place]))  # the second starts with the state of the first
    shared, series = pack(model), np.load(recurrent / "growing.npz")["series"]
    expected = np.load(recurrent / "growing.npy")
    assert np.abs(_run(shared, series) - expected).max() > 1e-3
    repaired, notes = repair_faults(shared)
    assert "2 operand(s) that shared the state" in notes[0]
    np.testing.assert_allclose(_run(repaired, series), expected, atol=1e-5)
    assert [count for count, _ in _states(repaired)] == [1, 1, 1, 1]


def test_int8_of_a_fused_lstm_has_the_ranges_of_states_that_occur(
    recurrent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ConvertOptions(("int8",), samples=recurrent / "growing.npz")
    [int8] = convert(recurrent / "growing.h5", tmp_path / "out", options, ignore).variants
    assert any("calibrated with the state reset to zero before each sample" in note for note in int8.notes)
    # small cells: a scale below 2^-15 had no kernel, and the outputs were garbage
    assert any("no tanh" in note for note in int8.notes)
    series, expected = np.load(recurrent / "growing.npz")["series"], np.load(recurrent / "growing.npy")
    content = (tmp_path / "out" / "int8.tflite").read_bytes()
    cells = max(scale for _, scale in _states(content) if np.log2(scale).is_integer())
    assert cells == 2.0**-15
    ours = _sqnr_db(_run(content, series), expected)

    source = fix_shapes(read_source(tmp_path / "out" / "saved_model", None), {})
    samples = make_samples("test", {"series": series}, None)
    fixed = save_with_shapes(source, tmp_path / "fixed")
    # without the entry points that the repair needs, the official way is plain, and a note reports it
    monkeypatch.delattr(calibrator.Calibrator, "_feed_tensors")
    with calibrating(bytes, bytes) as resets:
        assert not resets
    monkeypatch.undo()
    monkeypatch.setattr("edgetf.conversion.official.calibrating", lambda before, after: contextlib.nullcontext(False))
    plain, notes = convert_official(fixed, source, SCHEMES["int8"], samples, False, lambda done, of: None)
    assert any("is carried from sample to sample" in note for note in notes)
    assert _sqnr_db(_run(plain, series), expected) < ours - 8


def test_ids_as_floats_before_a_fused_lstm_stay_float32_where_int8_does_not_hold_them(
    recurrent: Path, tmp_path: Path
) -> None:
    options = ConvertOptions(("int8", "int8-io"), samples=recurrent / "ids.npz")
    int8, int8_io = convert(recurrent / "ids.h5", tmp_path / "out", options, ignore).variants
    assert any("input series" in note and "stays float32" in note for note in int8_io.notes)
    assert not any("input series" in note for note in int8.notes)
    contents = read_contents(tmp_path / "out" / str(int8_io.path))
    assert [spec.dtype for spec in contents.inputs] == ["float32"]
    assert [spec.dtype for spec in contents.outputs] == ["int8"]


def test_the_int8_of_a_fused_lstm_is_made_by_the_official_converter(counting: Path, tmp_path: Path) -> None:
    choice = RangeChoice(Choice.MSE)
    [int8] = convert(
        counting / "model.h5", tmp_path / "out", ConvertOptions(("int8",), counting / "s.npz", choice=choice), ignore
    ).variants
    assert int8.status is Status.OK, int8.error
    assert int8.engine == "official"
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM has values inside" in (int8.why_official or "")
    assert "the official converter supports no other choice" in " ".join(int8.notes)


def test_a_file_without_faults_is_returned_unchanged(converted: Path) -> None:
    content = (converted / "float32.tflite").read_bytes()
    assert repair_faults(content) == (content, ())


def test_a_keras_3_model_inside_a_module_keeps_its_outputs(tmp_path: Path) -> None:
    """The converter (2.21) leaves its variables empty, whichever of its entry points is used."""
    import keras
    import tensorflow as tf

    class Wrapped(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            keras.utils.set_random_seed(0)
            layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(), keras.layers.Dense(3)]
            self.model = keras.Sequential(layers)

        @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            scores = self.model(x)
            return {"scores": scores, "best": tf.argmax(scores, 1, output_type=tf.int32)}

    wrapped = Wrapped()
    tf.saved_model.save(wrapped, str(tmp_path / "wrapped"), signatures=wrapped.call)
    images = np.random.default_rng(0).normal(size=(20, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "s.npz", x=images)
    expected = wrapped.call(tf.constant(images))["scores"].numpy()

    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "wrapped"))
    runner = Interpreter(model_content=converter.convert()).get_signature_runner()
    garbage = runner(x=images[:1])["scores"]  # what was in that memory: NaN, or any number
    assert not np.allclose(garbage, expected[:1], atol=1e-3)  # otherwise the repair is no longer needed

    options = ConvertOptions(("dynamic", "float32", "int8"), samples=tmp_path / "s.npz")
    variants = convert(tmp_path / "wrapped", tmp_path / "out", options, ignore).variants
    for variant, tolerance in zip(variants, (0.05, 1e-5, 0.1), strict=True):
        assert variant.status is Status.OK, variant.error
        assert "variables that the converter left empty" in variant.notes[0]
        runner = Interpreter(model_path=str(tmp_path / "out" / str(variant.path))).get_signature_runner()
        found = np.concatenate([runner(x=one[None])["scores"] for one in images])
        np.testing.assert_allclose(found, expected, atol=tolerance)
    assert sorted(p.suffix for p in (tmp_path / "out").iterdir()) == [".json", ".json", ".tflite", ".tflite", ".tflite"]


def _with_operations(*graphs: Sequence[str]) -> tuple[Any, Any]:
    """A model whose graphs have these operations, and its schema; a CALL_ONCE runs the last graph."""
    model, schema = new_model()
    codes = vars(schema.BuiltinOperator)
    model.operatorCodes, model.subgraphs = [], []
    for names in graphs:
        graph = schema.SubGraphT()
        graph.operators, graph.tensors = [], []
        for name in names:
            code, operator = schema.OperatorCodeT(), schema.OperatorT()
            code.builtinCode, code.deprecatedBuiltinCode = codes[name], min(codes[name], 127)
            operator.opcodeIndex, operator.builtinOptions = len(model.operatorCodes), schema.CallOnceOptionsT()
            operator.builtinOptions.initSubgraphIndex = len(graphs) - 1
            model.operatorCodes.append(code)
            graph.operators.append(operator)
        model.subgraphs.append(graph)
    return model, schema


@pytest.mark.parametrize(
    ("graphs", "writes"),
    [
        ([["CALL_ONCE", "READ_VARIABLE"], ["ASSIGN_VARIABLE"]], False),
        ([["CALL_ONCE", "ASSIGN_VARIABLE"], ["ASSIGN_VARIABLE"]], True),
        ([["CALL_ONCE", "IF"], ["ADD"], ["ASSIGN_VARIABLE", "ADD"], ["ASSIGN_VARIABLE"]], True),
    ],
)
def test_variables_that_are_written_in_any_graph_but_the_initialization_are_a_state(
    graphs: list[list[str]], writes: bool
) -> None:
    assert writes_variables(*_with_operations(*graphs)) == writes
