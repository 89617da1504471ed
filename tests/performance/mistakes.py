"""What a mistake costs: `python -m tests.performance.mistakes [OTHER] [--repeats N]`.

Runs commands and calls of the API with one mistake each, on a small SavedModel, a `.keras` file, variants and a
reference. OTHER is the folder of another version of edgetf, which takes turns. Prints the seconds and the processor
seconds of all processes of a command, the least of N, and whether one of them has started TensorFlow.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parents[2]
# a module for the path of a process: it notes or refuses the start of TensorFlow, not of its message classes
_WATCH = """
import os, sys
class Watches:
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow.python":
            if os.environ.get("REFUSE_TENSORFLOW"):
                raise RuntimeError("TensorFlow was started")
            open(os.environ["TENSORFLOW_STARTED"], "a").close()
sys.meta_path.insert(0, Watches())
"""
# runs many commands in one process; the processes that they start are their own
_ALL = """
import contextlib, io, json, sys
from edgetf.cli import cli, ending
from edgetf.errors import EdgetfError
ended = []
for words in json.load(sys.stdin):
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        if words[0] == "-c":
            try:
                exec(words[1], {})
                code = 0
            except EdgetfError as raised:
                code = 1
                error.write(raised.message)
        else:
            code = ending._run(lambda: cli.main(words[2:], standalone_mode=False))
    ended.append((code, error.getvalue()))
