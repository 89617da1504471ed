"""What a large model costs: `python -m tests.performance.large_model [--scaled] [MEGABYTES] [OTHER]`.

Makes a SavedModel of MEGABYTES (by default 300) of matrices, and runs TensorFlow's converter alone, `edgetf convert` to
float32, and `edgetf inspect` of the result, each in processes. OTHER is the folder of another version of edgetf, which
then takes turns. With --scaled, results are multiplied by a factor, by which the converter multiplies the matrices.
Prints processor seconds, and the memory of the largest process also as a multiple of the file.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.performance.cost import HERE, Cost, run

_MATRIX_MB = 50.0  # of each matrix, at most
ALONE = """
import sys, tensorflow as tf
content = tf.lite.TFLiteConverter.from_saved_model(sys.argv[1]).convert()
with open(sys.argv[2], "wb") as file:
    file.write(content)
"""


def make_model(megabytes: float, out: Path, is_scaled: bool = False) -> None:
    """Write a SavedModel with that many megabytes of matrices to the folder `out`; `is_scaled` is for a factor behind
    each."""
    import tensorflow as tf

    count = max(1, round(megabytes / _MATRIX_MB))
    width = int((megabytes * 1e6 / count / 4) ** 0.5)
    module, random = tf.Module(), np.random.default_rng(0)
    scale = np.float32(1.0 if is_scaled else width**-0.5)
    module.kernels = [tf.Variable(random.standard_normal((width, width), np.float32) * scale) for _ in range(count)]

    @tf.function(input_signature=[tf.TensorSpec([None, width], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def call(x: Any) -> dict[str, Any]:
        for kernel in module.kernels:
            x = tf.nn.relu(x @ kernel) / width**0.5 if is_scaled else tf.nn.relu(x @ kernel)
        return {"y": x}

    module.call = call
    tf.saved_model.save(module, str(out), signatures=call)


def convert_alone(model: Path, out: Path) -> tuple[Cost, float]:
    """What TensorFlow's converter costs, and the megabytes of the file `out` that it makes."""
    cost = run(["-c", ALONE, str(model), str(out)])
    return cost, out.stat().st_size / 1e6


def compare(model: Path, versions: dict[str, Path], work: Path) -> Iterator[tuple[str, str, Cost]]:
    """What is done with a SavedModel, by which version, and its cost."""
    for name, folder in versions.items():
        out = work / name
        yield "convert", name, run(_edgetf("convert", model, "-o", out, "--scheme", "float32"), folder)
        yield "inspect", name, run(_edgetf("inspect", out / "float32.tflite"), folder)


def _edgetf(*words: object) -> list[str]:
    return ["-m", "edgetf", *map(str, words)]


def main() -> None:
    given = [one for one in sys.argv[1:] if one != "--scaled"]
    megabytes = float(given[0]) if given else 300.0
    versions = ({"other": Path(given[1]).resolve()} if len(given) > 1 else {}) | {"this": HERE}
    table = Table(
        "what", "by", "seconds", "MB", "MB of the file", "times the file", title=f"load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory() as work:
        model = Path(work, "saved_model")
        make_model(megabytes, model, "--scaled" in sys.argv)
        alone, size = convert_alone(model, Path(work, "alone.tflite"))
        for what, name, cost in (("convert", "TensorFlow", alone), *compare(model, versions, Path(work))):
            times = f"{cost.megabytes / size:.2f}"
            table.add_row(what, name, f"{cost.seconds:.1f}", f"{cost.megabytes:.0f}", f"{size:.0f}", times)
    Console().print(table)


if __name__ == "__main__":
    main()
