"""Every op that copies values, quantized with constants far from the scale of its data, keeps what its scheme must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgetf.conversion.engine import Engines, Made, Observed
from edgetf.conversion.savedmodel import fix_shapes, read_source, save_with_shapes
from edgetf.flatbuffer import count_ops
from edgetf.results import Calibration
from edgetf.samples import Array, make_samples
from edgetf.schemes import SCHEMES

RANDOM = np.random.default_rng(0)
N = 60
DATA = {
    "x": RANDOM.normal(size=(N, 4, 8)).astype(np.float32),
    "m": RANDOM.random((N, 4, 8)) < 0.5,
    "i": RANDOM.integers(0, 4, (N, 6)).astype(np.int32),
}
FAR = tf.constant(RANDOM.uniform(5, 9, (1, 4, 8)).astype(np.float32))
TABLE = tf.constant(RANDOM.normal(0, 3, (4, 5)).astype(np.float32))
KERNEL = tf.constant(RANDOM.normal(0, 0.4, (3, 8, 8)).astype(np.float32))
BIAS = tf.constant(RANDOM.normal(size=8).astype(np.float32))


def _conv(x: Any) -> Any:
    return tf.nn.bias_add(tf.nn.conv1d(x, KERNEL, 1, "SAME"), BIAS)


def _scatter(x: Any) -> Any:
    return tf.scatter_nd([[0], [2]], x[0, :2], [4, 8])


def _to_dense(x: Any) -> Any:
    values = x[0, 0, :2]
    return tf.raw_ops.SparseToDense(
        sparse_indices=[[0], [2]], output_shape=[4], sparse_values=values, default_value=-3.0, validate_indices=False
    )


GRAPHS: dict[str, tuple[str, Callable[..., Any]]] = {
    "ONE_HOT, off within": ("i", lambda i: tf.one_hot(i, 4, on_value=0.9, off_value=0.2)),
    "ONE_HOT, off beyond": ("i", lambda i: tf.one_hot(i, 4, on_value=-5.0, off_value=3.0)),
    "ONE_HOT and a layer": ("i", lambda i: tf.matmul(tf.one_hot(i, 4)[0], TABLE)),
    "SELECT_V2 with a far constant": ("xm", lambda x, m: tf.where(m, x, 100.0)),
    "SELECT_V2 with a negative one": ("xm", lambda x, m: tf.where(m, -30.0, x)),
    "SELECT_V2 of two constants": ("xm", lambda x, m: tf.where(m, 2.0, -0.4)),
    "SELECT with an array": ("xm", lambda x, m: tf.where(m, x, FAR)),
    "SELECT_V2, clipped elsewhere": ("xm", lambda x, m: tf.where(m, -3.0, tf.minimum(x, -1.0)) + x),
    "PADV2 beyond": ("x", lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 2]], constant_values=4.0)),
    "PADV2 within": ("x", lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 2]], constant_values=-0.3)),
    "PAD": ("x", lambda x: tf.pad(tf.nn.relu(x) + 1.0, [[0, 0], [1, 1], [2, 2]])),
    "MIRROR_PAD": ("x", lambda x: tf.pad(x, [[0, 0], [1, 1], [2, 2]], "REFLECT")),
    "FILL": ("x", lambda x: tf.fill([2, 3], tf.reduce_sum(x)) * 1.0),
    "SCATTER_ND": ("x", _scatter),
    "SCATTER_ND of constants": ("x", lambda x: tf.tensor_scatter_nd_update(x[0], [[1], [3]], FAR[0, :2])),
    "SPARSE_TO_DENSE": ("x", _to_dense),
    "MATRIX_DIAG": ("x", tf.linalg.diag),
    "MATRIX_SET_DIAG": ("x", lambda x: tf.linalg.set_diag(x[:, :, :4], FAR[:, 0, :4])),
    "DYNAMIC_UPDATE_SLICE": ("x", lambda x: _updated(x, FAR[:, :2])),
    "RESIZE_NEAREST_NEIGHBOR": ("x", lambda x: tf.image.resize(x[..., None], [8, 16], "nearest")),
    "RESIZE_BILINEAR": ("x", lambda x: tf.image.resize(x[..., None], [8, 16])),
    "CONCATENATION": ("x", lambda x: tf.concat([x, FAR], 1)),
    "PACK": ("x", lambda x: tf.stack([x, FAR], 1)),
    "UNPACK": ("x", lambda x: tf.unstack(tf.concat([x, FAR], 1), axis=1)[5]),
    "SPLIT": ("x", lambda x: tf.concat(list(reversed(tf.split(x, 2, axis=2))), 2)),
    "GATHER of a constant": ("i", lambda i: tf.gather(TABLE, i)),
    "EMBEDDING_LOOKUP, partly used": ("i", lambda i: tf.tanh(tf.matmul(tf.one_hot(i[:, 0] // 2, 4), TABLE))),
    "GATHER_ND": ("x", lambda x: tf.gather_nd(x, [[0, 1], [0, 3]])),
    "TOPK_V2": ("x", lambda x: tf.math.top_k(x, 3)[0]),
    "MAXIMUM": ("x", lambda x: tf.maximum(x, 0.37)),
    "MINIMUM": ("x", lambda x: tf.minimum(x, -2.0)),
    "MINIMUM, clipped elsewhere": ("x", lambda x: tf.minimum(x, -2.0) + tf.nn.relu(x)),
    "MINIMUM beside a convolution": ("x", lambda x: tf.concat([_conv(x), tf.minimum(x, -2.0)], 2)),
    "BROADCAST_TO": ("x", lambda x: tf.concat([x, tf.broadcast_to(tf.reduce_mean(x, 1, keepdims=True), [1, 2, 8])], 1)),
    "REVERSE_V2": ("x", lambda x: tf.reverse(x, [1])),
    "SUM in 16 bits": ("x", lambda x: tf.reduce_sum(x, 1)),
}
# ops that TensorFlow's quantizer refuses in 16 bits, or that LiteRT has no kernel for
NOT_IN_16_BITS = {"ONE_HOT", "SELECT_V2", "SCATTER_ND", "SPARSE_TO_DENSE", "MATRIX_DIAG", "MATRIX_SET_DIAG"}
NOT_IN_16_BITS |= {"DYNAMIC_UPDATE_SLICE", "TOPK_V2", "EMBEDDING_LOOKUP"}


def _updated(x: Any, update: Any) -> Any:
    from tensorflow.compiler.tf2xla.python.xla import dynamic_update_slice

    return dynamic_update_slice(x, update, [0, 1, 0])


def engines_of(names: str, call: Callable[..., Any], folder: Path) -> tuple[Engines, dict[str, Array]]:
    inputs = {name: DATA[name] for name in names}
    specs = [tf.TensorSpec([1, *values.shape[1:]], values.dtype, name=name) for name, values in inputs.items()]

    class Graph(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=specs)  # type: ignore[untyped-decorator]
        def call(self, *values: Any) -> dict[str, Any]:
            return {"y": call(*values)}

    graph = Graph()
    tf.saved_model.save(graph, str(folder / "model"), signatures=graph.call)
    source = fix_shapes(read_source(folder / "model", None), {})
    samples = make_samples("test", inputs, None)
    used = Calibration(samples.used(), N, 0)
    saved = save_with_shapes(source, folder / "fixed")
    return Engines(saved, source, Observed(samples, used), False, lambda done, of: None), inputs


def outputs_of(made: Made, inputs: dict[str, Array]) -> NDArray[np.float64]:
    runner = Interpreter(model_content=made.content).get_signature_runner()
    rows = [{name: values[k : k + 1] for name, values in inputs.items()} for k in range(N)]
    found: NDArray[np.float64] = np.stack([runner(**row)["y"] for row in rows]).astype(np.float64)
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_operands_that_an_op_copies_have_the_scale_of_its_result(name: str, tmp_path: Path) -> None:
    engines, inputs = engines_of(*GRAPHS[name], tmp_path)
    float32 = engines.make(SCHEMES["float32"], None)
    op = name.split(" ")[0].rstrip(",")
    assert op in count_ops(float32.content)
    exact = outputs_of(float32, inputs)
    for scheme in ("int8", "int16x8"):
        if scheme == "int16x8" and NOT_IN_16_BITS & set(count_ops(float32.content)):
            continue
        found = outputs_of(engines.make(SCHEMES[scheme], None), inputs)
        noise = float(np.mean((found - exact) ** 2))
        least = SCHEMES[scheme].min_sqnr_db
        assert least is not None
        assert noise == 0 or 10 * np.log10(np.var(exact) / noise) > least + 5, (name, scheme)


def test_a_file_that_keeps_the_rules_is_unchanged(tmp_path: Path) -> None:
    engines, _ = engines_of("x", _conv, tmp_path)
    for scheme in ("int8", "int16x8"):
        assert not [note for note in engines.make(SCHEMES[scheme], None).notes if "scale" in note or "clipped" in note]
