"""What a model takes is read without TensorFlow, as TensorFlow reads it; mistakes do not start it."""

from __future__ import annotations

import json
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from edgetf.conversion import digest
from edgetf.conversion.checkpoint import Checkpoint
from edgetf.conversion.early import read_inputs
from edgetf.conversion.keras_config import read_header
from edgetf.conversion.keras_inputs import inputs_of_config
from edgetf.conversion.messages import NeedsTensorFlowError, dtype_name, messages, read_tensor
from edgetf.conversion.origin import as_saved_model
from edgetf.conversion.savedmodel import read_source
from edgetf.conversion.source_child import read_source_safely
from edgetf.results import TensorSpec
from tests.conftest import Small, ignore
from tests.conversion.saved_models import vocabulary
from tests.performance.mistakes import Made, mistakes, run, run_all


class _Module(tf.Module):  # type: ignore[misc]
    """Variables and constants of many types, of which the output takes all."""

    def __init__(self, dtypes: tuple[str, ...]) -> None:
        super().__init__()
        self.kept = [tf.Variable(tf.cast(tf.reshape(tf.range(6), [2, 3]), dtype)) for dtype in dtypes]
        self.empty, self.single = tf.Variable(tf.zeros([0, 3])), tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def call(self, x: Any) -> dict[str, Any]:
        table = tf.constant(np.arange(12.0, dtype=np.float32).reshape(4, 3))
        filled = tf.constant(7, tf.int64, [2, 3])
        total = x + table[0] + tf.cast(filled[0], tf.float32) + self.single + tf.reduce_sum(self.empty)
        for one in self.kept:
            total += tf.cast(tf.math.real(one)[0] if one.dtype.is_complex else one[0], tf.float32)
        return {"sum": total, "flag": tf.constant([True, False]), "half": tf.cast(x, tf.float16)}


_PLAIN = ("float32", "float64", "float16", "int8", "uint8", "int32", "int64", "complex64")


def _saved(folder: Path, *dtypes: str) -> Path:
    module = _Module(dtypes)
    tf.saved_model.save(module, str(folder), signatures=module.call)
    return folder


