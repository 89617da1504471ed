from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cases import lambda_code
from tests.conftest import Run

FILES = ("k2.h5", "k2.keras", "k3.h5", "k3.keras")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lambda")
    lambda_code.make(folder)
    np.savez(folder / "s.npz", v=np.zeros((4, 4), np.float32), labels=np.arange(4) % 3)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_code_is_refused_before_anything_is_loaded(made: Path, name: str, edgetf: Run) -> None:
    done = edgetf("convert", name, "-o", "out", cwd=made)
    assert done.returncode == 1
    assert f"{name} contains code (a Lambda)" in done.stderr
    assert "--trust" in done.stderr
    assert not (made / "MARK").exists()
    assert not (made / "out").exists()


COMMANDS = (
    ["inspect", "k2.h5"],
    ["reference", "k2.h5", "--samples", "s.npz", "-o", "ref"],
    ["models", "export", "k2.h5", "-o", "exported"],
    ["models", "export", "k2.h5", "--serving", "served"],
    ["models", "train", "k2.h5", "--qat", "--samples", "s.npz", "--test", "s.npz", "-o", "trained"],
    ["samples", "show", "s.npz", "--model", "k2.h5"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_every_command_that_takes_a_keras_file_refuses_its_code(made: Path, command: list[str], edgetf: Run) -> None:
    done = edgetf(*command, cwd=made)
    assert done.returncode == 1
    assert "contains code" in done.stderr
    assert not (made / "MARK").exists()


@pytest.mark.parametrize("name", ["k2.h5", "k3.keras"])
def test_the_hint_works_when_it_is_followed(made: Path, name: str, tmp_path: Path, edgetf: Run) -> None:
    done = edgetf("convert", made / name, "--trust", "--scheme", "float32", "-o", "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "MARK").exists()
