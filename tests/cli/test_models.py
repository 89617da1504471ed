from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from edgetf.cli import cli


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "none.npz", "--test", "none.npz"], "linear has its own data"),
        (["--qat", "--samples", "none.npz"], "linear has its own data"),
        (["--qat", "--no-tensorboard"], "have no logs"),
        (["--prune", "0.5", "--profile"], "no profile"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(options: list[str], message: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["models", "train", "linear", *options, "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "out").exists()
