"""Loops compute in float32 in int8 variants, also where TensorFlow's quantizer quantizes parts of their bodies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from edgetf.conversion.loops import restore_loops
from edgetf.flatbuffer import count_ops, parse_contents, weight_types
from edgetf.schemes import SCHEMES
from tests.conversion.test_scales import FAR, TABLE, engines_of, outputs_of


def _looks_up(i: Any) -> Any:
    state = tf.zeros([1, 5])
    for k in tf.range(6):
        state = tf.tanh(tf.one_hot(i[:, k], 4) @ TABLE + 0.5 * state)
    return state


def _joins(x: Any) -> Any:
    state = tf.zeros([1, 8, 8])
    for k in tf.range(3):
        state = 0.5 * state + tf.concat([tf.tanh(x + tf.cast(k, tf.float32)), FAR], 1)
    return state


def _selects(x: Any) -> Any:
    state = tf.zeros([1, 4, 8])
    for _ in tf.range(3):
        state = 0.5 * state + tf.where(state > 50.0, tf.sigmoid(x), 100.0)
    return state


LOOPS: dict[str, tuple[str, Callable[..., Any]]] = {
    "EMBEDDING_LOOKUP": ("i", _looks_up),
    "CONCATENATION": ("x", _joins),
    "SELECT_V2": ("x", _selects),
}


@pytest.mark.parametrize("op", LOOPS)
def test_a_loop_in_an_int8_variant_computes_what_that_of_float32_does(op: str, tmp_path: Path) -> None:
    engines, inputs = engines_of(*LOOPS[op], tmp_path)
    float32, int8 = (engines.make(SCHEMES[name], None) for name in ("float32", "int8"))
    assert {op, "WHILE"} <= set(count_ops(float32.content))
    np.testing.assert_allclose(outputs_of(int8, inputs), outputs_of(float32, inputs), atol=1e-5)
    assert "int8" not in weight_types(int8.content)
    assert "the body of WHILE stays float32: the quantizer does not quantize loops" in int8.notes


def test_the_table_in_a_loop_is_right_with_integer_inputs_and_outputs_too(tmp_path: Path) -> None:
    engines, inputs = engines_of("i", _looks_up, tmp_path)
    float32, int8_io = (engines.make(SCHEMES[name], None) for name in ("float32", "int8-io"))
    form = parse_contents("it", int8_io.content).outputs[0].quantization
    assert form is not None
    found = (outputs_of(int8_io, inputs) - form.zero_point) * form.scale
    np.testing.assert_allclose(found, outputs_of(float32, inputs), atol=form.scale)


def test_the_loop_of_another_graph_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one, _ = engines_of("i", _looks_up, tmp_path / "one")
    other, _ = engines_of("x", _joins, tmp_path / "other")
    int8 = one.make(SCHEMES["int8"], None).content
    assert restore_loops(int8, other.flatbuffer) == restore_loops(int8, one.flatbuffer) == int8
