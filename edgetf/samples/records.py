"""TFRecord: Samples written to and read from shards of `tf.train.Example`, record by record.

float32 becomes a `float_list` and int64 an `int64_list`, which any reader understands; other types are the raw bytes of
the row. Beside the shards lies `NAME.json` with names, types, shapes, the records of each shard and the digest, so that
nothing is guessed and a lost shard or record is told. Records of others have none: they are read by the model's
signature. TensorFlow is imported only here, and only when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetf import files
from edgetf.backend import load_tensorflow
from edgetf.errors import EdgetfError
from edgetf.results import TensorSpec
from edgetf.samples.core import LABELS
from edgetf.samples.mapped import Array, Spool, release

# 1: first
RECORDS_SCHEMA = 1
SUFFIXES = (".tfrecord", ".tfrecord.gz")
_SHARD = re.compile(r"(?P<stem>.+)-(?P<k>\d{5})-of-(?P<of>\d{5})(?P<suffix>\.tfrecord(\.gz)?)")
_BATCH = 64
_KINDS = {"<f4": "float_list", "<i8": "int64_list"}


@dataclass(frozen=True)
class Column:
    """One array as it is stored: numpy's `dtype` (such as "<f4"), the shape of one sample, the field of the Feature."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: str

    @property
    def feature(self) -> Any:
        """What `tf.io.parse_example` is to look for."""
        tf = load_tensorflow()
        types = {"float_list": tf.float32, "int64_list": tf.int64}
        if self.kind in types:
            return tf.io.FixedLenFeature(self.shape, types[self.kind])
        return tf.io.FixedLenFeature([], tf.string)


@dataclass(frozen=True)
class Field:
    """Where a Column lies in the Examples, and the dtype that it is cast to (None: as it is)."""

    column: Column
    key: str
    becomes: np.dtype[Any] | None = None


@dataclass(frozen=True)
class RecordSet:
    """`NAME.json`: what lies in the shards, and how many records each has, in order."""

    schema: int
    columns: tuple[Column, ...]
    records: dict[str, int]
    digest: str


def is_records(path: Path) -> bool:
    """Whether the name, or what lies in the folder, says that these are TFRecords."""
    if path.is_dir():
        return any(child.name.endswith(SUFFIXES) for child in path.iterdir())
    return path.name.endswith(SUFFIXES)


# writing ----------------------------------------------------------------------------------------------------------


def write_records(out: Path, arrays: Mapping[str, Array], shards: int, digest: str, force: bool) -> None:
    """Write arrays, samples along axis 0, to `out` (`NAME.tfrecord` or `.tfrecord.gz`), or to `shards` files beside it.

    `digest` is that of the Samples. Raises EdgetfError for more shards than samples, and where something is in the
    way and not `force`.
    """
    n = len(next(iter(arrays.values())))
    if not 1 <= shards <= n:
        raise EdgetfError(f"{n} samples do not make {shards} shards", f"ask for 1 to {n}")
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
    """TensorFlow's name for how a file is compressed, by its own name."""
    return "GZIP" if path.name.endswith(".gz") else ""


# reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shards:
    """The files of one set, in order, and its `NAME.json` where there is one."""

    files: tuple[Path, ...]
    told: RecordSet | None


def find_shards(place: Path) -> Shards:
    """The files at `place`: a file, the NAME.tfrecord of a set of shards, a pattern, or a folder with one set.

    Raises EdgetfError where there are none or several sets, and for a shard that is missing.
    """
    folder = place if place.is_dir() else place.parent
    pattern = "*" if place.is_dir() else place.name
    match = [path for path in folder.glob(pattern) if path.name.endswith(SUFFIXES)]
    if not match and "*" not in pattern:
        stem, suffix = place.name[: place.name.rindex(".tfrecord")], place.name[place.name.rindex(".tfrecord") :]
        match = list(folder.glob(f"{stem}-?????-of-?????{suffix}"))
    shards = {path.name: _SHARD.fullmatch(path.name) for path in match}
    sets = sorted({f"{m['stem']}{m['suffix']}" if m else name for name, m in shards.items()})
    if len(sets) > 1:
        raise EdgetfError(f"{place} holds several sets: {', '.join(sets)}", f"give one, such as {folder / sets[0]}")
    sidecar = folder / f"{sets[0] if sets else place.name}.json"
    told = files.read_document(sidecar, RecordSet, RECORDS_SCHEMA) if sidecar.is_file() else None
    if not sets and told is None:
        raise EdgetfError(f"there are no samples at {place}", "give NAME.tfrecord, its shards' folder, or a pattern")
    names = list(told.records) if told else sorted(shards)
    if not told and (first := shards[names[0]]):
        names = [_shard_name(sets[0], k, int(first["of"])) for k in range(int(first["of"]))]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise EdgetfError(f"{missing[0]} is missing: {place} has {len(names)} shards", f"put it into {folder}")
    return Shards(tuple(folder / name for name in names), told)


