"""Files that broke readers, one row each: refused ones, with the reason in the message; and accepted ones."""

from __future__ import annotations

import importlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetf import files, limits, reading
from edgetf.arrays import read_npy
from edgetf.conversion import keras_file
from edgetf.errors import EdgetfError, clean, one_line
from edgetf.flatbuffer import read_contents
from edgetf.results import TensorSpec
from edgetf.samples import load_samples, read_arrays
from edgetf.samples.records import find_shards
from edgetf.samples.source import parse_source

_DAMAGED = Path(__file__).parent / "damaged"
_X = [TensorSpec("x", (None, 3), "float32")]


def _npy_with_shape(shape: str, dtype: str = "'<f4'") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(12)


def _zip(member: bytes, name: str = "x.npy", kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr(name, member)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ((_DAMAGED / "dt.npz").read_bytes(), "datetime64"),
        ((_DAMAGED / "zlib.npz").read_bytes(), "its compressed data is damaged"),
        (_zip(_npy_with_shape("(2**62, 2**62)")), "is invalid|malformed|larger than any memory"),
        (_zip(_npy_with_shape("(4611686018427387904, 4)")), "larger than any memory"),
        (_zip(_npy_with_shape("(-3,)")), "is invalid"),
        (_zip(_npy_with_shape("(1000000000000,)")), "the number of values differs from the header"),
        (_zip(_npy_with_shape("(3,)", "'|O'")), "objects"),
        (_zip(_npy_with_shape("(3,)", "[('a', '<f4')]")), "values of type"),
        (_zip(_npy_with_shape("(" * 200)), "is not an .npz file"),
        (_zip(_npy_with_shape("(3,)"), "a\nb.npy"), "is not an array"),
        (_zip(b"text", "x.txt"), "is not an array"),
        (b"", "is not an .npz file"),
    ],
)
def test_invalid_arrays_are_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(EdgetfError, match=why) as caught:
        load_samples(tmp_path / "s.npz", _X)
    assert str(tmp_path / "s.npz") in caught.value.message
    assert caught.value.message.isprintable()


def test_a_file_that_unpacks_to_more_than_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "s.npz", x=np.zeros((100_000, 3), np.float32))
    monkeypatch.setattr("edgetf.samples.npz._memory_bytes", lambda: 1 << 20)
    with pytest.raises(EdgetfError, match="more than half of this machine's memory") as caught:
        load_samples(tmp_path / "s.npz", _X)
    assert "np.savez" in caught.value.hint


def test_big_endian_numbers_are_converted(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "s.npz", x=values.astype(">f4"), labels=np.arange(4, dtype=">i8"))
        samples = load_samples(tmp_path / "s.npz", _X)
        assert samples.inputs["x"].dtype.isnative
        np.testing.assert_array_equal(samples.inputs["x"], values)
        assert samples.labels is not None
        assert samples.labels.tolist() == [0, 1, 2, 3]
    np.save(tmp_path / "o.npy", values.astype(">f8"))
    np.testing.assert_array_equal(read_npy(tmp_path / "o.npy", ""), values)


def test_a_variant_of_a_newer_tflite_is_reported() -> None:
    with pytest.raises(EdgetfError, match="made for a newer TFLite: operation 999"):
        read_contents(_DAMAGED / "newop.tflite")


def test_a_few_bytes_that_name_millions_of_tensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "v.tflite").write_bytes(_amplified(2000))
    assert (tmp_path / "v.tflite").stat().st_size < 40_000
    with pytest.raises(EdgetfError, match="more parts than it can contain"):
        read_contents(tmp_path / "v.tflite")


def _amplified(count: int) -> bytes:
    """A model of `count` subgraphs that are one and the same, of `count` tensors that are one and the same."""
    from ai_edge_litert import schema_py_generated as schema

    flatbuffers = importlib.import_module("flatbuffers")  # it has no types
    builder = flatbuffers.Builder(1024)
    schema.TensorStart(builder)
    tensor = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, count)
    for _ in range(count):
        builder.PrependUOffsetTRelative(tensor)
    tensors = builder.EndVector()
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    schema.ModelStartSubgraphsVector(builder, count)
    for _ in range(count):
        builder.PrependUOffsetTRelative(graph)
    graphs = builder.EndVector()
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    return bytes(builder.Output())


