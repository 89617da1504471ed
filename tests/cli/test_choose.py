"""`edgetf choose` as a user runs it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgetf.files import write_document
from edgetf.results import Result, read_benchmark
from tests.benchmarks.made_bench import broken, dropped, float32, int8, variant, with_results
from tests.conftest import Run


def save(folder: Path, benchmarked: Path, *results: Result) -> None:
    write_document(folder / "benchmark.json", with_results(read_benchmark(benchmarked), *results))


def test_it_prints_the_answer_the_reasons_and_the_context(benchmarked: Path, tmp_path: Path, edgetf: Run) -> None:
    document = read_benchmark(benchmarked)
    results = [float32(document), variant(document, "[int8]", 0.9), variant(document, "int16x8", 210.0)]
    save(tmp_path, benchmarked, *results)
    done = edgetf("choose", ".")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("[int8]: 3.3 times faster, 4.0 times smaller than float32, accuracy unchanged (±")
    assert "int16x8  passes, 233 times slower than [int8] (70 times slower than float32)" in done.stdout
    assert [line.split(":")[0] for line in lines[-4:]] == ["Model", "Device", "Measured", "Budgets"]
    asked = edgetf("choose", ".", "--for", "size", "--max-latency-ms", "0.1", "--json")
    assert asked.returncode == 3
    found = json.loads(asked.stdout)
    assert found["choices"][0]["outcome"] == "nothing_passes"
    assert found["choices"][0]["budgets"]["max_latency_ms"] == 0.1


@pytest.mark.parametrize(("what", "code"), [("lossy", 3), ("open", 4), ("broken", 5), ("two", 5)])
def test_the_exit_code_gives_the_reason_that_nothing_is_chosen(
    what: str, code: int, benchmarked: Path, tmp_path: Path, edgetf: Run
) -> None:
    document = read_benchmark(benchmarked)
    lost = {"lossy": 60, "open": 9, "two": 0}
    results = [broken(document, "gone")]
    if what in lost:
        results.append(variant(document, what, parity=dropped(int8(document), lost[what], 0)))
    if what == "two":  # one device has an answer, the other has not
        results[0] = replace(results[0], device="pi")
    save(tmp_path, benchmarked, *results)
    done = edgetf("choose", ".")
    assert done.returncode == code, done.stdout
    assert ("On pi:" in done.stdout) == (what == "two")


def test_a_missing_reference_gives_a_hint(benchmarked: Path, tmp_path: Path, edgetf: Run) -> None:
    document = replace(read_benchmark(benchmarked), reference=None)
    bare = tuple(replace(result, parity=None) for result in document.results)
    write_document(tmp_path / "benchmark.json", replace(document, results=bare))
    done = edgetf("choose", ".")
    assert done.returncode == 1
    assert "--reference" in done.stderr
    assert edgetf("choose", ".", "--max-bytes", 10**9).returncode == 0
