"""Indices in float inputs, cast to integers at once or after exact ops: int8 keeps each, or leaves all float."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from edgetf.conversion.engine import Engines, Observed
from edgetf.conversion.ranges import Floats
from edgetf.conversion.savedmodel import fix_shapes, read_source, save_with_shapes
from edgetf.results import Calibration
from edgetf.samples import Array, make_samples
from edgetf.schemes import SCHEMES

RANDOM = np.random.default_rng(0)
N = 60
TABLE = tf.constant(RANDOM.permutation(np.linspace(-1, 1, 1000)).astype(np.float32)[:, None])  # neighbours differ


def _look_up(x: Any) -> Any:
    return tf.gather(TABLE, tf.cast(x, tf.int32))


GRAPHS: dict[str, Callable[[Any], Any]] = {
    "cast": _look_up,
    "sliced": lambda x: _look_up(tf.reshape(x, [1, 2, 3])[:, 1]),
    "limited": lambda x: _look_up(tf.clip_by_value(x, 1.0, 2000.0)),
    "counted from 1": lambda x: _look_up(x + 1.0),
    "one-hot": lambda x: tf.matmul(tf.one_hot(tf.cast(x[0], tf.int32), 1000), TABLE),
}
BESIDE = {"a layer beside": lambda x: _look_up(x) + 0.001 * tf.reduce_mean(x)}


def _convert(call: Callable[[Any], Any], x: Array, folder: Path) -> Engines:
    class Graph(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 6], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: Any) -> dict[str, Any]:
            return {"y": call(x)}

    graph = Graph()
    tf.saved_model.save(graph, str(folder / "model"), signatures=graph.call)
    source = fix_shapes(read_source(folder / "model", None), {})
    samples = make_samples("test", {"x": x}, None)
    used = Calibration(samples.used(), N, 0)
    saved = save_with_shapes(source, folder / "fixed")
    return Engines(saved, source, Observed(samples, used), False, lambda done, of: None)


def _run(content: bytes, x: Array) -> tuple[Floats, str, float]:
    """The outputs in floats, the dtype of the input and its scale."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    [given], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = given["quantization"]
    found = []
    for row in x:
        stored = row[None] if scale == 0 else np.clip(np.rint(row[None] / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], stored)
        interpreter.invoke()
        value, (step, middle) = interpreter.get_tensor(result["index"]), result["quantization"]
        found.append(value if step == 0 else (value.astype(np.float32) - middle) * step)
    return np.stack(found), given["dtype"].__name__, scale


def _ids(high: int) -> Array:
    ids = RANDOM.integers(0, high, (N, 6)).astype(np.float32)
    ids[0] = [0, high - 1, 0, 0, high - 1, 0]
    return ids


@pytest.mark.parametrize("high", [200, 900])
@pytest.mark.parametrize("name", [*GRAPHS, *BESIDE])
def test_every_index_is_looked_up_in_its_own_row(name: str, high: int, tmp_path: Path) -> None:
    ids = _ids(high)
    engines = _convert((GRAPHS | BESIDE)[name], ids, tmp_path)
    exact, _, _ = _run(engines.make(SCHEMES["float32"], None).content, ids)
    for scheme in ("int8", "int8-io"):
        made = engines.make(SCHEMES[scheme], None)
        found, dtype, scale = _run(made.content, ids)
        assert np.abs(found - exact).max() < 0.05, scheme
        if scheme == "int8-io":
            [note] = [note for note in made.notes if "input x" in note]
            assert ("steps of 1, so that" in note, dtype, scale) == (
                (True, "int8", 1.0) if high == 200 else (False, "float32", 0.0)
            )


def test_numbers_with_fractions_that_are_cast_stay_float32(tmp_path: Path) -> None:
    values = RANDOM.uniform(0, 250, (N, 6)).astype(np.float32)
    values[0, :2] = 0, 250  # the range alone looks like one of whole numbers
    made = _convert(_look_up, values, tmp_path).make(SCHEMES["int8-io"], None)
    assert _run(made.content, values)[1] == "float32"
    assert any("stays float32: it has fractions" in note for note in made.notes)


def test_indices_that_are_moved_by_many_constants_stay_float32(tmp_path: Path) -> None:
    ids = _ids(100)
    engines = _convert(lambda x: _look_up(x + tf.constant([0.0, 100.0, 11.0, 12.0, 17.0, 30.0])), ids, tmp_path)
    made, exact = engines.make(SCHEMES["int8"], None), engines.make(SCHEMES["float32"], None)
    assert np.abs(_run(made.content, ids)[0] - _run(exact.content, ids)[0]).max() < 0.05
    assert any("its constants have different scales" in note for note in made.notes)


def test_values_computed_before_a_cast_are_quantized_as_usual(tmp_path: Path) -> None:
    kernel = tf.constant(RANDOM.normal(size=(6, 3)).astype(np.float32))
    engines = _convert(lambda x: tf.cast(tf.nn.relu(tf.matmul(x, kernel)), tf.int32), _ids(200), tmp_path)
    made = engines.make(SCHEMES["int8-io"], None)
    assert not any("input x" in note for note in made.notes)
