from __future__ import annotations

from pathlib import Path

import pytest

from edgetf.conversion import memory
from edgetf.conversion.memory import refuse_without_memory
from edgetf.errors import EdgetfError
from tests.conftest import Small

_FREE = "MemTotal: 900 kB\nMemAvailable: {} kB\nSwapFree: 1 kB\n"


@pytest.fixture
def free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that reports what memory is free; a small model is worth a look."""
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_LEAST", 0)
    return tmp_path / "meminfo"


def test_a_conversion_is_refused_that_needs_more_memory_than_is_free(small: Small, free: Path) -> None:
    free.write_text(_FREE.format(1))
    with pytest.raises(EdgetfError, match=r"needs 50\.3 kB of memory for 10\.1 kB of variables, and 2\.05 kB are free"):
        refuse_without_memory(small.saved_model, "serving_default")
    free.write_text(_FREE.format(1 << 20))
    refuse_without_memory(small.saved_model, "serving_default")


@pytest.mark.parametrize("text", [None, "", "MemAvailable: much\nSwapFree: 1 kB\n", "a line"])
def test_nothing_is_refused_where_it_is_unknown_what_is_free(text: str | None, small: Small, free: Path) -> None:
    if text is not None:
        free.write_text(text)
    refuse_without_memory(small.saved_model, "serving_default")


def test_nothing_is_refused_where_it_is_unknown_what_is_needed(tmp_path: Path, small: Small, free: Path) -> None:
    free.write_text(_FREE.format(1))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes((small.saved_model / "saved_model.pb").read_bytes())
    refuse_without_memory(tmp_path / "model", "serving_default")
