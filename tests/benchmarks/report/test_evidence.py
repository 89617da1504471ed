from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetf import files
from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.judging.labels import Interpretation
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.report.confusion import confuse
from edgetf.benchmarks.report.evidence import Pair, gather, pair_outputs
from edgetf.benchmarks.report.render import render
from edgetf.benchmarks.report.samples import find_worst
from edgetf.benchmarks.report.thumbnails import ThumbnailKind
from edgetf.device.local import LocalDevice
from edgetf.errors import EdgetfError
from edgetf.results import Benchmark, LabelUse, SamplesUsed, read_benchmark
from edgetf.samples import make_samples
from tests.benchmarks.made_bench import int8
from tests.benchmarks.report_bench import rich
from tests.conftest import SHORT, Small, ignore


@pytest.fixture
def bench(benchmarked: Path, reference: Path, tmp_path: Path) -> Path:
    return rich(benchmarked, reference, tmp_path / "bench")


def test_the_worst_samples_are_the_damaged_ones_with_both_answers(bench: Path, small: Small) -> None:
    document = read_benchmark(bench)
    evidence = gather(document, bench, None)  # the reference is next to it
    pairs, missing = pair_outputs(document, bench, evidence)
    assert (evidence.missing, missing) == ((), [])
    assert evidence.samples is not None
    worst = find_worst(pairs, evidence.samples)
    found = worst[0]
    assert (found.variant, found.verdict) == ("int8", "fail")
    assert "pass" not in {one.verdict for one in worst}  # if a variant does not pass, only such variants
    assert len(found.samples) == 6
    for sample in found.samples:
        assert sample.row < 60
        label = np.load(small.samples)["labels"][sample.row]
        assert sample.why == f"Lost: the reference is right, the variant is not. Label {label}."
        reference, variant = sample.answers
        assert reference.text.startswith(f"{label} (")
        assert not variant.text.startswith(f"{label} (")
        assert sample.inputs[0][1].uri.startswith("data:image/png")
    confused = {one.variant: one for one in confuse(pairs)}["int8"]
    assert evidence.outputs is not None
    spoilt = np.load(bench / str(int8(document).measurement) / "samples" / "output-0.npy")
    apart = np.argmax(spoilt, axis=1) != np.argmax(np.asarray(evidence.outputs.values["output_0"], np.float64), axis=1)
    assert confused.differ == confused.reference_right == int(apart.sum()) > 50  # the labels are the reference's
    assert sum(swap.n for swap in confused.swaps) == confused.differ


def test_shuffled_samples_are_joined_row_by_row(converted: Path, reference: Path, small: Small, tmp_path: Path) -> None:
    options = BenchmarkOptions(reference=reference, timing=SHORT, blocks=1, patience=1, sequential=Budgets())
    benchmark([converted / "dynamic.tflite"], LocalDevice(), tmp_path / "bench", options, ignore)
    document = read_benchmark(tmp_path / "bench")
    evidence = gather(document, tmp_path / "bench", reference)
    [pair], missing = pair_outputs(document, tmp_path / "bench", evidence)
    assert missing == []
    assert not np.array_equal(pair.rows, np.sort(pair.rows))  # they were shuffled
    assert evidence.outputs is not None
    np.testing.assert_array_equal(pair.reference[: len(pair.rows)], evidence.outputs.values["output_0"][pair.rows])
    assert pair.truth is not None
    np.testing.assert_array_equal(pair.truth[: len(pair.rows)], np.load(small.samples)["labels"][pair.rows])
    assert pair.error.max() < 0.05


def test_signals_in_and_images_out_are_drawn_and_small_vectors_are_reported(benchmarked: Path) -> None:
    result = int8(read_benchmark(benchmarked))
    assert result.parity is not None
    random = np.random.default_rng(0)
    signals = random.normal(size=(20, 128, 3)).astype(np.float32)
    samples = make_samples("test", {"signal": signals}, None)
    for shape, kind in (((16, 16, 1), ThumbnailKind.IMAGE), ((40,), ThumbnailKind.LINES), ((2,), None)):
        reference = random.normal(size=(20, *shape)).astype(np.float32)
        variant = reference.copy()
        variant[7] += 1
        variant[3] = np.nan
        error = np.where(np.arange(20) == 7, 1.0, 0.0)
        error[3] = np.inf
        pair = Pair(
            result, result.parity.outputs[0], reference, variant, Interpretation(LabelUse.NONE), np.arange(20), error
        )
        [worst] = find_worst([pair], samples)
        assert [one.row for one in worst.samples] == [3, 7]  # samples without an error are not among the worst
        assert worst.samples[1].why == "Among the largest errors: 1."
        [(name, drawn)] = worst.samples[1].inputs
        assert (name, drawn.kind, len(drawn.lines)) == ("signal", ThumbnailKind.LINES, 3)
        answer = worst.samples[1].answers[1]
        assert (answer.picture.kind if answer.picture else None) is kind
        if kind is None:
            assert answer.text == ", ".join(f"{value:.4g}" for value in variant[7])


def reported(document: Benchmark, bench: Path) -> str:
    evidence = gather(document, bench, None)
    return " ".join([*evidence.missing, *pair_outputs(document, bench, evidence)[1]])


def test_missing_or_replaced_files_are_reported_without_an_error(bench: Path, tmp_path: Path) -> None:
    document = read_benchmark(bench)
    assert document.samples is not None
    output = bench / str(int8(document).measurement) / "samples" / "output-0.npy"
    np.save(output, np.load(output) + 1)
    text = reported(document, bench)
    assert "The outputs of int8 are not shown by sample: its files are not those that were compared." in text
    output.unlink()
    assert "The outputs of int8 are not shown by sample" in reported(document, bench)
    for source, why in ((str(tmp_path / "gone.npz"), "no longer exists"), ("os:getcwd", "os:getcwd is not a file")):
        moved = replace(document, samples=SamplesUsed(source, document.samples.digest, document.samples.n))
        assert why in reported(moved, bench)
    other = replace(document, samples=replace(document.samples, digest="0" * 64))
    assert "has changed since the run" in reported(other, bench)
    shutil.rmtree(tmp_path / "ref")
    assert "are neither in the benchmark" in reported(document, bench)
    assert "are neither in the benchmark" in render(document, bench)  # and the report states it


def test_another_reference_than_its_own_is_refused(bench: Path, reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "other")
    pinned = read_benchmark(bench).reference
    assert pinned is not None
    files.write_document(tmp_path / "other" / "reference.json", replace(pinned, created="another day"))
    with pytest.raises(EdgetfError, match="was not compared with"):
        render(read_benchmark(bench), bench, tmp_path / "other")


def test_a_ladder_of_an_older_benchmark_is_not_shown(bench: Path) -> None:
    document = read_benchmark(bench)
    assert "Broken by: float32 to int8." in render(document, bench)
    assert "The ladder of" not in render(replace(document, created="later"), bench)