def fields_of(
    shards: Shards, place: Path, inputs: Sequence[TensorSpec] | None, named: Mapping[str, str]
) -> dict[str, Field]:
    """What the records hold, by name; told by `NAME.json`, or else by the signature and the first record."""
    if shards.told is not None:
        return {column.name: Field(column, column.name) for column in shards.told.columns}
    if inputs is None:
        raise EdgetfError(f"no {place.name}.json says what {place} holds", "give the model that it is for with --model")
    first = next(_records(shards.files[0]), None)
    if first is None:
        raise EdgetfError(f"{shards.files[0]} has no samples", "write it again")
    features = load_tensorflow().train.Example.FromString(first).features.feature
    found = {}
    for spec in inputs:
        key = named.get(spec.name, spec.name)
        _check_feature(place, key, features, spec.name)
        found[spec.name] = Field(_column(place, spec, features[key]), key, np.dtype(spec.dtype))
    key = named.get(LABELS, LABELS)
    if LABELS in named:
        _check_feature(place, key, features, LABELS)
    if key in features:
        found[LABELS] = Field(_label_column(place, features[key]), key)
    return found


def read_records(
    place: Path, inputs: Sequence[TensorSpec] | None, named: Mapping[str, str]
) -> tuple[dict[str, Array], str | None]:
    """All records as arrays that lie in temporary files, and the digest that the set should have, if it tells one.

    `named` says which feature stands for an input of the signature, or for `labels`, in records of others. Raises
    EdgetfError that names the file and the record for what is damaged or does not fit.
    """
    shards = find_shards(place)
    fields = fields_of(shards, place, inputs, named)
    spool = Spool(str(place))
    for file in shards.files:
        count = 0
        for batch in _batches(file):
            spool.append(_parse(file, count, batch, fields))
            count += len(batch)
        if shards.told and count != shards.told.records[file.name]:
            raise EdgetfError(f"{file} has {count} records, of {shards.told.records[file.name]}", "write it again")
    return spool.arrays(), shards.told.digest if shards.told else None


def parser(fields: Mapping[str, Field]) -> Callable[[Any], dict[str, Any]]:
    """A function for tf.data: a batch of serialized Examples in, tensors by name out."""
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


def _batches(file: Path) -> Iterator[Any]:
    """Arrays of serialized records; an error of the format names the record."""
    tf = load_tensorflow()
    dataset = tf.data.TFRecordDataset(str(file), compression(file)).batch(_BATCH)
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        for _ in _records(file):  # raises at the record
            pass
        raise EdgetfError(f"{file} cannot be read: {error.message}", "write it again") from error


def _records(file: Path) -> Iterator[bytes]:
    tf = load_tensorflow()
    count = 0
    try:
        for record in tf.data.TFRecordDataset(str(file), compression(file)).as_numpy_iterator():
            yield record
            count += 1
    except tf.errors.OpError as error:
        told = error.message.splitlines()[0]
        raise EdgetfError(f"{file} is damaged at record {count}: {told}", "write it again") from error


def _parse(file: Path, begin: int, batch: Any, fields: Mapping[str, Field]) -> dict[str, Array]:
    """Arrays by name from serialized records, of which the first is number `begin` in its file."""
    tf = load_tensorflow()
    try:
        parsed = tf.io.parse_example(batch, {field.key: field.column.feature for field in fields.values()})
    except tf.errors.OpError as error:
        for k in range(len(batch) if len(batch) > 1 else 0):  # one of them raises, and is named
            _parse(file, begin + k, batch[k : k + 1], fields)
        raise EdgetfError(f"{file}, record {begin}: {_reason(error.message)}", "write it again") from error
    found = {}
    for name, field in fields.items():
        values = parsed[field.key].numpy()
        if field.column.kind == "bytes_list":
            values = _from_bytes(file, begin, field.column, values)
        if field.becomes is not None and values.dtype != field.becomes:
            cast = values.astype(field.becomes)
            if not np.array_equal(cast.astype(values.dtype), values):
                message = f"{file}: {field.key!r} has values that are no {field.becomes.name}"
                raise EdgetfError(message, "give a model that takes them, or write them again")
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
    """TensorFlow's own words, from where they say something."""
    found = re.search(r"Key: .*", message)
    return found[0].rstrip(".") if found else message.splitlines()[0]


def _check_feature(place: Path, key: str, features: Mapping[str, Any], name: str) -> None:
    if key not in features:
        hint = f"its features: {', '.join(sorted(features))}; name one: '{place}?{name}=FEATURE'"
        raise EdgetfError(f"{place} has no feature {key!r}", hint)


def _column(place: Path, spec: TensorSpec, feature: Any) -> Column:
    """How an input is stored in records of others."""
    kind, dtype = feature.WhichOneof("kind") or "", np.dtype(spec.dtype)
    fits = {"float_list": dtype in (np.float32, np.float64), "int64_list": dtype.kind in "iub", "bytes_list": True}
    free = [axis for axis in spec.shape[1:] if axis is None]
    if not fits.get(kind) or len(free) > 1:
        raise EdgetfError(f"{place}: {spec.name!r} is a {kind}, the model takes {spec.describe()}", "write it again")
    values = getattr(feature, kind).value
    have = len(b"".join(values)) // dtype.itemsize if kind == "bytes_list" else len(values)
    size = int(np.prod([axis or 1 for axis in spec.shape[1:]], dtype=np.int64))
    shape = tuple(have // size if axis is None else axis for axis in spec.shape[1:])
    return Column(spec.name, {"float_list": "<f4", "int64_list": "<i8"}.get(kind, dtype.str), shape, kind)


def _label_column(place: Path, feature: Any) -> Column:
    kind = feature.WhichOneof("kind")
    if kind not in ("float_list", "int64_list"):
        raise EdgetfError(f"{place}: the labels are a {kind}", "write them as int64_list or float_list")
    n = len(getattr(feature, kind).value)
    return Column(LABELS, "<f4" if kind == "float_list" else "<i8", () if n == 1 else (n,), kind)
