from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgetf.benchmarks.judging.ground import prepare
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.benchmarks.timing.targets import find_targets
from edgetf.cli import cli
from edgetf.errors import EdgetfError
from edgetf.samples import make_samples, read_arrays, write_arrays
from tests.conftest import Small, ignore


def _run(*arguments: object) -> str:
    """The output of a command, run in this process, which has TensorFlow already."""
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    if done.exception is not None:
        raise done.exception
    return done.output


def test_samples_go_to_shards_and_back(small: Small, tmp_path: Path) -> None:
    records, back = tmp_path / "s.tfrecord.gz", tmp_path / "back.npz"
    _run("samples", "convert", small.samples, records, "--shards", 3)
    assert len(list(tmp_path.glob("s-0000?-of-00003.tfrecord.gz"))) == 3
    _run("samples", "convert", records, back)
    reported = [json.loads(_run("samples", "show", source, "--json")) for source in (small.samples, back)]
    assert reported[0]["digest"] == reported[1]["digest"]
    assert sum(reported[0]["classes"].values()) == reported[0]["n"] == 200
    fitted = _run("samples", "show", records, "--model", small.saved_model)
    assert "200 samples" in fitted
    assert reported[0]["digest"] in fitted
    with pytest.raises(EdgetfError, match=r"already holds back\.npz"):
        _run("samples", "convert", small.samples, back)


def test_a_reference_is_made_on_records_and_found_again_by_a_benchmark(
    small: Small, converted: Path, tmp_path: Path
) -> None:
    arrays = read_arrays(small.samples, None)
    write_arrays(tmp_path / "s.tfrecord", arrays, 2, force=False)
    options = ReferenceOptions(on=Place.CPU)
    made = make_reference(small.saved_model, str(tmp_path / "s.tfrecord"), tmp_path / "ref", options, ignore)
    ground = prepare(find_targets([converted]), tmp_path / "ref", None, None)
    assert ground.samples.digest == made.samples.digest == make_samples("", arrays, None).digest
    assert ground.describe(timed=True) == "200 samples of s.tfrecord"
    first, second = (tmp_path / f"s-0000{k}-of-00002.tfrecord" for k in range(2))
    second.write_bytes(first.read_bytes())
    for command in (("show", tmp_path / "s.tfrecord"), ("convert", tmp_path / "s.tfrecord", tmp_path / "back.npz")):
        with pytest.raises(EdgetfError, match="a shard was replaced"):
            _run("samples", *command)
    second.unlink()
    with pytest.raises(EdgetfError, match=r"s-00001-of-00002\.tfrecord is missing"):
        prepare(find_targets([converted]), tmp_path / "ref", None, None)
