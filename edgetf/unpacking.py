"""In: the bytes of a flatbuffer. Out: mutable objects of its schema, whose constants are views of these bytes.

Like `read_model_from_bytearray` in LiteRT's tools, without a copy of constants, of which there may be gigabytes.
Reading takes a tenth of a millisecond for each operation, and one pass after another reads the same bytes: of models
with many operations the last few are kept, from which new objects are made in a seventh of the time.
"""

from __future__ import annotations

import gc
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

_KEPT = 4  # models
_LARGEST_KEPT = 1 << 25  # bytes of a model that is kept
_LEAST_KEPT = 1 << 17  # a smaller one has few operations


@dataclass(frozen=True)
class _Read:
    """A model that was read: its objects as a pickle of this process, and its constants."""

    objects: bytes
    constants: list[pickle.PickleBuffer]


_READ: OrderedDict[bytes, _Read] = OrderedDict()


def to_model(content: bytes, schema: Any) -> Any:
    """The `ModelT` of a valid flatbuffer, new for each call. Constants are read-only arrays, wherever they are."""
    if not _LEAST_KEPT <= len(content) <= _LARGEST_KEPT:
        return _read(content, schema)
    found = _READ.pop(content, None) or _keep(_read(content, schema))
    _READ[content] = found  # the last one
    while len(_READ) > _KEPT:
        _READ.popitem(last=False)
    with _uncollected():
        return pickle.loads(found.objects, buffers=found.constants)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for garbage: it takes two thirds of the time in which many objects are made that all stay."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _keep(model: Any) -> _Read:
    constants: list[pickle.PickleBuffer] = []
    return _Read(pickle.dumps(model, pickle.HIGHEST_PROTOCOL, buffer_callback=constants.append), constants)


def _read(content: bytes, schema: Any) -> Any:
    with _uncollected():
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    _gather(model, content)
    place = _drop_empty(model)
    for tensor in (one for graph in listed(model.subgraphs) for one in listed(graph.tensors)):
        tensor.buffer = place[tensor.buffer]
    for entry in listed(model.metadata):
        entry.buffer = place[entry.buffer]
    for part in (*listed(model.subgraphs), *listed(model.signatureDefs)):
        _make_lists(part)
    return model


def listed(vector: Any) -> list[Any]:
    """A vector of the flatbuffer as a list: an empty one, such as a scalar's shape, is None there."""
    return [] if vector is None else list(vector)


def _gather(model: Any, content: bytes) -> None:
    """Take what is stored after the flatbuffer, as it is if there are more than 2 GB."""
    for buffer in model.buffers:
        if buffer.offset:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    for operator in (one for graph in listed(model.subgraphs) for one in listed(graph.operators)):
        if operator.largeCustomOptionsOffset:
            size, begin = operator.largeCustomOptionsSize, operator.largeCustomOptionsOffset
            operator.customOptions = np.frombuffer(content, np.uint8, size, begin)
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0


def _drop_empty(model: Any) -> list[int]:
    """Keep buffers with data, behind an empty one; return the new place of each."""
    kept, place = [type(model.buffers[0])()], []
    for buffer in model.buffers:
        place.append(len(kept) if buffer.data is not None else 0)
        kept += [buffer] if buffer.data is not None else []
    model.buffers = kept
    return place


def _make_lists(part: Any) -> None:
    """Replace integer vectors of a table and of all tables in it, which are read-only arrays, by lists."""
    for name, value in vars(part).items():
        if isinstance(value, np.ndarray):
            if value.dtype == np.int32:
                setattr(part, name, value.tolist())
        elif isinstance(value, list):
            for one in value:
                if hasattr(one, "__dict__"):
                    _make_lists(one)
        elif hasattr(value, "__dict__"):
            _make_lists(value)
