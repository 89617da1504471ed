"""What a mistake costs: `python -m tests.performance.mistakes [OTHER]`.

Runs commands with one mistake each, on a small SavedModel and a `.keras` file. OTHER is the folder of another version
of edgetf, which takes turns. Prints the seconds and the processor seconds of all processes of a command, and whether
one of them has started TensorFlow.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Mistake:
    """A command, and what its message must have; without one, it makes no mistake."""

    words: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_s: float
    tensorflow: bool
    returned: int
    stderr: str


def mistakes(saved_model: Path, keras_file: Path, samples: Path, folder: Path) -> list[Mistake]:
    """Mistakes in samples of a model with the input `image`; files for them are written to `folder`."""
    images = np.load(samples)["image"]
    broken = images.copy()
    broken.flat[0] = np.nan
    wrong = {
        "name.npz": ({"imag": images}, "the model's inputs are 'image'"),
        "dtype.npz": ({"image": images.astype(np.float64)}, f"the model takes {images.dtype.name}"),
        "shape.npz": ({"image": images[:, :-1]}, "the model takes"),
        "none.npz": ({"image": images[:0]}, "has no samples"),
        "nan.npz": ({"image": broken}, "holds NaN or infinity, first in sample 0"),
    }
    for name, (arrays, _) in wrong.items():
        np.savez(folder / name, **arrays)
    given = ("-o", "out", "--samples")
    messages = {name: message for name, (_, message) in wrong.items()} | {"missing.npz": "there are no samples at"}
    found = []
    for model in map(str, (saved_model, keras_file)):
        for command in ("convert", "reference"):
            found += [Mistake((command, model, *given, name), message) for name, message in messages.items()]
            words = (command, model, *given, str(samples), "--signature", "no")
            found.append(Mistake(words, "has no signature 'no'"))
        found.append(Mistake(("samples", "show", "name.npz", "--model", model), messages["name.npz"]))
        found.append(Mistake(("inspect", model, "--signature", "no"), "has no signature 'no'"))
    return [*found, Mistake(("inspect", str(saved_model)), "")]


def run(words: tuple[str, ...], work: Path, version: Path = HERE, *, refuse: bool = False) -> Cost:
    """Run `edgetf` of the version in a folder, in `work`; with `refuse`, a process that starts TensorFlow fails."""
    site, started = work / "site", work / "started"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_WATCH)
    started.unlink(missing_ok=True)
    env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{version}", "TENSORFLOW_STARTED": str(started)}
    env |= {"REFUSE_TENSORFLOW": "1"} if refuse else {}
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "edgetf", *words]
    ended = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(seconds, cpu, started.exists(), ended.returncode, ended.stderr)


def _model(folder: Path) -> tuple[Path, Path, Path]:
    """A SavedModel, the same as a `.keras` file, and samples; made in a process of their own."""
    code = (
        "import keras, numpy as np\n"
        "layers = keras.layers\n"
        "model = keras.Sequential([keras.Input((8, 8, 1), name='image'), layers.Conv2D(8, 3), layers.Flatten(),"
        " layers.Dense(3)])\n"
        "model.export('saved_model', verbose=False)\n"
        "model.save('model.keras')\n"
        "np.savez('samples.npz', image=np.zeros((200, 8, 8, 1), np.float32))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    return folder / "saved_model", folder / "model.keras", folder / "samples.npz"


def main() -> None:
    versions = {"this": HERE} | ({"other": Path(sys.argv[1]).resolve()} if len(sys.argv) > 1 else {})
    headings = [f"{name} {what}" for name in versions for what in ("s", "CPU s", "TensorFlow")]
    table = Table("command", *headings, title="mistakes")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for one in mistakes(*_model(work), work):
            costs = [run(one.words, work, version) for version in versions.values()]
            cells = [(f"{c.seconds:.2f}", f"{c.cpu_s:.2f}", "yes" if c.tensorflow else "no") for c in costs]
            shown = " ".join(word.replace(f"{work}/", "") for word in one.words)
            table.add_row(shown, *[cell for row in cells for cell in row])
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
