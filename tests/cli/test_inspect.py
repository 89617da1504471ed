"""`edgetf inspect` accepts every format that edgetf reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from edgetf.cli import cli
from edgetf.conversion.savedmodel import read_source
from edgetf.samples import load_samples
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


class Odd(tf.Module):  # type: ignore[misc]
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name=name) for name in ("labels", "image")])  # type: ignore[untyped-decorator]
    def labels(self, labels: tf.Tensor, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": labels + image}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.int32, name="file")])  # type: ignore[untyped-decorator]
    def file(self, file: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2 * file}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])  # type: ignore[untyped-decorator]
    def text(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.strings.to_hash_bucket_fast(text, 9)}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.bfloat16, name="x")])  # type: ignore[untyped-decorator]
    def half(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.cast(x, tf.float32)}


def _save(name: str, folder: Path) -> Path:
    module = Odd()
    tf.saved_model.save(module, str(folder / name), signatures=getattr(module, name))
    return folder / name


@pytest.mark.parametrize(("name", "labelled"), [("labels", "labels_"), ("file", "labels")])
def test_the_printed_line_saves_samples_that_are_read(
    name: str, labelled: str, edgetf_here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _save(name, tmp_path)
    shown = edgetf_here("inspect", model).stdout
    [line] = [line for line in shown.splitlines() if line.startswith("Samples for it: ")]
    assert f"{labelled}=labels" in line
    array = np.ones((3, 2))
    exec(line.removeprefix("Samples for it: "), {"np": np, "array": array, "labels": np.arange(3)})
    samples = load_samples("samples.npz", read_source(model, None).inputs)
    assert samples.labels is not None
    assert samples.labels.tolist() == [0, 1, 2]


def test_inputs_that_no_samples_fit_are_explained_instead(edgetf_here: Run, tmp_path: Path) -> None:
    text, half = (edgetf_here("inspect", _save(name, tmp_path)).stdout for name in ("text", "half"))
    assert "astype" not in text + half
    assert "'text' takes strings, which samples cannot hold; convert strings to numbers before the model" in text
    assert f"edgetf convert {tmp_path / 'text'} --select-tf-ops -o OUT" in text
    assert "'x' takes bfloat16, which samples cannot hold; export the model with an input of a type" in half
    assert "--select-tf-ops" not in half


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
