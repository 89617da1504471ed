"""`edgetf inspect` accepts every format that edgetf reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgetf.cli import cli
from tests.conftest import Run, Small


def test_every_kind_is_shown(
    small: Small, converted: Path, reference: Path, benchmarked: Path, edgetf: Run, tmp_path: Path
) -> None:
    bundle = ["bundle", benchmarked, "--variant", "float32", "--variants", converted, "--reference", reference]
    assert edgetf(*bundle, "--unproven", "-o", "float32.edgetf").returncode == 0
    shown = {
        small.saved_model: "signature serving_default",
        small.keras_file: "signature serving_default",
        small.samples: "200 samples",
        converted: "TFLite",
        converted / "conversion.json": "TFLite",
        converted / "int8.tflite": "signatures: serving_default",
        converted / "ranges.json": "Ranges",
        reference: "TensorFlow's own noise",
        benchmarked: "Measured on",
        benchmarked / "benchmark.json": "Measured on",
        tmp_path / "float32.edgetf": "Signed for",
    }
    for place, text in shown.items():  # in one process, which starts TensorFlow once
        done = CliRunner().invoke(cli, ["inspect", str(place)])
        assert done.exit_code == 0, done.output
        assert text in done.stdout, place
        plain = CliRunner().invoke(cli, ["inspect", str(place), "--json"])
        assert isinstance(json.loads(plain.stdout), dict), place


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing", None, "does not exist"),
        ("other.json", "{}", "is not a conversion, a reference, a benchmark, a tuning or ranges"),
        ("broken.json", "{", "is not a document of edgetf"),
        ("text.keras", "x", "is not a .keras file"),
        ("text.txt", "x", "nor anything else that edgetf reads"),
    ],
)
def test_an_unreadable_file_gives_one_line_and_a_hint(
    name: str, content: str | None, message: str, edgetf: Run, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    done = edgetf("inspect", name)
    assert done.returncode == 1
    assert message in done.stderr
    assert "hint:" in done.stderr


def test_the_error_for_an_unknown_folder_lists_its_contents(edgetf: Run, tmp_path: Path) -> None:
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "model.keras").write_bytes(b"")
    done = edgetf("inspect", "trained")
    assert done.returncode == 1
    assert "give one of trained/model.keras" in done.stderr


def test_a_variant_that_differs_from_the_converted_one_is_named(converted: Path, edgetf: Run, tmp_path: Path) -> None:
    out = shutil.copytree(converted, tmp_path / "out")
    shutil.copyfile(out / "float16.tflite", out / "int8.tflite")
    (out / "dynamic.tflite").unlink()
    shown = edgetf("inspect", "out").stdout
    assert "changed: out/int8.tflite" in shown
    assert "missing: out/dynamic.tflite" in shown
    assert "float16.tflite is not" not in shown
