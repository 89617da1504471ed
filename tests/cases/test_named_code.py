from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import named_code
from tests.conftest import Run

pytestmark = pytest.mark.parametrize("name", ["printed.h5", "fetched.keras"])


def test_a_file_that_names_functions_that_write_is_refused_before_they_run(
    name: str, tmp_path: Path, edgetf: Run
) -> None:
    named_code.make(tmp_path)
    done = edgetf("inspect", name)
    assert done.returncode == 1
    assert "which loading it would run" in done.stderr
    assert not (tmp_path / "MARK").exists()


def test_the_refused_functions_run_with_trust(name: str, tmp_path: Path, edgetf: Run) -> None:
    named_code.make(tmp_path)
    edgetf("convert", name, "--trust", "--scheme", "float32", "-o", "out")
    assert (tmp_path / "MARK").exists()
