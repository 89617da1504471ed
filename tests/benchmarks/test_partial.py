from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgetf.benchmarks.partial import Partial
from edgetf.errors import EdgetfError

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.int64, np.uint8, np.bool_]), hnp.array_shapes(max_dims=3, max_side=5)
)


@settings(deadline=None, max_examples=40)
@given(array=ARRAYS, other=st.integers(1, 9), stop=st.integers(1, 5), more=st.integers(0, 4))
def test_what_was_said_to_be_written_is_all_that_comes_back(
    array: NDArray[Any], other: int, stop: int, more: int
) -> None:
    """Rows are appended one by one; the run dies after `stop` were saved and `more` were not, and goes on."""
    with tempfile.TemporaryDirectory() as work:
        folder, out = Path(work, "partial"), Path(work, "out")
        out.mkdir()
        rows = {"a": array, "b": np.arange(len(array) * other, dtype=np.float64).reshape(len(array), other)}
        first = Partial(folder, "key")
        for k in range(min(stop + more, len(array))):
            first.append({name: values[k : k + 1] for name, values in rows.items()}, k + 1, 1)
            if k + 1 == min(stop, len(array)):
                first.save()
        second = Partial(folder, "key")
        assert second.progress is not None
        begun = second.progress.done
        assert begun == min(stop, len(array))
        for k in range(begun, len(array)):
            second.append({name: values[k : k + 1] for name, values in rows.items()}, k + 1, 1)
        for name, path in second.finish(out).items():
            found = np.load(path, mmap_mode="r")
            assert found.dtype == rows[name].dtype
            np.testing.assert_array_equal(found, rows[name])
        second.discard()
        assert not folder.exists()


def test_another_key_and_files_that_are_too_short_start_over(tmp_path: Path) -> None:
    for spoil in ("key", "file", "progress"):
        begun = Partial(tmp_path / "partial", "key")
        begun.append({"a": np.zeros((4, 3))}, 4, 4)
        begun.save()
        if spoil == "file":
            (tmp_path / "partial" / "output-0.npy").write_bytes(b"short")
        if spoil == "progress":
            (tmp_path / "partial" / "progress.json").write_text("{")
        assert Partial(tmp_path / "partial", "other" if spoil == "key" else "key").progress is None
        assert not (tmp_path / "partial").exists()


def test_an_output_that_changes_its_shape_is_refused(tmp_path: Path) -> None:
    begun = Partial(tmp_path / "partial", "key")
    begun.append({"a": np.zeros((4, 3))}, 4, 4)
    with pytest.raises(EdgetfError, match="changes its shape"):
        begun.append({"a": np.zeros((4, 2))}, 8, 4)
