"""`edgetf tune`, from variants and a reference to a proven file."""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgetf
from edgetf import files
from edgetf.api.verdicts import Tuned
from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.benchmarks.rows import Outputs
from edgetf.device.local import LocalDevice
from edgetf.errors import DeviceError, EdgetfError, ExitCode
from edgetf.events import Event, Note
from edgetf.files import write_document
from edgetf.flatbuffer import pack, unpack
from edgetf.recipes import Aim, Ending, Stand, Tuning, read_tuning
from edgetf.results import Benchmark, Failure, Status, Verdict, read_benchmark, read_conversion, read_reference
from edgetf.samples import make_samples, save_samples
from edgetf.schemes import DEFAULT_SCHEMES
from edgetf.tuning import proof
from edgetf.tuning import tune as tuning
from edgetf.tuning.candidates import Candidate
from edgetf.tuning.evaluate import Criteria
from edgetf.tuning.notebook import BEST, FOLDER, Notebook
from edgetf.tuning.options import TuneOptions
from edgetf.tuning.running import Fed, answers
from tests.conftest import BLOCKS, SHORT, Run, Small, ignore
from tests.limits import limited

WIDE = Criteria(Budgets(max_drop=6.0))  # points: of 300 samples a few may differ
MEASURING = BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1, energy_s=0.0)
UNTUNED = {name: row.untuned for name, row in DEFAULT_SCHEMES.items() if row.untuned}
OPTIONS = TuneOptions(criteria=WIDE, measuring=MEASURING, turn=SHORT, turns=BLOCKS)


@pytest.fixture(scope="module")
def reference(unseen: Path) -> Path:
    return unseen


