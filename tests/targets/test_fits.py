"""`edgetf inspect --for`: what does not run here is asked of its tools."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgetf.api.look import inspect
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.flatbuffer import read_contents
from edgetf.targets import micro, vela
from edgetf.targets.fits import ETHOS_U, Fit, find_fits
from tests.attacks.kit import NONE, WEIGHTS, write_model
from tests.conftest import Run
from tests.targets.made import write_int8, write_unknown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A variant that runs everywhere, one in float32, one with an unknown operation, and a damaged one."""
    place = tmp_path / "variants"
    place.mkdir()
    write_int8(place / "int8.tflite")
    write_model(place / "float32.tflite", WEIGHTS, NONE)
    content = write_unknown(place / "unknown.tflite").read_bytes()
    (place / "cut.tflite").write_bytes(content[: len(content) // 2])
    return place


def test_each_variant_runs_on_microcontrollers_or_has_the_reason_why_not(folder: Path, edgetf_here: Run) -> None:
    pytest.importorskip("tflite_micro")
    found = json.loads(edgetf_here("inspect", folder, "--for", "micro", "--json").stdout)
    assert {name: one["fits"] for name, one in found.items()} == {
        "cut": False,
        "float32": True,
        "int8": True,
        "unknown": False,
    }
    assert found["unknown"]["missing"] == ["LSH_PROJECTION"]
    assert "LSH_PROJECTION" in found["unknown"]["reason"]
    assert "damaged" in found["cut"]["reason"]
    assert 0 < found["int8"]["activation_bytes"] < found["int8"]["ram_bytes"]
    assert found["int8"]["flash_bytes"] == (folder / "int8.tflite").stat().st_size
    shown = edgetf_here("inspect", folder, "--for", "micro").stdout
    assert f"{found['int8']['ram_bytes']:,} B" in shown
    assert "unknown.tflite: operations that are missing there: LSH_PROJECTION" in shown


def test_an_npu_takes_operations_of_tflite_and_names_the_reason_for_the_others(folder: Path, edgetf_here: Run) -> None:
    pytest.importorskip("ethosu")
    found = inspect(folder, target="ethos-u55-128")
    int8, float32 = found["int8"], found["float32"]
    of_file = read_contents(folder / "int8.tflite").counts()
    assert (int8.operations, int8.on_npu, int8.on_cpu) == (sum(of_file.values()), sum(of_file.values()), ())
    assert int8.npu_ms > 0
    assert int8.ram_bytes > 0
    assert "MHz" in int8.assumed
    assert (float32.operations, float32.on_npu, float32.npu_ms, float32.ram_bytes) == (2, 0, None, None)
    assert {one.kind: one.count for one in float32.on_cpu} == {"FULLY_CONNECTED": 1, "SOFTMAX": 1}
    assert all("Float32" in reason for one in float32.on_cpu for reason in one.reasons)
    assert "damaged" in found["cut"].reason
    shown = edgetf_here("inspect", folder / "float32.tflite", "--for", "ethos-u55-128").stdout
    assert "estimates; nothing was measured" in shown
    assert "0 of 2" in shown


def test_what_is_neither_on_the_npu_nor_runs_on_the_cpu_beside_it_does_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ethosu")
    asked: list[Path] = []

    def refuse(path: Path) -> Fit:
        asked.append(path)
        return Fit(str(path), "", 1, "micro", "tflite-micro", fits=False, reason="no kernels")

    monkeypatch.setattr(vela, "fit_micro", refuse)
    beside_micro = find_fits(folder / "float32.tflite", "ethos-u55-32")["float32"]
    assert (beside_micro.fits, beside_micro.on_npu) == (False, None)
    assert beside_micro.reason == "nothing is on the NPU, and the CPU beside it refuses it: no kernels"
    assert find_fits(folder / "int8.tflite", "ethos-u55-32")["int8"].fits
    assert asked == [folder / "float32.tflite"]


def test_a_target_that_is_unknown_and_a_tool_that_is_missing_are_one_line(
    folder: Path, edgetf_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = edgetf_here("inspect", folder, "--for", "ethos-u55-1024")
    lines = ended.stderr.splitlines()
    assert (ended.returncode, len(lines)) == (2, 4)  # the usage, the help, nothing, and the error
    assert lines[-1].startswith("Error: ")
    assert "unknown target 'ethos-u55-1024'" in lines[-1]
    monkeypatch.setattr(vela, "find_spec", lambda name: None)
    monkeypatch.setattr(micro, "find_spec", lambda name: None)
    for target, extra in (("micro", "micro"), (ETHOS_U[0], "ethos-u")):
        with pytest.raises(MissingExtraError) as caught:
            find_fits(folder, target)
        assert f"[{extra}]" in caught.value.hint
    with pytest.raises(EdgetfError, match="there are no variants"):
        find_fits(folder.parent, "micro")


def test_a_compiler_that_fails_is_the_reason_of_that_variant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ethosu")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = find_fits(folder / "int8.tflite", "ethos-u65-256")["int8"]
    assert isinstance(found, Fit)
    assert (found.fits, found.reason) == (False, "Vela refuses it: it printed nothing")
