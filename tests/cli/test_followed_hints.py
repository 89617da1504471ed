"""Hints are followed: a command fails, and works as its hint says. Each row is a command, its hint, and what follows.

Rows are hints at an option or a command that a small model can provoke. Others are followed elsewhere, or not:

- names that are misspelled (inputs, schemes, options, keys of files): `nearest` has its tests
- arrays that do not fit an input: tests/test_samples.py and tests/test_samples_saving.py
- `--no-wait`: tests/device/test_lock.py; `--allow` of history compare: tests/benchmarks/history
- `edgetf inspect` of a folder, `np.savez`: tests/cli/test_inspect.py
- `--trust`: tests/cases/test_lambda_code.py and tests/conversion/test_effects.py, here once for samples
- hints of `tune` and `models train` (`--verdict`, `--samples`, `--qat`): what follows takes minutes
- hints that need a device, a GPU, a server or another runtime (`--on gpu`, `--runtime`, `--delegate`, `pip install`)
- hints at damaged files ("make it again"): the command that made them has its own tests
- hints at more data or turns (`--blocks`, "more samples would decide"): their result depends on the machine
"""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.device.local import LocalDevice
from tests.cases import imputed, lambda_code
from tests.conftest import BLOCKS, SHORT, Run, Small, ignore


@dataclass(frozen=True)
class Row:
    """`fails` prints the `hint`; the commands `then` follow it and end with one of `codes`. `{name}` is a place."""

    fails: str
    hint: str
    then: tuple[str, ...]
    codes: tuple[int, ...] = (0,)


_NAN = "--samples {nan}/samples.npz"
_BUNDLE = "bundle {benchmarked} --variant float32 --variants {converted} --reference {reference} -o b.edgetf"

ROWS = [
    # NaN
    Row("samples show {nan}/samples.npz", "--allow-nan", ("samples show {nan}/samples.npz --allow-nan",)),
    Row(
        "samples convert {nan}/samples.npz copy.npz",
        "--allow-nan",
        ("samples convert {nan}/samples.npz copy.npz --allow-nan",),
    ),
    Row(
        f"convert {{nan}}/saved_model {_NAN} --scheme float32 -o out",
        "--allow-nan",
        (
            f"convert {{nan}}/saved_model {_NAN} --scheme float32 -o out --allow-nan",
            f"benchmark out {_NAN} -o bench --blocks 2 --allow-nan",
        ),
    ),
    Row(
        f"reference {{nan}}/saved_model {_NAN} -o ref --on cpu",
        "--allow-nan",
        (f"reference {{nan}}/saved_model {_NAN} -o ref --on cpu --allow-nan",),
    ),
    # results that exist
    Row(
        "samples convert {samples} {taken}/copy.npz", "--force", ("samples convert {samples} {taken}/copy.npz --force",)
    ),
    Row("samples convert {samples} {taken}/copy.npz", "another name", ("samples convert {samples} other.npz",)),
    Row("report {benchmarked} -o {taken}/r.html", "--force", ("report {benchmarked} -o {taken}/r.html --force",)),
    Row("runner -o {taken}/r.pyz", "--force", ("runner -o {taken}/r.pyz --force",)),
    Row(f"{_BUNDLE[:-8]}{{taken}}/b.edgetf --unproven", "another name", (f"{_BUNDLE} --unproven",)),
    Row(
        "convert {two} --signature a --scheme float32 -o {taken}",
        "--force",
        ("convert {two} --signature a --scheme float32 -o {taken} --force",),
    ),
    # signatures
    Row("inspect {two}", "--signature", ("inspect {two} --signature a",)),
    Row(
        "convert {two} --scheme float32 -o out", "--signature", ("convert {two} --signature b --scheme float32 -o out",)
    ),
    Row(
        "reference {two} --samples {rows} -o ref --on cpu",
        "--signature",
        ("reference {two} --samples {rows} -o ref --on cpu --signature a",),
    ),
    Row("samples show {rows} --model {two}", "--signature", ("samples show {rows} --model {two} --signature a",)),
    # code in a model
    Row("samples show {v} --model {code}/k3.keras", "--trust", ("samples show {v} --model {code}/k3.keras --trust",)),
    Row(
        "samples convert {v} copy.npz --model {code}/k3.keras",
        "--trust",
        ("samples convert {v} copy.npz --model {code}/k3.keras --trust",),
    ),
    # conversion
    Row(
        "convert {two} --signature a --scheme int8 -o out",
        "give some with --samples FILE.npz",
        ("convert {two} --signature a --scheme int8 -o out --samples {rows}",),
    ),
    Row(
        "convert {two} --signature a --scheme float32 -o {two}/out",
        "outside of the model with -o",
        ("convert {two} --signature a --scheme float32 -o out",),
    ),
    Row(
        "convert {two} --signature text -o out",
        "--select-tf-ops",
        ("convert {two} --signature text --select-tf-ops -o out --force",),
    ),
    Row(
        "convert {two} --signature length -o out",
        "--shape x=LENGTH",
        ("convert {two} --signature length --scheme float32 -o out --shape x=9",),
    ),
    Row(
        "benchmark {two} -o bench",
        "edgetf convert",
        ("convert {two} --signature a --scheme float32 -o OUT", "benchmark OUT -o bench --blocks 2"),
    ),
    # samples
    Row(
        "samples show {photos}",
        "edgetf samples show --model MODEL",
        ("samples show {photos} --model {saved_model}",),
        (1,),  # the next hint, which the next row follows
    ),
    Row(
        "samples show folder:{photos} --model {saved_model}",
        "add ?scale=1/255",
        ("samples show folder:{photos}?scale=1/255 --model {saved_model}",),
    ),
    Row("samples show {bare}", "edgetf samples show --model MODEL", ("samples show {bare} --model {saved_model}",)),
    Row(
        "samples convert {samples} out.txt",
        "give OUT.npz, or OUT.tfrecord[.gz] with --shards",
        ("samples convert {samples} out.npz", "samples convert {samples} out.tfrecord --shards 2"),
    ),
    # reference and verdicts
    Row(
        "reference {two} --signature a --samples {rows} -o ref --on gpu",
        "use --on cpu",
        ("reference {two} --signature a --samples {rows} -o ref --on cpu",),
    ),
    Row(
        "check {timed}",
        "edgetf benchmark --reference REF",
        ("benchmark {converted}/float32.tflite --reference {reference} -o bench --blocks 2", "check bench"),
    ),
    Row("check {benchmarked} --variant flaot32", "float32", ("check {benchmarked} --variant float32",)),
    Row("gate {unknown} {benchmarked}", "max_drop", ("gate {known} {benchmarked}",)),
    Row("history list --history {samples}", "--history", ("history list --history {history}",)),
    Row(
        "history list --history nothing.sqlite",
        "edgetf history add BENCH",
        ("history add {benchmarked} --history nothing.sqlite", "history list --history nothing.sqlite"),
    ),
    Row(
        "history trend --device pi --history {history} -o t.svg",
        "edgetf history list",
        ("history list --history {history}",),
    ),
    # bundles
    Row(_BUNDLE.replace("{converted}", "{two}"), "edgetf convert", (f"{_BUNDLE} --unproven",)),
    Row(_BUNDLE.replace("{converted}", "{other}"), "--variants", (f"{_BUNDLE} --unproven",)),
    Row(f"{_BUNDLE} --samples {{shifted}}", "--samples", (f"{_BUNDLE} --samples {{samples}} --unproven",)),
    Row("verify {known}", "edgetf bundle", (f"{_BUNDLE} --unproven", "verify b.edgetf"), (0, 3)),
]