@pytest.fixture(scope="module")
def tuned(converted: Path, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "tuned"
    tuning.tune(converted, reference, LocalDevice(), out, OPTIONS, ignore)
    return out


def _tune(converted: Path, reference: Path, out: Path, options: TuneOptions) -> Tuning:
    return tuning.tune(converted, reference, LocalDevice(), out, options, ignore)


def test_a_smaller_file_is_found_and_proven_on_samples_that_the_search_has_not_seen(
    tuned: Path, converted: Path, reference: Path
) -> None:
    found = read_tuning(tuned)
    assert found.ending in (Ending.TUNED, Ending.PLAIN)
    assert found.verdict is Verdict.PASS
    assert (found.searched_on.n, found.proven_on.n) == (300, 300)
    assert found.searched_on.digest != found.proven_on.digest
    assert 1 <= found.evaluations <= 6
    winner = found.candidate(found.winner)
    assert winner is not None
    assert winner.stand is Stand.CHOSEN
    plain = [one for one in read_conversion(converted).variants if one.scheme in ("dynamic", "int8", "float16")]
    assert winner.bytes == (tuned / "tuned.tflite").stat().st_size <= min(one.bytes or 0 for one in plain)
    assert found.left_out == UNTUNED


def test_what_is_written_is_a_variant_with_the_source_of_each_operation(tuned: Path) -> None:
    [variant] = read_conversion(tuned).variants
    assert variant.scheme == "tuned"
    found = read_tuning(tuned)
    winner = found.candidate(found.winner)
    assert winner is not None
    assert variant.sha256 == winner.sha256
    layers = [one.layer for one in variant.operations]
    assert "conv2d" in layers
    assert "dense" in layers
    assert {one.variant for one in variant.operations} == set(winner.parts)
    assert not (tuned / FOLDER).exists()


def test_the_proof_is_a_benchmark_like_any_other(tuned: Path) -> None:
    bench, proof = read_benchmark(tuned / "bench"), read_reference(tuned / "proof")
    found = read_tuning(tuned)
    assert bench.reference == proof
    assert Path(proof.samples.source).is_relative_to(tuned)
    assert Path(proof.samples.source).is_file()
    name = "tuned" if found.ending is Ending.TUNED else found.winner
    [result] = [one for one in bench.results if one.variant == name]
    assert result.path is not None
    assert Path(result.path).is_file()
    assert result.parity is not None
    assert result.parity.verdict is not Verdict.FAIL


def test_what_xnnpack_takes_of_a_candidate_is_what_a_measurement_reports(tuned: Path) -> None:
    found = read_tuning(tuned)
    winner = found.candidate(found.winner)
    assert winner is not None
    name = "tuned" if found.ending is Ending.TUNED else found.winner
    [coverage] = [one.coverage for one in read_benchmark(tuned / "bench").results if one.variant == name]
    assert coverage is not None
    counted = (coverage.operations, coverage.delegated, coverage.partitions)
    assert (winner.operations, winner.delegated, winner.partitions) == counted
    assert all(one.delegated is not None for one in found.candidates if one.stand is not Stand.REFUSED)


def test_a_tuning_of_an_earlier_version_is_read_without_what_xnnpack_takes(tuned: Path, tmp_path: Path) -> None:
    plain = json.loads((tuned / "tuning.json").read_text())
    for one in plain["candidates"]:
        del one["operations"], one["delegated"]
    (tmp_path / "tuning.json").write_text(json.dumps(plain | {"schema": 1}))
    assert {one.delegated for one in read_tuning(tmp_path).candidates} == {None}


def test_edgetf_load_reads_it_and_it_ends_with_the_answer_of_choose(tuned: Path) -> None:
    found = edgetf.load(tuned)
    assert found.exit_code is ExitCode.DONE
    assert found.variants["tuned"].path == found.path
    assert found.document.plain is None  # there is a winner
    [choice] = found.choices.values()
    expected = "tuned" if found.document.ending is Ending.TUNED else found.document.winner
    assert choice.variant == expected
    printed = str(found)
    assert "on 300 samples that the search has not seen" in printed
    for name, why in UNTUNED.items():
        assert f"{name} is left out: {why}" in printed


def test_layers_that_are_kept_stay_in_float(converted: Path, reference: Path, tmp_path: Path) -> None:
    kept = _tune(converted, reference, tmp_path / "kept", replace(OPTIONS, keep=("den*",)))
    assert kept.kept == ("den*",)
    [variant] = read_conversion(tmp_path / "kept").variants
    dense = {one.variant for one in variant.operations if one.layer.startswith("dense")}
    assert dense <= {"float16", "float32"}
    with pytest.raises(EdgetfError, match="no layer 'dens'"):
        _tune(converted, reference, tmp_path / "unknown", replace(OPTIONS, keep=("dens",)))


def test_a_killed_tuning_resumes_to_the_same_file_and_keeps_the_best_so_far(
    tuned: Path, converted: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "prove", killed)
    with pytest.raises(KeyboardInterrupt):
        _tune(converted, reference, tmp_path / "out", OPTIONS)
    assert (tmp_path / "out" / FOLDER / BEST).read_bytes()[4:8] == b"TFL3"
    assert not (tmp_path / "out" / "tuning.json").exists()
    monkeypatch.undo()
    for step in ("Scorer._one", "answers"):
        place, _, name = step.rpartition(".")
        owner = getattr(tuning, place) if place else tuning
        monkeypatch.setattr(owner, name, killed)  # nothing is scored and nothing evaluated again
    notes: list[Event] = []
    tuning.tune(converted, reference, LocalDevice(), tmp_path / "out", OPTIONS, notes.append)
    assert any(isinstance(one, Note) and "resuming an interrupted run" in one.text for one in notes)
    assert (tmp_path / "out" / "tuned.tflite").read_bytes() == (tuned / "tuned.tflite").read_bytes()


@pytest.mark.parametrize(
    ("options", "ending", "reported"),
    [
        (replace(OPTIONS, criteria=Criteria(Budgets(max_drop=1.0))), Ending.UNDECIDED, "more samples would decide"),
        (replace(OPTIONS, max_bytes=1000), Ending.NOTHING_PASSES, "What else would help"),
    ],
)
def test_without_a_winner_there_is_a_reason_and_no_file(
    options: TuneOptions, ending: Ending, reported: str, converted: Path, reference: Path, tmp_path: Path
) -> None:
    found = _tune(converted, reference, tmp_path / "out", options)
    assert found.ending is ending
    assert not (tmp_path / "out" / "tuned.tflite").exists()
    assert not (tmp_path / "out" / "conversion.json").exists()
    loaded = edgetf.load(tmp_path / "out")
    assert loaded.path is None
    assert loaded.exit_code is (ExitCode.NOT_ENOUGH_DATA if ending is Ending.UNDECIDED else ExitCode.BUDGET_MISSED)
    assert reported in str(loaded)
    assert "int8" in str(loaded)


def test_by_latency_candidates_are_timed_on_the_device(converted: Path, reference: Path, tmp_path: Path) -> None:
    found = _tune(converted, reference, tmp_path / "out", replace(OPTIONS, aim=Aim.LATENCY))
    assert found.verdict is Verdict.PASS
    timed = [one for one in found.candidates if one.latency_ms]
    assert {one.plain for one in timed} >= {"float32", "float16", "dynamic", "int8"}
    assert found.winner in {one.name for one in timed}
    assert all(
        one.stand is Stand.USELESS for one in found.candidates if one not in timed
    )  # another variant is nearer, and equally fast


def test_under_a_loose_limit_of_latency_the_smallest_file_stays_the_same(
    tuned: Path, converted: Path, reference: Path, tmp_path: Path
) -> None:
    found = _tune(converted, reference, tmp_path / "out", replace(OPTIONS, max_latency_ms=1e6))
    known = read_tuning(tuned)
    assert {one.name: one.stand for one in found.candidates} == {one.name: one.stand for one in known.candidates}
    assert (found.winner, found.ending) == (known.winner, known.ending)
    assert all(one.latency_ms for one in found.candidates)


def _failing(document: Benchmark, code: str) -> Benchmark:
    error = Failure(code, "the board hangs")
    results = tuple(
        replace(one, status=Status.FAILED, error=error, latency_ms=None, parity=None) for one in document.results
    )
    return replace(document, results=results)


@pytest.mark.parametrize("aim", list(Aim))
def test_a_failure_of_the_device_is_not_a_verdict_and_the_same_command_resumes(
    aim: Aim, converted: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, options = tmp_path / "out", replace(OPTIONS, aim=aim)
    monkeypatch.setattr(proof, "benchmark", lambda *given: _failing(benchmark(*given), "device"))
    with pytest.raises(DeviceError, match="on local: the board hangs"):
        _tune(converted, reference, out, options)
    assert (out / FOLDER / "notes.json").is_file()
    assert not (out / "tuning.json").exists()
    monkeypatch.undo()
    assert _tune(converted, reference, out, options).verdict is Verdict.PASS


def test_a_winner_that_does_not_run_on_the_device_is_replaced_by_the_next(
    converted: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    def refusing(places: Sequence[Path], *rest: Any) -> Benchmark:
        document = benchmark(places, *rest)
        ran.append([one.variant for one in document.results])
        if len(ran) > 1:
            return document
        failed = {one.variant: one for one in _failing(document, "run").results}
        smallest = min(document.results, key=lambda one: one.bytes or 0).variant  # the winner of the search
        results = tuple(failed[smallest] if one.variant == smallest else one for one in document.results)
        return replace(document, results=results)

    out = tmp_path / "out"
    monkeypatch.setattr(proof, "benchmark", refusing)
    found = _tune(converted, reference, out, OPTIONS)
    assert len(ran) == 2
    assert found.ending in (Ending.TUNED, Ending.PLAIN)
    [refused] = [one for one in found.candidates if one.stand is Stand.REFUSED]
    assert refused.reason == "it does not run on local: the board hangs"
    assert found.winner != refused.name


def test_a_candidate_that_fails_on_a_sample_ends_no_tuning(
    converted: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = min(one.bytes or 0 for one in read_conversion(converted).variants)

    def failing(content: bytes, fed: Fed) -> Outputs:
        if len(content) < 1.05 * small:
            raise EdgetfError("index 7 is out of range", "")
        return answers(content, fed)

    monkeypatch.setattr(tuning, "answers", failing)
    found = _tune(converted, reference, tmp_path / "out", OPTIONS)
    assert found.verdict is Verdict.PASS
    refused = {one.reason for one in found.candidates if one.stand is Stand.REFUSED}
    assert refused == {"it fails on a sample: index 7 is out of range"}


def test_under_a_limit_of_bytes_the_smallest_given_variant_that_passes_is_still_known(
    converted: Path, reference: Path, tmp_path: Path
) -> None:
    sizes = {one.scheme: one.bytes or 0 for one in read_conversion(converted).variants}
    limited = _tune(converted, reference, tmp_path / "a", replace(OPTIONS, max_bytes=sizes["float32"] - 1))
    assert limited.ending in (Ending.TUNED, Ending.PLAIN)
    none = _tune(converted, reference, tmp_path / "b", replace(OPTIONS, max_bytes=10))
    assert (none.ending, none.plain) == (Ending.NOTHING_PASSES, None)


def test_results_do_not_replace_what_they_are_made_of(converted: Path, reference: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="where the results go"):
        _tune(converted, reference, converted, replace(OPTIONS, force=True))
    (tmp_path / "out" / "proof").mkdir(parents=True)
    (tmp_path / "out" / "proof" / "reference.json").write_text("{}")
    for place in (tmp_path / "out" / "proof" / "reference.json", tmp_path / "out"):
        with pytest.raises(EdgetfError, match="the reference is at"):
            _tune(converted, place, tmp_path / "out", replace(OPTIONS, force=True))
    with pytest.raises(EdgetfError, match="the reference is at"):
        _tune(converted, tmp_path / "out" / "proof", tmp_path / "out", replace(OPTIONS, force=True))


def test_what_no_number_of_samples_would_decide_is_refused(
    small: Small, converted: Path, reference: Path, tmp_path: Path
) -> None:
    with pytest.raises(EdgetfError, match="max_metric_drop is for a metric"):
        edgetf.tune(converted, reference, tmp_path / "a", max_metric_drop=0.1)
    with np.load(small.samples) as archive:
        bare = edgetf.reference(small.saved_model, archive["image"] + 1, tmp_path / "ref", on="cpu", on_event=ignore)
    with pytest.raises(EdgetfError, match="no labels") as raised:
        edgetf.tune(converted, bare, tmp_path / "b", max_drop=1.0)
    assert "leave max_drop out" in raised.value.hint


class _Unproven:
    """A tuning whose winner passed the search, and was not proven."""

    def __init__(self, *given: object) -> None:
        pass

    def scored(self) -> dict[str, object]:
        return {}

    def decisive(self) -> dict[str, object]:
        return {}

    def tune(self, notes: Notebook, out: Path) -> SimpleNamespace:
        notes.save_best(b"best")
        (notes.folder / "bench").mkdir()
        return SimpleNamespace(ending=Ending.UNDECIDED)


def test_force_removes_an_earlier_result_only_after_the_new_one_is_written_and_keeps_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, forced = tmp_path / "out", replace(OPTIONS, force=True)
    for name in ("tuned.tflite", "conversion.json", "tuning.json", "bench/old", "proof/old"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("earlier")
    before = _content(out)

    def full(path: Path, document: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(tuning, "_Run", _Unproven)
    monkeypatch.setattr(files, "write_document", full)
    with pytest.raises(OSError, match="No space left"):
        _tune(tmp_path, tmp_path, out, forced)
    assert _content(out) == before
    monkeypatch.setattr(files, "write_document", lambda path, document: path.write_text("new"))
    _tune(tmp_path, tmp_path, out, forced)
    assert {path.name for path in out.iterdir()} == {BEST, "bench", "tuning.json"}
    assert (out / BEST).read_bytes() == b"best"
    assert not (out / "bench" / "old").exists()


def _content(out: Path) -> dict[str, str]:
    inside = [path for path in out.rglob("*") if path.is_file() and FOLDER not in path.parts]
    return {str(path.relative_to(out)): files.sha256_file(path) for path in inside}


def test_a_budget_that_nothing_can_miss_is_named_with_the_result(
    tuned: Path, edgetf_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = read_tuning(tuned)
    wide = Tuned(tuned, replace(document, limits=replace(document.limits, max_drop=98.0)))
    [warning] = wide.warnings
    assert "max_drop 98 passes a variant that always answers the same" in warning
    assert warning in " ".join(str(wide).split())
    assert Tuned(tuned, document).warnings == []
    monkeypatch.setattr(importlib.import_module("edgetf.api.tune"), "tune", lambda *given, **options: wide)
    for options in ((), ("--json",)):
        told = edgetf_here("tune", "out", "--reference", "ref", "-o", "tuned", "--max-drop", 98, *options)
        assert (told.returncode, told.stderr.splitlines()) == (0, [f"warning: {warning}"])
    unproven = Tuned(tuned / "nowhere", replace(document, limits=replace(document.limits, max_drop=100.0)))
    assert unproven.warnings == ["max_drop 100: nothing can miss it, as there are 100 points"]


def test_choose_does_not_answer_with_an_unproven_file(tuned: Path) -> None:
    document = read_tuning(tuned)
    for ending, plain in ((Ending.NOTHING_PASSES, "float32"), (Ending.UNDECIDED, "float32")):
        changed = replace(document, ending=ending, plain=plain)
        [choice] = Tuned(tuned, changed).choices.values()
        assert choice.variant == plain


def test_samples_of_the_search_cannot_prove(converted: Path, reference: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="samples that it shares with the reference"):
        _tune(converted, reference, tmp_path / "out", replace(OPTIONS, proof=reference))


def test_operations_are_not_ranked_on_a_sample_or_two(
    converted: Path, reference: Path, small: Small, tmp_path: Path
) -> None:
    with np.load(small.samples) as archive:
        few = make_samples("few", {"image": archive["image"][:2]}, None)
    save_samples(tmp_path / "few.npz", few)
    with pytest.raises(EdgetfError, match="2 samples are too few to rank operations on"):
        _tune(converted, reference, tmp_path / "out", replace(OPTIONS, samples=str(tmp_path / "few.npz")))


def test_a_model_trained_for_int8_has_nothing_to_mix(converted: Path, reference: Path, tmp_path: Path) -> None:
    known = read_conversion(converted)
    (tmp_path / "saved_model.pb").write_bytes(b"FakeQuantWithMinMaxVars")
    (tmp_path / "int8.tflite").write_bytes((converted / "int8.tflite").read_bytes())
    variants = tuple(one for one in known.variants if one.scheme == "int8")
    trained = replace(known, variants=variants, source=replace(known.source, path=str(tmp_path)))
    write_document(tmp_path / "conversion.json", trained)
    (tmp_path / "variants").mkdir()
    for name in ("conversion.json", "int8.tflite"):
        (tmp_path / name).rename(tmp_path / "variants" / name)
    with pytest.raises(EdgetfError, match="nothing to mix"):
        _tune(tmp_path / "variants", reference, tmp_path / "out", OPTIONS)


def _converted_again(variants: Path, name: str) -> None:
    """Another file in place of the variant `name`, with its `conversion.json`, as after another `edgetf convert`."""
    model, _ = unpack((variants / f"{name}.tflite").read_bytes())
    model.description = b"made again"
    (variants / f"{name}.tflite").write_bytes(pack(model))
    digest, known = files.sha256_file(variants / f"{name}.tflite"), read_conversion(variants)
    made = tuple(replace(one, sha256=digest) if one.scheme == name else one for one in known.variants)
    write_document(variants / "conversion.json", replace(known, variants=made))


def test_a_variant_that_is_converted_again_during_the_search_is_not_proven_in_place_of_the_old_one(
    converted: Path, reference: Path, tmp_path: Path
) -> None:
    """The new file passed, and the old bytes were in tuned.tflite with that verdict."""
    variants = tmp_path / "variants"
    shutil.copytree(converted, variants)
    run = tuning._Run(variants, reference, LocalDevice(), OPTIONS, ignore)
    old = (variants / "int8.tflite").read_bytes()
    notes = Notebook(tmp_path / "notes", run.scored(), run.decisive(), ignore)
    winner = Candidate("int8", ("int8",) * len(run._splicer.operations), "int8", "all of it", 30.0)
    _converted_again(variants, "int8")
    assert run._contents["int8"] == old
    with pytest.raises(EdgetfError, match=r"int8\.tflite changed during the search") as caught:
        proof.prove(run._proof(notes, reference, tmp_path / "out"), winner, old, [])
    assert "run the same command again" in caught.value.hint


def test_a_full_disk_ends_a_tuning_in_one_line_and_leaves_what_it_resumes_from(
    converted: Path, reference: Path, tmp_path: Path, edgetf_here: Run
) -> None:
    with limited(resource.RLIMIT_FSIZE, 1 << 16):
        ended = edgetf_here("tune", converted, "--reference", reference, "-o", "out")
    assert ended.returncode == 1
    [error] = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert "File too large" in error
    assert "Traceback" not in ended.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [FOLDER]
