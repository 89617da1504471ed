"""The factors of an equalized file: which of its tensors are those of float32 divided by a factor for each channel.

In and out: metadata of the `.tflite` file itself, so that whoever mixes files or compares their tensors cannot miss it.
Operations are numbered without QUANTIZE and DEQUANTIZE, as in `skeleton.py`: these numbers are the same in all files of
one conversion.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.conversion.constants import add_entry
from edgetf.flatbuffer import data_of, listed, pack, unpack
from edgetf.reading import parsing

STEPS = 8  # of an exponent to a power of two; coarser ones lose 1 to 2 dB of what equalization gains
MOST = 8 * STEPS  # the largest exponent, up and down
_ENTRY = "edgetf_equalized"

# by operation: the exponents of the channels of its result, which lie side by side along its last axis
Factors = Mapping[int, tuple[int, ...]]


def read_factors(model: Any) -> Factors:
    """The factors of a model; none if it is not equalized. Raises EdgetfError if they are damaged."""
    for entry in listed(model.metadata):
        if _name_of(entry) == _ENTRY:
            with parsing(f"the metadata {_ENTRY}", "a list of factors", "convert the model again"):
                return _parsed(data_of(model, entry.buffer).tobytes())
    return {}


def factors_of(content: bytes) -> Factors:
    """The factors of a flatbuffer, as `read_factors`."""
    return read_factors(unpack(content)[0])


def add_factors(model: Any, schema: Any, factors: Factors) -> None:
    """Give a model its factors; if there are none, it stays as it is."""
    if not factors:
        return
    operations: dict[tuple[int, ...], list[int]] = {}
    for operation, exponents in sorted(factors.items()):
        operations.setdefault(exponents, []).append(operation)
    text = json.dumps([[numbers, _encoded(exponents)] for exponents, numbers in operations.items()])
    add_entry(model, schema, _ENTRY, text.encode())


def renumber_factors(model: Any, schema: Any, by: int) -> None:
    """Make the factors of a model name operations that are `by` places further back."""
    factors = read_factors(model) if by else {}
    if factors:
        model.metadata = [one for one in listed(model.metadata) if _name_of(one) != _ENTRY]
        add_factors(model, schema, {operation + by: exponents for operation, exponents in factors.items()})


def with_factors(content: bytes, factors: Factors) -> bytes:
    """The flatbuffer with its factors; unchanged if there are none."""
    if not factors:
        return content
    model, schema = unpack(content)
    add_factors(model, schema, factors)
    return pack(model)


def spread(exponents: tuple[int, ...], length: int) -> NDArray[np.float64]:
    """The factors along a last axis of this length. Raises ValueError if it does not have these channels."""
    if length % len(exponents):
        raise ValueError(f"an axis of length {length} does not have {len(exponents)} channels")
    return np.exp2(np.tile(np.asarray(exponents, np.float64) / STEPS, length // len(exponents)))


def _name_of(entry: Any) -> str:
    return entry.name.decode(errors="replace") if isinstance(entry.name, bytes) else str(entry.name)


def _encoded(exponents: tuple[int, ...]) -> str:
    return base64.b64encode(np.asarray(exponents, np.int8).tobytes()).decode()


def _parsed(stored: bytes) -> Factors:
    found: dict[int, tuple[int, ...]] = {}
    for operations, encoded in json.loads(stored):
        exponents = tuple(int(one) for one in np.frombuffer(base64.b64decode(encoded, validate=True), np.int8))
        if not exponents or not all(type(k) is int and k >= 0 for k in operations):
            raise ValueError("it has no operation, or no factor")
        found |= dict.fromkeys(operations, exponents)
    return found
