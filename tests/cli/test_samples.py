from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Run, Small


def test_samples_go_to_shards_and_back(edgetf: Run, small: Small, tmp_path: Path) -> None:
    there = edgetf("samples", "convert", small.samples, "s.tfrecord.gz", "--shards", 3)
    assert there.returncode == 0, there.stderr
    assert len(list(tmp_path.glob("s-0000?-of-00003.tfrecord.gz"))) == 3
    back = edgetf("samples", "convert", "s.tfrecord.gz", "back.npz")
    assert back.returncode == 0, back.stderr
    told = [json.loads(edgetf("samples", "show", source, "--json").stdout) for source in (small.samples, "back.npz")]
    assert told[0]["digest"] == told[1]["digest"]
    assert sum(told[0]["classes"].values()) == told[0]["n"] == 200
    again = edgetf("samples", "convert", small.samples, "back.npz")
    assert again.returncode == 1
    assert "already holds back.npz" in again.stderr


def test_a_reference_is_made_on_records_and_found_again_by_a_benchmark(edgetf: Run, small: Small) -> None:
    assert edgetf("samples", "convert", small.samples, "s.tfrecord").returncode == 0
    made = edgetf("reference", small.saved_model, "--samples", "s.tfrecord", "-o", "ref", "--on", "cpu", "--json")
    assert made.returncode == 0, made.stderr
    done = edgetf("convert", small.saved_model, "--samples", "s.tfrecord", "-o", "out", "--scheme", "int8")
    assert done.returncode == 0, done.stderr
    ran = edgetf("benchmark", "out", "--reference", "ref", "-o", "bench", "--blocks", 2, "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["samples"]["digest"] == json.loads(made.stdout)["samples"]["digest"]
    assert document["inputs"] == "200 samples of s.tfrecord"
