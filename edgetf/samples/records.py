"""TFRecord: Samples written to and read from shards of `tf.train.Example`, record by record.

float32 becomes a `float_list` and int64 an `int64_list`, which any reader understands; other types are stored as the
raw bytes of the row. `NAME.json` beside the shards contains names, types, shapes, the number of records in each shard
and the digest, so that a missing shard or record is detected. Records that edgetf did not write have no such file: they
are read by the model's signature. TensorFlow is imported only here, and only when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgetf import files
from edgetf.arrays import foreign_kind
from edgetf.backend import load_tensorflow
from edgetf.errors import EdgetfError, one_line
from edgetf.reading import parsing
from edgetf.results import TensorSpec
from edgetf.samples.core import LABELS, label_name
from edgetf.samples.formats import RECORDS
from edgetf.samples.mapped import Array, Spool, release

# 1: first
RECORDS_SCHEMA = 1
_SHARD = re.compile(r"(?P<stem>.+)-(?P<k>\d{5})-of-(?P<of>\d{5})(?P<suffix>\.tfrecord(\.gz)?)")
_BATCH = 64
_MOST_AXES, _MOST_ROW = 16, 1 << 31  # of one sample; the maximum size of a protocol buffer
_DEFLATED = 1032  # the maximum compression ratio of DEFLATE
_AGAIN = "write it again"
_KINDS = {"<f4": "float_list", "<i8": "int64_list"}


@dataclass(frozen=True)
class Column:
    """The storage of one array: numpy's `dtype` (such as "<f4"), the shape of one sample, the field of the Feature."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: str

    @property
    def feature(self) -> Any:
        """The feature specification for `tf.io.parse_example`."""
        tf = load_tensorflow()
        types = {"float_list": tf.float32, "int64_list": tf.int64}
        if self.kind in types:
            return tf.io.FixedLenFeature(self.shape, types[self.kind])
        return tf.io.FixedLenFeature([], tf.string)


@dataclass(frozen=True)
class Field:
    """A Column's key in the Examples, and the dtype to cast it to (None: unchanged)."""

    column: Column
    key: str
    becomes: np.dtype[Any] | None = None


@dataclass(frozen=True)
class RecordSet:
    """`NAME.json`: the columns of the shards, and the number of records in each shard, in order."""

    schema: int
    columns: tuple[Column, ...]
    records: dict[str, int]
    digest: str


def is_records(path: Path) -> bool:
    """Whether the name, or the content of the folder, is that of TFRecords."""
    if path.is_dir():
        return any(child.name.endswith(RECORDS) for child in path.iterdir())
    return path.name.endswith(RECORDS)


# writing ----------------------------------------------------------------------------------------------------------