class _Two(tf.Module):  # type: ignore[misc]
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def a(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.nn.softmax(tf.matmul(x, tf.reshape(tf.range(12.0), [4, 3])))}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def b(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2 * x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])  # type: ignore[untyped-decorator]
    def text(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.strings.to_hash_bucket_fast(x, 9)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def length(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": 2 * x}


@pytest.fixture(scope="module")
def places(
    small: Small, converted: Path, reference: Path, benchmarked: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    from PIL import Image

    folder = tmp_path_factory.mktemp("places")
    for name in ("nan", "code", "other", "photos"):
        (folder / name).mkdir()
    imputed.make(folder / "nan")
    lambda_code.make(folder / "code")
    np.savez(folder / "v.npz", v=np.zeros((4, 4), np.float32))
    module = _Two()
    signatures = {name: getattr(module, name) for name in ("a", "b", "text", "length")}
    tf.saved_model.save(module, str(folder / "two"), signatures=signatures)
    rows = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    np.savez(folder / "rows.npz", x=rows)
    shutil.copyfile(converted / "float16.tflite", folder / "other" / "float16.tflite")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(folder / "photos" / "1.png")
    with np.load(small.samples) as archive:
        np.savez(folder / "shifted.npz", image=archive["image"] + 1)
        _write_records(folder / "bare.tfrecord", archive["image"])
    (folder / "known.toml").write_text('variants = ["float32"]\n[budgets]\nmax_drop = 100\n')
    (folder / "unknown.toml").write_text('variants = ["float32"]\n[budgets]\nmax_dorp = 100\n')
    quick = BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1)
    benchmark([converted / "float32.tflite"], LocalDevice(), folder / "timed", quick, ignore)
    files = ("v.npz", "rows.npz", "shifted.npz", "bare.tfrecord", "known.toml", "unknown.toml")
    return {
        **{name: folder / name for name in ("nan", "code", "two", "other", "photos", "timed")},
        **{file.partition(".")[0]: folder / file for file in files},
        "saved_model": small.saved_model,
        "samples": small.samples,
        "history": folder / "history.sqlite",
        "converted": converted,
        "reference": reference,
        "benchmarked": benchmarked,
    }


def _write_records(file: Path, images: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    """Records that edgetf did not write: no .json says what is in them."""
    with tf.io.TFRecordWriter(str(file)) as writer:
        for image in images:
            values = tf.train.Feature(float_list=tf.train.FloatList(value=image.ravel()))
            writer.write(tf.train.Example(features=tf.train.Features(feature={"image": values})).SerializeToString())


@pytest.fixture
def taken(tmp_path: Path, converted: Path) -> Path:
    """A folder that has a file of each name already."""
    folder = tmp_path / "taken"
    folder.mkdir()
    for name in ("copy.npz", "r.html", "r.pyz", "b.edgetf", "conversion.json"):
        (folder / name).write_text("mine")
    return folder


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fails)
def test_a_hint_works_when_it_is_followed(row: Row, places: dict[str, Path], taken: Path, edgetf_here: Run) -> None:
    if row.fails.startswith("history"):
        assert edgetf_here("history", "add", places["benchmarked"], "--history", places["history"]).returncode == 0

    def words(command: str) -> list[str]:
        return shlex.split(command.format(**places, taken=taken))

    failed = edgetf_here(*words(row.fails))
    assert failed.returncode not in (0, 2), failed.stdout
    hints = [line for line in failed.stderr.splitlines() if line.startswith(" hint:")] or failed.stdout.splitlines()
    assert row.hint in "\n".join(hints), failed.stderr + failed.stdout
    for command in row.then:
        done = edgetf_here(*words(command))
        assert done.returncode in row.codes, done.stderr + done.stdout
        assert done.returncode == 0 or done.stderr != failed.stderr
