"""The inputs that a job runs, as files: named arrays in, a `.npy` file for each out; memory does not grow with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetf.samples.mapped import Array, release

_BLOCK_BYTES = 1 << 24
_FORMAT: Any = np.lib.format  # numpy 1.26 has no types for it


def write_inputs(inputs: Mapping[str, Array], folder: Path, order: NDArray[np.intp] | None = None) -> dict[str, str]:
    """The inputs as `folder/input-K.npy`, by name, with samples in `order` where one is given."""
    written = {}
    for k, (name, values) in enumerate(inputs.items()):
        written[name] = str(folder / f"input-{k}.npy")
        with Path(written[name]).open("wb") as file:
            header = {"descr": values.dtype.str, "fortran_order": False, "shape": values.shape}
            _FORMAT.write_array_header_1_0(file, header)
            rows = max(1, _BLOCK_BYTES // max(1, values[0].nbytes))
            for begin in range(0, len(values), rows):
                block = slice(begin, begin + rows)
                chosen = values[block] if order is None else values[order[block]]
                file.write(np.ascontiguousarray(chosen).data)
                release(values)
    return written
