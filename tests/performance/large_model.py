"""What a large model costs: `python -m tests.performance.large_model [MEGABYTES] [OTHER]`.

Makes a SavedModel of MEGABYTES (by default 300) of matrices, and runs TensorFlow's converter alone, `edgetf convert` to
float32, and `edgetf inspect` of the result, each in processes. OTHER is the folder of another version of edgetf, which
then takes turns. Prints processor seconds, and the memory of the largest process also as a multiple of the file.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.performance.cost import HERE, Cost, run

_MATRIX_MB = 50.0  # of each matrix, at most
_MAKE = """
import sys, numpy as np, tensorflow as tf
width, count, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

class Model(tf.Module):
    def __init__(self):
        random = np.random.default_rng(0)
        self.kernels = [tf.Variable(random.standard_normal((width, width), np.float32)) for _ in range(count)]

    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32, name="x")])
    def call(self, x):
        for kernel in self.kernels:
            x = tf.nn.relu(x @ kernel) / width ** 0.5
        return {"y": x}

model = Model()
tf.saved_model.save(model, out, signatures=model.call)
"""
_ALONE = """
import sys, tensorflow as tf
content = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1]).convert()
with open(sys.argv[2], "wb") as file:
    file.write(content)
"""


def make_model(megabytes: float, out: Path) -> None:
    """Write a SavedModel with that many megabytes of matrices to the folder `out`."""
    count = max(1, round(megabytes / _MATRIX_MB))
    width = int((megabytes * 1e6 / count / 4) ** 0.5)
    run(["-c", _MAKE, str(width), str(count), str(out)])


def compare(model: Path, versions: dict[str, Path], work: Path) -> Iterator[tuple[str, str, Cost, float]]:
    """What is done with a SavedModel, by whom, its cost, and the megabytes of the variant."""
    alone = work / "alone.tflite"
    cost = run(["-c", _ALONE, str(model), str(alone)])
    size = alone.stat().st_size / 1e6
    yield "convert", "TensorFlow", cost, size
    for name, folder in versions.items():
        out = work / name
        yield "convert", name, run(_edgetf("convert", model, "-o", out, "--scheme", "float32"), folder), size
        yield "inspect", name, run(_edgetf("inspect", out / "float32.tflite"), folder), size


def _edgetf(*words: object) -> list[str]:
    return ["-m", "edgetf", *map(str, words)]


def main() -> None:
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    versions = ({"other": Path(sys.argv[2]).resolve()} if len(sys.argv) > 2 else {}) | {"this": HERE}
    table = Table(
        "what", "by", "seconds", "MB", "MB of the file", "times the file", title=f"load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as work:
        model = Path(work, "saved_model")
        make_model(megabytes, model)
        for what, name, cost, size in compare(model, versions, Path(work)):
            times = f"{cost.megabytes / size:.2f}"
            table.add_row(what, name, f"{cost.seconds:.1f}", f"{cost.megabytes:.0f}", f"{size:.0f}", times)
    Console().print(table)


if __name__ == "__main__":
    main()