print(json.dumps(ended))
"""


class Made(NamedTuple):
    """What mistakes are made with: the model has the input `image`, the variants and the reference are of it."""

    saved_model: Path
    keras_file: Path
    samples: Path
    variants: Path
    reference: Path


@dataclass(frozen=True)
class Mistake:
    """The arguments of Python, and what the message must have; without one, it is no mistake. 2 is wrong usage."""

    arguments: tuple[str, ...]
    message: str
    code: int = 1

    @property
    def shown(self) -> str:
        """The command as a user gives it, without the folders of what was made."""
        words = self.arguments[1:] if self.arguments[0] == "-c" else ("edgetf", *self.arguments[2:])
        return " ".join(Path(word).name if word.startswith("/") else word for word in words)


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_s: float
    tensorflow: bool
    returned: int
    stderr: str


def mistakes(made: Made, folder: Path) -> list[Mistake]:
    """Mistakes of all kinds, and one command without any; what is wrong is written to `folder`, where they run."""
    messages = _wrong_samples(made.samples, folder)
    model = str(made.saved_model)
    found = [_edgetf(f"inspect {model}", "")]
    for name in map(str, (made.saved_model, made.keras_file)):
        for command in ("convert", "reference"):
            found += [
                _edgetf(f"{command} {name} -o out --samples {file}", message) for file, message in messages.items()
            ]
            found.append(_edgetf(f"{command} {name} -o taken --samples {made.samples}", "taken already holds"))
            wrong = f"{command} {name} -o out --samples {made.samples} --signature no"
            found.append(_edgetf(wrong, "has no signature 'no'"))
        found.append(_edgetf(f"samples show name.npz --model {name}", messages["name.npz"]))
        found.append(_edgetf(f"inspect {name} --signature no", "has no signature 'no'"))
    (folder / "taken" / "reference").mkdir(parents=True)
    (folder / "taken" / "conversion.json").touch()
    return [*found, *_of_options(model, made.samples), *_of_variants(made, messages), *_of_calls(model)]


def _edgetf(words: str, message: str, code: int = 1) -> Mistake:
    return Mistake(("-m", "edgetf", *words.split()), message, code)


def _wrong_samples(samples: Path, folder: Path) -> dict[str, str]:
    """Writes files of samples that are wrong, each in one way; the messages about them by their names."""
    images = np.load(samples)["image"]
    broken, damaged = images.copy(), bytearray(samples.read_bytes())
    broken.flat[-1] = np.nan
    damaged[len(damaged) // 2] ^= 1
    wrong = {
        "name.npz": ({"imag": images}, "the model's inputs are 'image'"),
        "dtype.npz": ({"image": images.astype(np.float64)}, f"the model takes {images.dtype.name}"),
        "shape.npz": ({"image": images[:, :-1]}, "the model takes"),
        "none.npz": ({"image": images[:0]}, "has no samples"),
        "nan.npz": ({"image": broken}, f"holds NaN or infinity, first in sample {len(images) - 1}"),
        "labels.npz": ({"image": images, "labels": np.zeros(len(images) - 1, np.int64)}, "of different lengths"),
    }
    for name, (arrays, _) in wrong.items():
        np.savez(folder / name, **arrays)
    np.savez_compressed(folder / "packed.npz", imag=images)
    (folder / "damaged.npz").write_bytes(damaged)
    (folder / "cut.npz").write_bytes(damaged[: len(damaged) // 2])
    return {name: message for name, (_, message) in wrong.items()} | {
        "packed.npz": "the model's inputs are 'image'",
        "damaged.npz": "its checksum is wrong",
        "cut.npz": "is not an .npz file of plain arrays, or is damaged",
        "missing.npz": "there are no samples at",
    }


def _of_options(model: str, samples: Path) -> list[Mistake]:
    """Mistakes in other options, and in the path of the model."""
    given = f"-o out --samples {samples}"
    return [
        _edgetf(f"convert missing {given}", "missing does not exist"),
        _edgetf(f"reference missing.keras {given}", "missing.keras does not exist"),
        _edgetf(f"convert {model} {given} --scheme int4", "did you mean 'int8'?", 2),
        _edgetf(f"convert {model} {given} --calibration 0", "0 is not in the range", 2),
        _edgetf(f"convert {model} {given} --shape image=1,9,9,1", "cannot have the shape 1,9,9,1"),
        _edgetf(f"convert {model} {given} --pixels imag=0..1", "the model has no input 'imag'"),
        _edgetf(f"convert {model} {given} --like name.npz", "the model's inputs are 'image'"),
        _edgetf(f"convert {model} -o out --ranges missing.json", "cannot read missing.json"),
        _edgetf("models train cmn -o out", "did you mean 'cnn'?"),
        _edgetf(f"reference {model} {given} --on serving:http://lab", "is not the address of a served model"),
        _edgetf(f"run {model} --samples {samples} --test missing.npz --scheme int4", "did you mean 'int8'?", 2),
        _edgetf(f"run {model} --samples {samples} --test {samples} --device pi", "unknown device 'pi'"),
    ]


def _of_variants(made: Made, messages: dict[str, str]) -> list[Mistake]:
    """Mistakes in what is given with variants."""
    variants, reference = made.variants, made.reference
    found = []
    for name in ("name.npz", "dtype.npz", "missing.npz"):
        found.append(_edgetf(f"benchmark {variants} --samples {name} -o out", messages[name]))
        found.append(_edgetf(f"tune {variants} --reference {reference} --samples {name} -o out", messages[name]))
    return [
        *found,
        _edgetf(f"benchmark {variants} --reference missing -o out", "there is no reference.json at missing"),
        _edgetf(f"benchmark missing --reference {reference} -o out", "missing does not exist"),
        _edgetf(f"tune missing --reference {reference} -o out", "there is no conversion.json at missing"),
    ]


def _of_calls(model: str) -> list[Mistake]:
    """The mistakes of a notebook."""
    begin = f"import numpy as np, edgetf; x = np.zeros((9, 8, 8, 1), np.float32); model = {model!r};"
    calls = {
        "edgetf.convert(model, 'out', samples=x[:, :7])": "the model takes",
        "edgetf.convert(model, 'out', samples={'imag': x})": "the model's inputs are 'image'",
        "edgetf.reference(model, (x, np.zeros(8, int)), 'out')": "of different lengths",
        "edgetf.convert(model, 'out', schemes='int4')": "unknown scheme 'int4'",
    }
    return [Mistake(("-c", f"{begin} {call}"), message) for call, message in calls.items()]


def run(arguments: Sequence[str], work: Path, version: Path = HERE, *, refuse: bool = False, given: str = "") -> Cost:
    """Run Python with edgetf of the version in a folder, in `work`; with `refuse`, a process that starts TensorFlow
    fails. `given` is its standard input, and what it prints on standard output is before what it reports."""
    site, started = work / "site", work / "started"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_WATCH)
    started.unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{version}", "TENSORFLOW_STARTED": str(started)}
    env |= {"EDGETF_CACHE": str(work / "cache")} | ({"REFUSE_TENSORFLOW": "1"} if refuse else {})
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, cwd=work, env=env, input=given, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, cpu, started.exists(), ended.returncode, ended.stdout + ended.stderr)


def run_all(known: Sequence[Mistake], work: Path) -> list[tuple[int, str]]:
    """The exit code and the error of each, in one process, where TensorFlow cannot be started."""
    given = json.dumps([one.arguments for one in known])
    ended = run(("-c", _ALL), work, refuse=True, given=given)
    found: list[tuple[int, str]] = [(code, error) for code, error in json.loads(ended.stderr.splitlines()[0])]
    return found


def _make(folder: Path) -> Made:
    """All that mistakes are made with, in processes of their own."""
    code = (
        "import keras, numpy as np\n"
        "layers = keras.layers\n"
        "model = keras.Sequential([keras.Input((8, 8, 1), name='image'), layers.Conv2D(8, 3), layers.Flatten(),"
        " layers.Dense(3)])\n"
        "model.export('saved_model', verbose=False)\n"
        "model.save('model.keras')\n"
        "images = np.random.default_rng(0).normal(size=(200, 8, 8, 1)).astype(np.float32)\n"
        "np.savez('samples.npz', image=images)"
    )
    edgetf = [sys.executable, "-m", "edgetf"]
    for command in (
        [sys.executable, "-c", code],
        [*edgetf, "convert", "saved_model", "-o", "variants", "--scheme", "float32", "--scheme", "dynamic"],
        [*edgetf, "reference", "saved_model", "-o", "ref", "--samples", "samples.npz", "--on", "cpu"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return Made(*(folder / name for name in ("saved_model", "model.keras", "samples.npz", "variants", "ref")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    versions = {"this": HERE} | ({} if options.other is None else {"other": options.other.resolve()})
    headings = [f"{name} {what}" for name in versions for what in ("s", "CPU s", "TensorFlow")]
    table = Table("command", *headings, title=f"mistakes; load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for one in mistakes(_make(work), work):
            runs = [
                [run(one.arguments, work, version) for version in versions.values()] for _ in range(options.repeats)
            ]
            costs = [min(column, key=lambda cost: cost.cpu_s) for column in zip(*runs, strict=True)]
            cells = [(f"{c.seconds:.2f}", f"{c.cpu_s:.2f}", "yes" if c.tensorflow else "no") for c in costs]
            table.add_row(one.shown, *[cell for row in cells for cell in row])
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