def _by_tensorflow(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def refuse(*given: object) -> None:
        raise NeedsTensorFlowError

    with monkeypatch.context() as patched:
        patched.setattr(digest, "read_tensor", refuse)
        patched.setattr(Checkpoint, "get_tensor", refuse)
        with pytest.raises(NeedsTensorFlowError):
            read_source(saved_model, None, pure=True)
        return read_source(saved_model, None)


def test_a_signature_and_its_digest_are_the_same_with_and_without_tensorflow(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for saved_model in (_saved(tmp_path / "plain", *_PLAIN), small.saved_model, vocabulary(tmp_path)):
        assert read_source(saved_model, None, pure=True) == _by_tensorflow(saved_model, monkeypatch)


def test_what_only_tensorflow_reads_is_read_by_it_silently(tmp_path: Path) -> None:
    saved_model = _saved(tmp_path / "rare", "float32", "bfloat16")
    with pytest.raises(NeedsTensorFlowError):
        read_source(saved_model, None, pure=True)
    assert read_source_safely(saved_model, None) == read_source(saved_model, None)
    index = saved_model / "variables" / "variables.index"
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(NeedsTensorFlowError):
        read_source(saved_model, None, pure=True)


def test_variables_are_those_that_tensorflow_reads(tmp_path: Path) -> None:
    prefix = _saved(tmp_path / "m", *_PLAIN) / "variables" / "variables"
    known, ours = tf.train.load_checkpoint(str(prefix)), Checkpoint(prefix)
    found = [name for name in known.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert len(found) == len(_PLAIN) + 2
    for name in found:
        np.testing.assert_array_equal(ours.get_tensor(name), known.get_tensor(name), strict=True)
    for missing in ("no such key", "_CHECKPOINTABLE_OBJECT_GRAPH"):
        with pytest.raises(NeedsTensorFlowError):
            ours.get_tensor(missing)


def _number(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80]) + _number(value >> 7) if value > 0x7F else bytes([value])


def _index(blocks: list[bytes], place: tuple[int, int]) -> bytes:
    """A table of these blocks, whose index is at `place`."""
    handles = b"\0\0" + _number(place[0]) + _number(place[1])
    return b"".join(blocks) + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def test_a_short_index_that_stands_for_hours_of_reading_is_left_to_tensorflow(tmp_path: Path) -> None:
    end = bytes(4 + 5)  # no restarts; how it is compressed, and its checksum
    empty = bytes(3) * 10_000 + end
    handle = b"\0" + _number(len(empty) - 5)
    same = (b"\0\0" + _number(len(handle)) + handle) * 10_000 + end
    long = b"\xff" * 2_000_000 + end
    for blocks, place in (
        ([empty, same], (len(empty), len(same) - 5)),
        ([long], (0, len(long) - 5)),
    ):
        (tmp_path / "v.index").write_bytes(_index(blocks, place))
        begin = time.process_time()
        with pytest.raises(NeedsTensorFlowError) as caught:
            Checkpoint(tmp_path / "v").get_tensor("x")
        assert isinstance(caught.value.__cause__, ValueError)
        assert time.process_time() - begin < 5


@pytest.mark.parametrize("dtype", [*_PLAIN[:-1], "bool", "uint16", "int16", "uint32", "uint64"])
def test_constants_are_those_that_tensorflow_reads(dtype: str) -> None:
    """Packed, empty, and as a list whose last value is repeated."""
    array = np.arange(6).reshape(2, 3).astype(dtype)
    fields = {"f2": "half_val", "f4": "float_val", "f8": "double_val", "i8": "int64_val", "u4": "uint32_val",
              "u8": "uint64_val", "b1": "bool_val"}  # fmt: skip
    listed = tf.make_tensor_proto(array)
    for field in (*fields.values(), "int_val", "tensor_content"):
        listed.ClearField(field)
    getattr(listed, fields.get(array.dtype.str[1:], "int_val")).extend([1, 0])
    for proto in (tf.make_tensor_proto(array), tf.make_tensor_proto(array[:0]), listed):
        np.testing.assert_array_equal(read_tensor(proto), tf.make_ndarray(proto), strict=True)


def test_texts_and_names_of_types_are_those_of_tensorflow() -> None:
    for proto in (tf.make_tensor_proto([b"a", b"bc"]), tf.make_tensor_proto(b"a", shape=[3])):
        assert read_tensor(proto).tolist() == tf.make_ndarray(proto).tolist()
    for name, number in messages().DataType.items():
        if 0 < number < 100:
            assert dtype_name(number, pure=False) == tf.dtypes.as_dtype(number).name, name


def test_the_inputs_in_a_configuration_are_those_of_the_export(small: Small, tmp_path: Path) -> None:
    keras = tf.keras
    one, other = keras.Input((4,), name="b"), keras.Input((2, None, 3), dtype="int32", name="a")
    total = keras.layers.Dense(2)(one) + keras.layers.Dense(2)(
        keras.ops.mean(keras.ops.cast(other, "float32"), axis=(1, 2))
    )
    keras.Model({"b": one, "a": other}, total).save(tmp_path / "two.keras")
    keras.Model([one, other], total).save(tmp_path / "listed.keras")
    for file in (small.keras_file, tmp_path / "two.keras", tmp_path / "listed.keras"):
        config = json.loads(zipfile.ZipFile(file).read("config.json"))
        with as_saved_model(file, False, ignore) as found:
            exported = read_source(found.folder, None).inputs
        assert tuple(TensorSpec(*one) for one in inputs_of_config(config)) == exported
        assert read_inputs(file, None, False, ignore) == exported


def test_a_fixed_batch_is_kept_as_the_export_of_keras_2_does(tmp_path: Path) -> None:
    layers = [{"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [4, 3], "dtype": "float32"}}]
    config = {"class_name": "Functional", "config": {"layers": layers, "input_layers": [["x", 0, 0]]}}
    shapes = {}
    for version in ("2.15.0", "3.12.0"):
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
            file.writestr("metadata.json", json.dumps({"keras_version": version}))
            file.writestr("config.json", json.dumps(config))
        [spec] = read_header(tmp_path / "m.keras").inputs
        shapes[version] = spec.shape
    assert shapes == {"2.15.0": (4, 3), "3.12.0": (None, 3)}


@pytest.mark.parametrize(
    "layer",
    [
        {"batch_shape": [None, 4], "dtype": "string"},
        {"batch_shape": [None, 4], "dtype": "float32", "sparse": True},
        {"batch_shape": [None, -1], "dtype": "float32"},
        {"batch_shape": "4", "dtype": "float32"},
        {"dtype": "float32"},
        {"batch_shape": [None, 4], "dtype": ["float32"]},
    ],
)
def test_an_input_that_is_not_stated_or_not_an_ordinary_array_is_left_to_keras(layer: dict[str, Any]) -> None:
    layers = [{"class_name": "InputLayer", "config": {"name": "x", **layer}}]
    assert inputs_of_config({"class_name": "Sequential", "config": {"layers": layers}}) == ()
    functional = {"class_name": "Functional", "config": {"layers": layers, "input_layers": [["x", 0, 0]]}}
    assert inputs_of_config(functional) == ()
    assert inputs_of_config({"class_name": "Sequential", "config": {"layers": []}}) == ()
    assert inputs_of_config({"class_name": "Mine", "config": [1]}) == ()


def test_mistakes_are_reported_without_tensorflow(
    small: Small, converted: Path, reference: Path, tmp_path: Path
) -> None:
    started = run(("-m", "edgetf", "inspect", str(small.keras_file)), tmp_path, refuse=True)
    assert "TensorFlow was started" in started.stderr
    known = mistakes(Made(small.saved_model, small.keras_file, small.samples, converted, reference), tmp_path)
    for one, (code, error) in zip(known, run_all(known, tmp_path), strict=True):
        assert (code, one.message in error) == (one.code if one.message else 0, True), (one.shown, error)
        assert "Traceback" not in error
    assert not (tmp_path / "out").exists()