def write_records(out: Path, arrays: Mapping[str, Array], shards: int, digest: str, force: bool) -> None:
    """Write arrays, samples along axis 0, to `out` (`NAME.tfrecord` or `.tfrecord.gz`), or to `shards` files beside it.

    `digest` is that of the Samples. Raises EdgetfError for more shards than samples, and for existing files unless
    `force`.
    """
    n = len(next(iter(arrays.values())))
    if not 1 <= shards <= n:
        raise EdgetfError(f"{n} samples cannot fill {shards} shards", f"give 1 to {n}")
    load_tensorflow()
    columns = tuple(_stored(name, array) for name, array in arrays.items())
    bounds = [n * k // shards for k in range(shards + 1)]
    names = [out.name] if shards == 1 else [_shard_name(out.name, k, shards) for k in range(shards)]
    with files.staged(out.parent, [*names, f"{out.name}.json"], force) as staging:
        for name, begin, end in zip(names, bounds, bounds[1:], strict=False):
            _write_shard(staging / name, arrays, columns, range(begin, end))
        counts = {name: bounds[k + 1] - bounds[k] for k, name in enumerate(names)}
        files.write_document(staging / f"{out.name}.json", RecordSet(RECORDS_SCHEMA, columns, counts, digest))


def _stored(name: str, array: Array) -> Column:
    dtype, row = array.dtype.str, array.shape[1:]
    return Column(name, dtype, row, "bytes_list" if 0 in row else _KINDS.get(dtype, "bytes_list"))


def _shard_name(name: str, k: int, of: int) -> str:
    stem, suffix = name[: name.rindex(".tfrecord")], name[name.rindex(".tfrecord") :]
    return f"{stem}-{k:05}-of-{of:05}{suffix}"


def _write_shard(path: Path, arrays: Mapping[str, Array], columns: Sequence[Column], rows: range) -> None:
    tf = load_tensorflow()
    with tf.io.TFRecordWriter(str(path), compression(path)) as writer:
        for begin in range(rows.start, rows.stop, _BATCH):
            end = min(begin + _BATCH, rows.stop)
            block = {column.name: arrays[column.name][begin:end] for column in columns}
            for k in range(end - begin):
                feature = {column.name: _feature(tf.train, column, block[column.name][k]) for column in columns}
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
            for array in block.values():
                release(array)


def _feature(train: Any, column: Column, row: Any) -> Any:
    values = np.asarray(row)
    if column.kind == "float_list":
        return train.Feature(float_list=train.FloatList(value=values.ravel().tolist()))
    if column.kind == "int64_list":
        return train.Feature(int64_list=train.Int64List(value=values.ravel().tolist()))
    return train.Feature(bytes_list=train.BytesList(value=[np.asarray(values, column.dtype).tobytes()]))


def compression(path: Path) -> str:
    """TensorFlow's name for a file's compression, by the file's suffix."""
    return "GZIP" if path.name.endswith(".gz") else ""


# reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shards:
    """The files of one set, in order, and its `NAME.json` if there is one."""

    files: tuple[Path, ...]
    record_set: RecordSet | None


def find_shards(place: Path) -> Shards:
    """The files at `place`: a file, the NAME.tfrecord of a set of shards, a pattern, or a folder with one set.

    Raises EdgetfError if there is no set or several sets, and for a missing shard.
    """
    folder = place if place.is_dir() else place.parent
    pattern = "*" if place.is_dir() else place.name
    with parsing(place, "a path of TFRecords", "give NAME.tfrecord, its shards' folder, or a pattern"):
        match = [path for path in folder.glob(pattern) if path.name.endswith(RECORDS)]
    if not match and "*" not in pattern:
        stem, suffix = place.name[: place.name.rindex(".tfrecord")], place.name[place.name.rindex(".tfrecord") :]
        match = list(folder.glob(f"{stem}-?????-of-?????{suffix}"))
    shards = {path.name: _SHARD.fullmatch(path.name) for path in match}
    sets = sorted({f"{m['stem']}{m['suffix']}" if m else name for name, m in shards.items()})
    if len(sets) > 1:
        raise EdgetfError(f"{place} holds several sets: {', '.join(sets)}", f"give one, such as {folder / sets[0]}")
    sidecar = folder / f"{sets[0] if sets else place.name}.json"
    record_set = _read_sidecar(sidecar) if sidecar.is_file() else None
    if not sets and record_set is None:
        raise EdgetfError(f"there are no samples at {place}", "give NAME.tfrecord, its shards' folder, or a pattern")
    names = list(record_set.records) if record_set else sorted(shards)
    if not record_set and (first := shards[names[0]]):
        names = [_shard_name(sets[0], k, int(first["of"])) for k in range(int(first["of"]))]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise EdgetfError(f"{missing[0]} is missing: {place} has {len(names)} shards", f"put it into {folder}")
    found = Shards(tuple(folder / name for name in names), record_set)
    if record_set is not None:
        _refuse_absurd(sidecar, found, record_set)
    return found


def _read_sidecar(file: Path) -> RecordSet:
    """Read `NAME.json`. It is checked because TensorFlow's parser can crash on a wrong specification."""
    record_set = files.read_document(file, RecordSet, RECORDS_SCHEMA)
    with parsing(file, "a description of TFRecords", _AGAIN):
        if not record_set.columns or len({column.name for column in record_set.columns}) < len(record_set.columns):
            raise ValueError("it names no columns, or a column twice")
        for column in record_set.columns:
            _check_column(column)
        for name in record_set.records:
            if Path(name).name != name or not name.endswith(RECORDS):
                raise ValueError(f"{name!r} is not a shard")
    return record_set


def _check_column(column: Column) -> None:
    """Raise ValueError for an impossible column."""
    dtype = np.dtype(column.dtype)
    if foreign_kind(dtype) or (_KINDS.get(column.dtype, column.kind) != column.kind and column.kind != "bytes_list"):
        raise ValueError(f"{column.name!r} is of type {column.dtype} in a {column.kind}")
    if column.kind not in {*_KINDS.values(), "bytes_list"} or (column.kind != "bytes_list" and 0 in column.shape):
        raise ValueError(f"{column.name!r} of shape {column.shape} is not a {column.kind}")
    if len(column.shape) > _MOST_AXES or prod(column.shape) * dtype.itemsize > _MOST_ROW:
        raise ValueError(f"{column.name!r} has an impossible shape: {column.shape}")


def _refuse_absurd(sidecar: Path, shards: Shards, record_set: RecordSet) -> None:
    """Raise EdgetfError if the shards are too small for the content described in `NAME.json`."""
    # the minimum size of a number: 4 bytes of float32, one byte of a small int64
    rows = [prod(c.shape) * {"float_list": 4, "int64_list": 1}.get(c.kind, np.dtype(c.dtype).itemsize)
            for c in record_set.columns]  # fmt: skip
    for file in shards.files:
        most = file.stat().st_size * (_DEFLATED if compression(file) else 1)
        if record_set.records[file.name] * sum(rows) > most:
            raise EdgetfError(f"{sidecar} describes more than {file.name} can hold: one of them is damaged", _AGAIN)


def fields_of(
    shards: Shards, place: Path, inputs: Sequence[TensorSpec] | None, named: Mapping[str, str]
) -> dict[str, Field]:
    """The fields of the records by name, from `NAME.json`, or from the signature and the first record."""
    if shards.record_set is not None:
        return {column.name: Field(column, column.name) for column in shards.record_set.columns}
    if inputs is None:
        raise EdgetfError(
            f"there is no {place.name}.json that describes {place}", "give its model: edgetf samples show --model MODEL"
        )
    with parsing(shards.files[0], "a TFRecord file of Examples", _AGAIN):
        return _guess_fields(shards, place, inputs, named)


def _guess_fields(
    shards: Shards, place: Path, inputs: Sequence[TensorSpec], named: Mapping[str, str]
) -> dict[str, Field]:
    """The fields of records that edgetf did not write, from the signature and the first record."""
    first = next(_records(shards.files[0]), None)
    if first is None:
        raise EdgetfError(f"{shards.files[0]} has no samples", _AGAIN)
    features = load_tensorflow().train.Example.FromString(first).features.feature
    found = {}
    for spec in inputs:
        key = named.get(spec.name, spec.name)
        _check_feature(place, key, features, spec.name)
        found[spec.name] = Field(_column(place, spec, features[key]), key, np.dtype(spec.dtype))
    names = [spec.name for spec in inputs]
    labels = label_name(names)
    of_outputs = [name for name in named if name.startswith(f"{LABELS}_") and name not in names]
    for name in dict.fromkeys([labels, *of_outputs]):
        key = named.get(name, name)
        if name in named:
            _check_feature(place, key, features, name)
        if key in features:
            found[name] = Field(_label_column(place, name, features[key]), key)
    for field in found.values():
        _check_column(field.column)
    return found


def read_records(
    place: Path, inputs: Sequence[TensorSpec] | None, named: Mapping[str, str]
) -> tuple[dict[str, Array], str | None]:
    """All records as arrays in temporary files, and the digest of the set, if recorded.

    For records that edgetf did not write, `named` maps an input of the signature, or `labels`, to a feature. Raises
    EdgetfError that names the file and the record, for damaged or unsuitable records.
    """
    shards = find_shards(place)
    fields = fields_of(shards, place, inputs, named)
    spool = Spool(str(place))
    for file in shards.files:
        count = 0
        with parsing(file, "a TFRecord file of Examples", _AGAIN):
            for batch in _batches(file):
                spool.append(_parse(file, count, batch, fields))
                count += len(batch)
        if shards.record_set and count != shards.record_set.records[file.name]:
            raise EdgetfError(f"{file} has {count} records, of {shards.record_set.records[file.name]}", _AGAIN)
    return spool.arrays(), shards.record_set.digest if shards.record_set else None


def parser(fields: Mapping[str, Field]) -> Callable[[Any], dict[str, Any]]:
    """A function for tf.data that parses a batch of serialized Examples to tensors by name."""
    tf = load_tensorflow()
    features = {field.key: field.column.feature for field in fields.values()}

    def parse(batch: Any) -> dict[str, Any]:
        parsed, found = tf.io.parse_example(batch, features), {}
        for name, field in fields.items():
            values = parsed[field.key]
            if field.column.kind == "bytes_list":
                raw = tf.io.decode_raw(values, tf.as_dtype(np.dtype(field.column.dtype)))
                values = tf.reshape(raw, [-1, *field.column.shape])
            found[name] = values if field.becomes is None else tf.cast(values, tf.as_dtype(field.becomes))
        return found

    return parse


def _batches(file: Path) -> Iterator[list[bytes]]:
    """Serialized records, some at a time."""
    records = _records(file)
    while batch := list(islice(records, _BATCH)):
        yield batch


def _records(file: Path) -> Iterator[bytes]:
    """Serialized records; an error of the format names the record.

    Not tf.data.TFRecordDataset, which traces a function for each file.
    """
    tf = load_tensorflow()
    count = 0
    try:
        for record in tf.compat.v1.io.tf_record_iterator(str(file), compression(file)):
            yield record
            count += 1
    except tf.errors.OpError as error:
        raise EdgetfError(f"{file} is damaged at record {count}: {one_line(error.message)}", _AGAIN) from error


def _parse(file: Path, begin: int, batch: list[bytes], fields: Mapping[str, Field]) -> dict[str, Array]:
    """Arrays by name from serialized records; the first is number `begin` in its file."""
    tf = load_tensorflow()
    try:
        parsed = tf.io.parse_example(batch, {field.key: field.column.feature for field in fields.values()})
    except tf.errors.OpError as error:
        for k in range(len(batch) if len(batch) > 1 else 0):  # the damaged one raises, with its number
            _parse(file, begin + k, batch[k : k + 1], fields)
        raise EdgetfError(f"{file}, record {begin}: {_reason(error.message)}", _AGAIN) from error
    found = {}
    for name, field in fields.items():
        values = parsed[field.key].numpy()
        if field.column.kind == "bytes_list":
            values = _from_bytes(file, begin, field.column, values)
        if field.becomes is not None and values.dtype != field.becomes:
            cast = values.astype(field.becomes)
            if not np.array_equal(cast.astype(values.dtype), values):
                message = f"{file}: {field.key!r} has values that do not fit {field.becomes.name}"
                raise EdgetfError(message, "give a model that accepts them, or write them again")
            values = cast
        found[name] = values
    return found


def _from_bytes(file: Path, begin: int, column: Column, texts: Any) -> Array:
    dtype = np.dtype(column.dtype)
    size = dtype.itemsize * int(np.prod(column.shape, dtype=np.int64))
    for k, text in enumerate(texts):
        if len(text) != size:
            message = f"{file}, record {begin + k}: {column.name!r} has {len(text)} bytes, {size} are expected"
            raise EdgetfError(message, "raw little-endian values of one sample are read; decode images before")
    return np.frombuffer(b"".join(texts), dtype).reshape(len(texts), *column.shape)


def _reason(message: str) -> str:
    """The informative part of TensorFlow's message."""
    found = re.search(r"Key: .*", message)
    return found[0].rstrip(".") if found else one_line(message)


def _check_feature(place: Path, key: str, features: Mapping[str, Any], name: str) -> None:
    if key not in features:
        hint = f"its features: {', '.join(sorted(features))}; name one: '{place}?{name}=FEATURE'"
        raise EdgetfError(f"{place} has no feature {key!r}", hint)


def _column(place: Path, spec: TensorSpec, feature: Any) -> Column:
    """The storage of an input in records that edgetf did not write."""
    kind, dtype = feature.WhichOneof("kind") or "", np.dtype(spec.dtype)
    fits = {"float_list": dtype in (np.float32, np.float64), "int64_list": dtype.kind in "iub", "bytes_list": True}
    free = [axis for axis in spec.shape[1:] if axis is None]
    if not fits.get(kind) or len(free) > 1:
        raise EdgetfError(f"{place}: {spec.name!r} is a {kind}, the model takes {spec.describe()}", _AGAIN)
    values = getattr(feature, kind).value
    have = len(b"".join(values)) // dtype.itemsize if kind == "bytes_list" else len(values)
    row = spec.shape[1:]
    size = int(np.prod([axis or 1 for axis in row], dtype=np.int64))
    if spec.batched is False or (None not in row and have != size and len(spec.shape) == 1):
        row = spec.shape  # an input without a batch axis
        size = int(np.prod([axis or 1 for axis in row], dtype=np.int64))
    shape = tuple(have // size if axis is None else axis for axis in row)
    return Column(spec.name, {"float_list": "<f4", "int64_list": "<i8"}.get(kind, dtype.str), shape, kind)


def _label_column(place: Path, name: str, feature: Any) -> Column:
    kind = feature.WhichOneof("kind")
    if kind not in ("float_list", "int64_list"):
        raise EdgetfError(f"{place}: the labels are a {kind}", "write them as int64_list or float_list")
    n = len(getattr(feature, kind).value)
    return Column(name, "<f4" if kind == "float_list" else "<i8", () if n == 1 else (n,), kind)
