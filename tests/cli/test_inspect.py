"""`edgetf inspect` accepts every format that edgetf reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from edgetf.api.look import inspect
from edgetf.cli import cli
from edgetf.conversion.savedmodel import read_source
from edgetf.files import write_document
from edgetf.results import SamplesUsed
from edgetf.results.benchmark import BENCHMARK_SCHEMA
from edgetf.samples import load_samples
from edgetf.schemes import DEFAULT_SCHEMES
from tests.conftest import Run, Small
from tests.tuning.made_tuning import made_tuning


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


def _show(place: object) -> tuple[str, Any]:
    """What `edgetf inspect` prints, and its JSON."""
    shown, plain = (CliRunner().invoke(cli, ["inspect", str(place), *more]) for more in ((), ("--json",)))
    assert shown.exit_code == plain.exit_code == 0, shown.output + plain.output
    return shown.stdout, json.loads(plain.stdout)


@pytest.mark.parametrize("names", [["local", "pi"], ["pi"]])
def test_the_folder_of_a_benchmark_on_several_devices_is_shown(
    names: list[str], benchmarked: Path, tmp_path: Path
) -> None:
    """Also if all but one failed."""
    for name in names:
        shutil.copytree(benchmarked, tmp_path / "bench" / name)
    shown, plain = _show(tmp_path / "bench")
    assert shown.count("Measured on") == len(names)
    assert [document["schema"] for document in (plain if len(names) > 1 else [plain])] == [BENCHMARK_SCHEMA] * len(
        names
    )
    assert len(inspect(tmp_path / "bench")) == len(names) * len(DEFAULT_SCHEMES)


def test_a_folder_with_one_document_of_any_kind_is_shown(converted: Path, tmp_path: Path) -> None:
    for name in ("tuned", "ranges"):
        (tmp_path / name).mkdir()
    shutil.copyfile(converted / "ranges.json", tmp_path / "ranges" / "ranges.json")
    write_document(tmp_path / "tuned" / "tuning.json", made_tuning(SamplesUsed("s.npz", "d", 200)))
    shown, plain = _show(tmp_path / "ranges")
    assert "Ranges" in shown
    assert plain == json.loads((converted / "ranges.json").read_text())
    shown, plain = _show(tmp_path / "tuned")
    assert "5 candidates" in shown
    assert "55 of 65 in one piece" in shown
    assert plain == json.loads((tmp_path / "tuned" / "tuning.json").read_text())


def test_folders_of_images_are_counted_and_named_as_samples(tmp_path: Path) -> None:
    from PIL import Image

    for file in ("photos/a/1.png", "photos/a/2.png", "photos/b/1.png", "flat/1.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / file)
    for source in (tmp_path / "photos", f"folder:{tmp_path / 'photos'}", f"folder:{tmp_path / 'photos'}?scale=1/255"):
        shown, plain = _show(source)
        assert "3 images, 2 classes" in shown
        assert plain == {"images": 3, "classes": {"a": 2, "b": 1}}
        assert inspect(source) == {"a": 2, "b": 1}
    assert f"edgetf samples show 'folder:{tmp_path / 'photos'}?scale=1/255' --model MODEL" in shown
    shown, plain = _show(tmp_path / "flat")
    assert "1 images, no classes" in shown
    assert plain == {"images": 1, "classes": {"": 1}}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("folder:gone", "cannot read gone: No such file or directory"),
        ("folder:empty", "empty has no images"),
        ("empty", "empty is neither a SavedModel nor anything else that edgetf reads"),
        ("shards/*.npz", "there are no samples at shards/*.npz"),
        ("shards/*.txt", "shards/*.txt is neither a TFLite file nor anything else that edgetf reads"),
    ],
)
def test_folders_without_anything_are_one_line_and_a_hint(
    source: str, message: str, edgetf_here: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = edgetf_here("inspect", source)
    assert done.returncode == 1
    assert message in done.stderr
    assert "hint:" in done.stderr


def test_samples_with_nan_are_shown(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.array([[1, np.nan]], np.float32))
    assert "1 samples of" in _show(tmp_path / "s.npz")[0]


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
        ("other.json", "{}", "is not a conversion, a reference, a benchmark, a tuning, a run or ranges"),
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


def test_a_saved_model_is_shown_without_messages_of_tensorflow(edgetf: Run, small: Small) -> None:
    ended = edgetf("inspect", small.saved_model)
    assert ended.returncode == 0, ended.stderr
    assert not [line for line in ended.stderr.splitlines() if not line.startswith("Inspecting")]
