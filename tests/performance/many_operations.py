"""What a model of many operations costs: `python -m tests.performance.many_operations [OPERATIONS] [OTHER]`.

Makes models of OPERATIONS / 4, OPERATIONS / 2 and OPERATIONS (by default 5,000), a product and a tanh in turn, and runs
TensorFlow's converter alone, `edgetf convert` to float32 and to float16, and the comparison of all layers that
`edgetf explain` does, of float32 with itself. OTHER is the folder of another version of edgetf, which then takes turns.
Prints processor seconds, and the memory of the largest process.
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
from tests.performance.large_model import ALONE

_WIDTH = 16
_LAYERS = f"""
import sys, numpy as np
from pathlib import Path
from edgetf.benchmarks.diagnosis.layers import blame
x = np.random.default_rng(0).standard_normal((32, {_WIDTH}), np.float32)
variant = Path(sys.argv[1], "float32.tflite")
found = blame(variant, variant, {{"x": x}})
assert len(found) == int(sys.argv[2]), len(found)
assert all(layer.local_db is not None for layer in found)
"""


def make_model(operations: int, out: Path) -> None:
    """Write a SavedModel with so many operations to the folder `out`."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    kernels = random.standard_normal((operations // 2, _WIDTH, _WIDTH), np.float32) / _WIDTH**0.5
    module = tf.Module()
    module.kernels = tf.Variable(kernels.astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, _WIDTH], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def call(x: Any) -> dict[str, Any]:
        for kernel in tf.unstack(module.kernels):
            x = tf.tanh(x @ kernel)
        return {"y": x}

    module.call = call
    tf.saved_model.save(module, str(out), signatures=call)


def convert_alone(model: Path, work: Path) -> Cost:
    """What TensorFlow's converter costs."""
    return run(["-c", ALONE, str(model), str(work / "alone.tflite")])


def compare(model: Path, operations: int, versions: dict[str, Path], work: Path) -> Iterator[tuple[str, str, Cost]]:
    """What is done with a model of `make_model`, by which version, and its cost."""
    for name, folder in versions.items():
        out = work / name
        words = ["-m", "edgetf", "convert", str(model), "-o", str(out), "--force"]
        yield "convert to float32", name, run([*words, "--scheme", "float32"], folder)
        both = run([*words, "--scheme", "float32", "--scheme", "float16"], folder)
        yield "convert to float32 and float16", name, both
        yield "compare layers", name, run(["-c", _LAYERS, str(out), str(operations)], folder)


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    versions = ({"other": Path(sys.argv[2]).resolve()} if len(sys.argv) > 2 else {}) | {"this": HERE}
    table = Table("operations", "what", "by", "seconds", "MB", title=f"load {os.getloadavg()[0]:.1f}")
    for operations in (most // 4, most // 2, most):
        with tempfile.TemporaryDirectory() as work:
            model = Path(work, "saved_model")
            make_model(operations, model)
            alone = ("convert to float32", "TensorFlow", convert_alone(model, Path(work)))
            for what, name, cost in (alone, *compare(model, operations, versions, Path(work))):
                table.add_row(f"{operations:,}", what, name, f"{cost.seconds:.1f}", f"{cost.megabytes:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