def test_reading_a_keras_file_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_file, "_IDLE_S", 3.0)
    with pytest.raises(EdgetfError, match=r"hang\.h5 is damaged: reading it did not end"):
        keras_file.read_header(_DAMAGED / "hang.h5")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shape": [1 << 40, 1 << 40]}, "has an impossible shape"),
        ({"shape": [0]}, "is not a float_list"),
        ({"shape": [-1]}, "out of range"),
        ({"dtype": "<i8"}, "is of type <i8 in a float_list"),
        ({"dtype": "|O", "kind": "bytes_list"}, r"is of type \|O"),
        ({"kind": "int_list"}, "is of type|is not a"),
        ({"shape": [1 << 20]}, "describes more than"),
    ],
)
def test_the_description_of_records_is_checked_before_tensorflow_reads_them(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    column = {"name": "x", "dtype": "<f4", "shape": [3], "kind": "float_list", **changes}
    reported = {"schema": 1, "columns": [column], "records": {"s.tfrecord": 4}, "digest": "0"}
    (tmp_path / "s.tfrecord").write_bytes(bytes(200))
    (tmp_path / "s.tfrecord.json").write_text(json.dumps(reported))
    with pytest.raises(EdgetfError, match=why):
        find_shards(tmp_path / "s.tfrecord")


def test_a_scale_of_a_thousand_million_digits_is_not_a_number() -> None:
    for text in ("1e999999999", "1/0", "nan", "x", "1/2/3"):
        with pytest.raises(EdgetfError, match="is not a number"):
            parse_source(f"folder:x?scale={text}").scaling()
    assert parse_source("folder:x?scale=1/255").scaling() == (1 / 255, 0.0)


def test_an_invalid_pattern_is_refused() -> None:
    with pytest.raises(EdgetfError, match="is not a path of TFRecords"):
        read_arrays("**.tfrecord", None)


# documents --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Latency:
    n: int
    median: float
    low: float
    high: float
    path: str


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("median", "NaN", "out of range"),
        ("median", "Infinity", "out of range"),
        ("median", "1e999", "out of range"),
        ("median", "-1", "out of range"),
        ("median", "1e-320", "out of range"),
        ("n", "0", "out of range"),
        ("n", "-1", "out of range"),
        ("n", "1" * 400, "too large|out of range|many digits"),
        ("n", "9" * 5000, "limit|digits"),
        ("low", "3", "has inconsistent values"),
        ("path", f'"{"x" * 300}"', "too long for a file name"),
        ("path", f'"{"x" * 100_000}"', "characters"),
        ("path", "[" * 100_000, "recursion|is not a document"),
        ("path", "7", "expected str, found 7"),
    ],
)
def test_an_impossible_value_is_refused_when_it_is_read(tmp_path: Path, field: str, value: str, why: str) -> None:
    values = {"n": "9", "median": "2.0", "low": "1.0", "high": "2.5", "path": '"a"', field: value}
    inside = ", ".join(f'"{name}": {one}' for name, one in values.items())
    (tmp_path / "d.json").write_text(f'{{"schema": 1, "latency": {{{inside}}}}}')
    with pytest.raises(EdgetfError, match=why) as caught:
        files.read_document(tmp_path / "d.json", _Document, 1)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500


@dataclass(frozen=True)
class _Document:
    schema: int
    latency: Latency


def test_texts_of_documents_become_one_printable_line(tmp_path: Path) -> None:
    text = json.dumps("a\nb\x1b[2J\u202e\ud800 \u00e9")
    values = f'{{"n": 9, "median": 2, "low": 1, "high": 3, "path": {text}}}'
    (tmp_path / "d.json").write_text(f'{{"schema": 1, "latency": {values}}}')
    assert files.read_document(tmp_path / "d.json", _Document, 1).latency.path == "a b?[2J?? \u00e9"


def test_reading_a_pipe_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "d.json")
    with pytest.raises(EdgetfError, match="is not a plain file"):
        files.read_document(tmp_path / "d.json", _Document, 1)


# the boundary -----------------------------------------------------------------------------------------------------


def _deep() -> None:
    _deep()


def _raise(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "act", [_deep, _raise(MemoryError()), _raise(KeyError("a\nb")), _raise(OSError("no number")), _raise(SystemError())]
)
def test_any_exception_of_a_library_becomes_one_line_that_names_the_file(act: Callable[[], None]) -> None:
    with pytest.raises(EdgetfError, match=r"^a\.bin is ") as caught, reading.parsing("a.bin", "a thing", "hint"):
        act()
    assert caught.value.message.isprintable()
    assert caught.value.hint == "hint"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_exceptions_that_end_edgetf_are_not_converted(error: BaseException) -> None:
    with pytest.raises(type(error)), reading.parsing("a.bin", "a thing", "hint"):
        raise error


def test_errors_of_the_system_keep_their_message(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="cannot read a: No such file"), reading.parsing("a", "a thing", ""):
        (tmp_path / "missing").read_bytes()


def test_messages_are_one_line_of_a_bounded_length() -> None:
    error = EdgetfError("a\n\n b\tc\x1b[31m" + "x" * 10_000, "do\nthis")
    assert error.message.startswith("a b cx")
    assert len(error.message) == 2000
    assert error.hint == "do this"
    assert one_line("caf\u00e9  /a  b") == "caf\u00e9  /a  b"
    assert clean("two  spaces ") == "two  spaces "


def test_limits_name_the_place_of_the_fault() -> None:
    assert limits.find_fault(_Document(1, Latency(9, 2.0, 1.0, 3.0, "a"))) == ""
    assert (
        limits.find_fault(_Document(1, Latency(9, -2.0, 1.0, 3.0, "a")))
        == "latency.median is -2, which is out of range"
    )


def test_a_name_that_no_file_system_accepts_is_refused() -> None:
    with pytest.raises(EdgetfError, match="too long for a file name"):
        load_samples("x" * 5000, _X)
