"""A model that is random is reported as such, and no variant is blamed for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetf.api.tables.reference import show_reference
from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.pinned import load_outputs
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.results import Comparable, Reference, Verdict, read_reference
from tests.cases import vae_sampling
from tests.conftest import BLOCKS, SHORT, Run, ignore


def _reference(folder: Path, name: str) -> Reference:
    vae_sampling.make(folder, name)
    options = ReferenceOptions(on=Place.CPU)
    return make_reference(folder / "saved_model", folder / "samples.npz", folder / "ref", options, ignore)


@pytest.mark.parametrize(
    ("name", "random", "mixing"),
    [
        ("drawn", ("drawn",), ()),
        ("dropped", ("y",), ()),
        ("counted", ("y",), ()),
        ("stateless", (), ()),
        ("normalized", (), ("y",)),
        ("shuffled", (), ("y",)),
        ("sized", (), ("y",)),
    ],
)
def test_a_reference_records_outputs_that_cannot_be_compared(
    tmp_path: Path, name: str, random: tuple[str, ...], mixing: tuple[str, ...]
) -> None:
    made = _reference(tmp_path, name)
    assert (made.random_outputs, made.batch_outputs) == (random, mixing)
    assert made.batch == (1 if mixing else 60)
    if name == "shuffled":  # alone, a sample is not moved
        assert made.comparable("y") is Comparable.ALONE
        assert load_outputs(made, tmp_path / "ref").values["y"].shape == (60, 4)


def test_no_scheme_is_judged_by_a_random_output_and_the_other_output_is_judged(tmp_path: Path) -> None:
    """As in a variational autoencoder that is exported with its sampling layer."""
    _reference(tmp_path, "drawn")
    convert(tmp_path / "saved_model", tmp_path / "out", ConvertOptions(schemes=("float32", "float16")), ignore)
    options = BenchmarkOptions(reference=tmp_path / "ref", timing=SHORT, blocks=BLOCKS, patience=1)
    found = benchmark([tmp_path / "out"], LocalDevice(), tmp_path / "bench", options, ignore)
    for result in found.results:
        assert result.parity is not None
        outputs = {output.name: output for output in result.parity.outputs}
        assert result.parity.verdict is Verdict.INCONCLUSIVE
        assert outputs["drawn"].reason.startswith("not comparable")
        assert outputs["sure"].verdict is Verdict.PASS


def test_noise_that_is_too_large_for_a_tolerance_is_reported_with_the_reference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """XLA draws other numbers for the same seed."""
    made = _reference(tmp_path, "stateless")
    assert made.is_noisy("y")
    show_reference(made)
    assert capsys.readouterr().out.startswith("noisy: TensorFlow differs from itself, y by ")


def test_the_command_reports_it_first_with_what_to_do(tmp_path: Path, edgetf: Run) -> None:
    vae_sampling.make(tmp_path, "dropped")
    ended = edgetf("reference", "saved_model", "--samples", "samples.npz", "-o", "ref", "--on", "cpu")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("NOT COMPARABLE: y")
    assert "training=False" in ended.stdout
    assert read_reference(tmp_path / "ref").random_outputs == ("y",)
