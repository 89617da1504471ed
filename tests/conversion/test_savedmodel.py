from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from edgetf.conversion.savedmodel import compute_dtype, fix_shapes, freeze_variables, read_source, save_with_shapes
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import count_ops
from edgetf.results import TensorSpec
from tests.conftest import Small


class TwoSignatures(tf.Module):  # type: ignore[misc]
    @tf.function(
        input_signature=[tf.TensorSpec([None, 2], tf.float32, name="a"), tf.TensorSpec([None], tf.int32, name="b")]
    )  # type: ignore[untyped-decorator]
    def add(self, a: tf.Tensor, b: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"sum": a + tf.cast(b, tf.float32)[:, None], "twice": 2 * b}

    @tf.function(input_signature=[tf.TensorSpec([4, 2], tf.float32, name="a")])  # type: ignore[untyped-decorator]
    def fixed(self, a: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"negated": -a}


@pytest.fixture
def two_signatures(tmp_path: Path) -> Path:
    module = TwoSignatures()
    tf.saved_model.save(module, str(tmp_path / "two"), signatures={"add": module.add, "fixed": module.fixed})
    return tmp_path / "two"


def test_a_signature_is_read_with_names_shapes_and_dtypes(small: Small) -> None:
    source = read_source(small.saved_model, None)
    assert source.signature == "serving_default"
    assert source.inputs == (TensorSpec("image", (None, 8, 8, 1), "float32"),)
    assert source.outputs == (TensorSpec("output_0", (None, 3), "float32"),)


def test_several_inputs_are_listed_by_name(two_signatures: Path) -> None:
    source = read_source(two_signatures, "add")
    assert source.inputs == (TensorSpec("a", (None, 2), "float32"), TensorSpec("b", (None,), "int32"))
    assert [spec.name for spec in source.outputs] == ["sum", "twice"]


def test_a_choice_between_signatures_is_asked_for(two_signatures: Path) -> None:
    with pytest.raises(EdgetfError, match="has several signatures: add, fixed") as caught:
        read_source(two_signatures, None)
    assert "--signature" in caught.value.hint
    with pytest.raises(EdgetfError, match="has no signature 'fixd'") as caught:
        read_source(two_signatures, "fixd")
    assert "did you mean 'fixed'?" in caught.value.hint


def test_the_digest_follows_the_content(small: Small, two_signatures: Path) -> None:
    assert read_source(small.saved_model, None).digest == read_source(small.saved_model, None).digest
    assert read_source(small.saved_model, None).digest != read_source(two_signatures, "add").digest


def test_a_free_batch_becomes_1_and_the_copy_computes_the_same(two_signatures: Path, tmp_path: Path) -> None:
    source = fix_shapes(read_source(two_signatures, "add"), {})
    copy = read_source(save_with_shapes(source, tmp_path / "copy"), "add")
    assert copy.inputs == (TensorSpec("a", (1, 2), "float32"), TensorSpec("b", (1,), "int32"))
    assert [spec.name for spec in copy.outputs] == ["sum", "twice"]
    function = tf.saved_model.load(str(tmp_path / "copy")).signatures["add"]
    outputs = function(a=tf.constant([[1.0, 2.0]]), b=tf.constant([3]))
    np.testing.assert_array_equal(outputs["sum"], [[4.0, 5.0]])


def test_a_requested_shape_is_fixed(two_signatures: Path, tmp_path: Path) -> None:
    source = fix_shapes(read_source(two_signatures, "add"), {"a": (4, 2), "b": (4,)})
    assert read_source(save_with_shapes(source, tmp_path / "copy"), "add").inputs[0].shape == (4, 2)


def test_a_fixed_batch_is_unchanged(two_signatures: Path) -> None:
    assert fix_shapes(read_source(two_signatures, "fixed"), {}).inputs[0].shape == (4, 2)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"c": (1, 2)}, "has no input 'c'"),
        ({"a": (1, 3)}, "input 'a' cannot have the shape 1,3"),
        ({"a": (1, 2, 1)}, "input 'a' cannot have the shape 1,2,1"),
        ({"a": (0, 2)}, "input 'a' cannot have the shape 0,2"),
    ],
)
def test_a_shape_that_the_model_does_not_accept_is_refused(
    two_signatures: Path, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(EdgetfError, match=message):
        fix_shapes(read_source(two_signatures, "add"), shapes)


def test_a_model_that_computes_in_half_precision_is_not_called_float32(small: Small, tmp_path: Path) -> None:
    import keras

    assert compute_dtype(read_source(small.saved_model, None)) == "float32"
    layers = [keras.Input((4,)), keras.layers.Dense(2, dtype="mixed_float16")]
    keras.Sequential(layers).export(str(tmp_path / "mixed"), verbose=False)
    assert compute_dtype(read_source(tmp_path / "mixed", None)) == "float16 and float32"


def test_what_is_not_a_saved_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "saved_model.pb").write_text("not a protocol buffer")
    for name, message in [
        ("missing", "does not exist"),
        ("empty", "is an empty folder"),
        ("other", "has no saved_model.pb"),
        ("damaged", "is damaged"),
    ]:
        with pytest.raises(EdgetfError, match=message) as caught:
            read_source(tmp_path / name, None)
        assert caught.value.hint


def test_a_saved_model_without_signatures_gives_a_hint(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "bare"))
    with pytest.raises(EdgetfError, match="has no signature with inputs"):
        read_source(tmp_path / "bare", None)


class Looped(tf.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([1, 32, 32, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def call(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        boxes = tf.reshape(x, [-1, 4]) * self.weight
        kept, n = tf.image.non_max_suppression_padded(boxes, boxes[:, 0], 20, 0.4, 0.5, pad_to_max_output_size=True)
        return {"y": tf.gather(boxes, kept), "n": n}  # loops and branches in each other


def test_the_converter_accepts_a_frozen_loop(tmp_path: Path) -> None:
    module = Looped()
    tf.saved_model.save(module, str(tmp_path / "loop"), signatures=module.call)
    freeze_variables(read_source(tmp_path / "loop", None), tmp_path / "frozen")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "frozen"))
    assert "WHILE" in count_ops(converter.convert())
