"""Sources of Samples too large to hold, as `tf.data` batches that keep a GPU fed.

Samples that fit into memory are better served by `pipeline.Pipeline`, whose order can be resumed anywhere. Here shards
of TFRecord are read side by side, decompressed and parsed on all cores, shuffled in a buffer, and handed out ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgetf.backend import load_tensorflow
from edgetf.errors import EdgetfError
from edgetf.results import TensorSpec
from edgetf.samples import LABELS, SampleSource, load_samples
from edgetf.samples.records import compression, fields_of, find_shards, is_records, parser
from edgetf.samples.source import PATH, parse_source

_BUFFER = 10_000  # samples among which the order is drawn
_PARSED = 64  # records that are parsed at once
_SIDE_BY_SIDE = 16  # shards that are read at once


def feed(source: SampleSource, inputs: Sequence[TensorSpec], batch: int, seed: int | None, cache: bool = False) -> Any:
    """A `tf.data.Dataset` of (inputs, labels) batches, inputs by name; each pass over it is shuffled again.

    `seed` None keeps the order of the source. `cache` keeps what was parsed in memory after the first pass. The same
    seed gives the same batches. Raises EdgetfError for a source without labels.
    """
    tf = load_tensorflow()
    parts = parse_source(source)
    if parts.kind is PATH and is_records(Path(parts.rest)):
        rows = _records(tf, Path(parts.rest), inputs, parts.options, seed)
    else:
        samples = load_samples(source, inputs)
        _need_labels(source, samples.labels is not None)
        rows = tf.data.Dataset.from_tensor_slices((dict(samples.inputs), samples.labels))
    rows = rows.cache() if cache else rows
    rows = rows if seed is None else rows.shuffle(_BUFFER, seed=seed, reshuffle_each_iteration=True)
    return rows.batch(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _records(tf: Any, place: Path, inputs: Sequence[TensorSpec], named: dict[str, str], seed: int | None) -> Any:
    shards = find_shards(place)
    fields = fields_of(shards, place, inputs, named)
    _need_labels(place, LABELS in fields)
    parse = parser(fields)

    def split(batch: Any) -> Any:
        found = parse(batch)
        labels = found.pop(LABELS)
        return found, labels

    names = tf.data.Dataset.from_tensor_slices([str(file) for file in shards.files])
    # the order among shards is fixed: the same seed gives the same batches
    rows = names.interleave(
        lambda name: tf.data.TFRecordDataset(name, compression(shards.files[0])).batch(_PARSED),
        cycle_length=1 if seed is None else min(len(shards.files), _SIDE_BY_SIDE),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return rows.map(split, tf.data.AUTOTUNE).unbatch()


def _need_labels(source: SampleSource, there: bool) -> None:
    if not there:
        raise EdgetfError(f"{source} has no labels to train on", f"name them: '{source}?labels=FEATURE'")
