from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetf.benchmarks.bundle import BundleOptions, make_bundle
from edgetf.benchmarks.diagnosis.twins import LadderOptions
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.device.runner.interpreter import JobError
from edgetf.device.runner.verify import seal, verify
from edgetf.device.zipapp import build_runner
from edgetf.errors import EdgetfError
from edgetf.events import Event, Note
from edgetf.files import write_document
from edgetf.results import Failure, Status, Verdict, read_benchmark
from edgetf.schemes import DEFAULT_SCHEMES
from edgetf.targets.fits import find_fits
from tests.conftest import Run, ignore
from tests.special_files import SPECIAL, make_special


@pytest.fixture
def bundle(benchmarked: Path, converted: Path, reference: Path, tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("circle\nsquare\nstar\n")
    options = BundleOptions(
        LadderOptions("float32", (converted,), reference),
        labels=tmp_path / "labels.txt",
        before="pixels divided by 255",
        c_array=tmp_path / "it.cc",
    )
    make_bundle(benchmarked, tmp_path / "it.edgetf", options, ignore)
    return tmp_path / "it.edgetf"


def _changed(bundle: Path, name: str, content: bytes, to: Path) -> Path:
    """The same zip with a different content of one file, and with a new seal."""
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(to, "w") as new:
        new.comment = bytes(64)
        for entry in old.namelist():
            new.writestr(entry, content if entry == name else old.read(entry))
    to.write_bytes(seal(to.read_bytes()))
    return to


def test_a_bundle_is_proven_by_the_runner_alone(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "runner.pyz").write_bytes(build_runner())
    command = [sys.executable, "-I", "runner.pyz", "verify", str(bundle)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{Verdict.PASS.label} float32: 16 golden samples in litert ")
    older = subprocess.run([*command, "tflite-runtime"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "PASS" in older.stdout or "not installed" in older.stdout
    changed = _changed(bundle, "labels.txt", b"square\n", tmp_path / "changed")
    ended = subprocess.run([*command[:-1], str(changed)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.stdout.startswith(f"{Verdict.FAIL.label} float32: ")


def test_it_contains_the_labels_preprocessing_and_provenance(bundle: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert archive.read("labels.txt") == b"circle\nsquare\nstar\n"
    assert manifest["preprocessing"] == "pixels divided by 255"
    assert manifest["provenance"]["verdict"] == "pass"
    assert len(manifest["provenance"]["saved_model_sha256"]) == 64
    assert set(manifest["files"]) == {"model.tflite", "input-0.npy", "output-0.npy", "labels.txt"}
    header = bundle.with_name("it.h").read_text()  # of the same variant, for firmware
    assert header.startswith("// float32, pass: ")
    assert f"// sha256: {manifest['files']['model.tflite']}" in header
    assert "const unsigned char it[] = {" in bundle.with_name("it.cc").read_text()


def test_a_c_array_names_its_arena_and_is_none_of_what_microcontrollers_refuse(
    benchmarked: Path, converted: Path, reference: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tflite_micro")
    notes: list[Event] = []
    for variant, unproven in (("float32", False), ("float16", True)):  # measured with other kernels
        asked = LadderOptions(variant, (converted,), reference)
        options = BundleOptions(asked, c_array=tmp_path / f"{variant}.cc", unproven=unproven)
        make_bundle(benchmarked, tmp_path / f"{variant}.edgetf", options, notes.append)
    noted = [event.text for event in notes if isinstance(event, Note)]
    arena = find_fits(converted / "float32.tflite", "micro")["float32"].ram_bytes
    assert f"// arena: {arena} bytes, " in (tmp_path / "float32.h").read_text()
    assert "// arena: none" in (tmp_path / "float16.h").read_text()
    assert "compared on local, not on microcontrollers: benchmark it on micro" in noted[0]
    assert "float16.cc: tflite-micro " in noted[1]
    assert "refuses it: " in noted[1]
    passed = replace(asked, budgets=Budgets(max_drop=50))
    refused = BundleOptions(passed, c_array=tmp_path / "refused.cc")
    with pytest.raises(EdgetfError, match=r"float16 does not run on microcontrollers: .*float16"):
        make_bundle(benchmarked, tmp_path / "refused.edgetf", refused, ignore)
    assert not list(tmp_path.glob("refused.*"))


@pytest.mark.parametrize("name", ["model.tflite", "input-0.npy", "output-0.npy", "labels.txt"])
def test_a_file_that_was_replaced_is_named(name: str, bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        content = bytearray(archive.read(name))
    content[len(content) // 2] ^= 1
    proof = verify(_changed(bundle, name, bytes(content), tmp_path / "changed"), "litert", ignore)
    assert f"{name} was changed" in proof.problems


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_byte_that_changed_is_found(where: float, bit: int, bundle: Path, tmp_path: Path) -> None:
    content = bytearray(bundle.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    (tmp_path / "hit").write_bytes(content)
    with contextlib.suppress(JobError):  # it cannot even be read
        assert verify(tmp_path / "hit", "litert", ignore).problems


def test_changed_outputs_are_found_although_all_digests_match(bundle: Path, tmp_path: Path) -> None:
    """Packed again with new digests, a new seal and other golden outputs: the model computes different ones."""
    with zipfile.ZipFile(bundle) as archive:
        outputs = np.load(io.BytesIO(archive.read("output-0.npy")))
        manifest = json.loads(archive.read("manifest.json"))
    buffer = io.BytesIO()
    np.save(buffer, outputs[:, ::-1])
    manifest["files"]["output-0.npy"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    step = _changed(bundle, "output-0.npy", buffer.getvalue(), tmp_path / "a")
    step = _changed(step, "manifest.json", json.dumps(manifest).encode(), tmp_path / "b")
    [problem] = verify(step, "litert", ignore).problems
    assert "output 'output_0' is off by" in problem


def test_a_file_that_is_not_a_bundle_is_reported(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "text").write_text("no zip")
    for place in (tmp_path / "text", tmp_path / "missing"):
        with pytest.raises(JobError, match="is not a bundle"):
            verify(place, "litert", ignore)
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    manifest["files"]["../../escaped"] = "0"
    text = json.dumps(manifest).encode()
    with pytest.raises(JobError, match="outside of itself"):
        verify(_changed(bundle, "manifest.json", text, tmp_path / "evil"), "litert", ignore)
    assert not (tmp_path.parent / "escaped").exists()


@pytest.mark.parametrize("kind", SPECIAL)
def test_labels_and_descriptions_are_read_from_files_that_have_an_end(
    kind: str, benchmarked: Path, converted: Path, reference: Path, tmp_path: Path
) -> None:
    asked, place = LadderOptions("float32", (converted,), reference), make_special(tmp_path / "it", kind)
    options = [BundleOptions(asked, labels=place)]
    options += [BundleOptions(asked, before=str(place))] if kind != "folder" else []  # a word may name a folder as well
    for one in options:
        with pytest.raises(EdgetfError, match=r"is not a plain file|Is a directory"):
            make_bundle(benchmarked, tmp_path / "it.edgetf", one, ignore)


def test_a_variant_that_did_not_pass_is_bundled_only_on_request(
    benchmarked: Path, converted: Path, reference: Path, bundle: Path, tmp_path: Path, edgetf: Run
) -> None:
    asked = LadderOptions("int8", (converted,), reference)  # 200 samples do not decide about one point
    with pytest.raises(EdgetfError, match="int8 did not pass"):
        make_bundle(benchmarked, tmp_path / "int8.edgetf", BundleOptions(asked), ignore)
    document = read_benchmark(benchmarked)
    failed = Failure("conversion", "int8 needs samples to calibrate on", "give some")
    results = [replace(r, error=failed, status=Status.FAILED) if r.variant == "int8" else r for r in document.results]
    write_document(tmp_path / "benchmark.json", replace(document, results=tuple(results)))
    with pytest.raises(EdgetfError, match="int8 was not converted: int8 needs samples") as caught:
        make_bundle(tmp_path, tmp_path / "int8.edgetf", BundleOptions(asked), ignore)
    assert caught.value.hint == f"there are: {', '.join(name for name in DEFAULT_SCHEMES if name != 'int8')}"
    with pytest.raises(EdgetfError, match="already exists"):
        make_bundle(benchmarked, bundle, BundleOptions(asked), ignore)
    options = ("--variant", "int8", "--variants", converted, "--reference", reference, "-o", "int8.edgetf")
    ended = edgetf("bundle", benchmarked, *options, "--unproven", "--golden", 5)
    assert ended.returncode == 0, ended.stderr
    assert edgetf("runner").returncode == 0
    command = [sys.executable, "edgetf-runner.pyz", "verify", "int8.edgetf"]
    proven = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert proven.stdout.startswith(f"{Verdict.PASS.label} int8: 5 golden samples"), proven.stderr
    assert "it was signed inconclusive" in proven.stdout
    assert edgetf("runner").returncode == 1
