"""The inputs that a job runs, as files: named arrays in, a `.npy` file for each out; memory does not grow with them.

The digest of each is computed in a second thread while it is written, so that no one has to read it for that.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.digests import remember
from edgetf.samples.mapped import BLOCK_BYTES, Array, release

_FORMAT: Any = np.lib.format  # numpy 1.26 has no types for it


def write_inputs(inputs: Mapping[str, Array], folder: Path, order: NDArray[np.intp] | None = None) -> dict[str, str]:
    """The inputs as `folder/input-K.npy`, by name, with samples in `order` where one is given."""
    written = {}
    with ThreadPoolExecutor(1) as hashing:
        for k, (name, values) in enumerate(inputs.items()):
            path = folder / f"input-{k}.npy"
            remember(path, _write(path, values, order, hashing))
            written[name] = str(path)
    return written


def _write(path: Path, values: Array, order: NDArray[np.intp] | None, hashing: ThreadPoolExecutor) -> str:
    """Write one input; returns the digest of the file."""
    digest, header = hashlib.sha256(), io.BytesIO()
    _FORMAT.write_array_header_1_0(header, {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape})
    digest.update(header.getvalue())
    rows = max(1, BLOCK_BYTES // max(1, values[0].nbytes))
    with path.open("wb") as file:
        file.write(header.getvalue())
        for begin in range(0, len(values), rows):
            block = slice(begin, begin + rows)
            content = np.ascontiguousarray(values[block] if order is None else values[order[block]]).data
            hashed = hashing.submit(digest.update, content)
            file.write(content)
            hashed.result()
            release(values)
    return digest.hexdigest()
