"""What a reference of many samples costs: `python -m tests.performance.many_samples [SAMPLES] [OTHER]`.

Makes a small model of four inputs and SAMPLES / 4, SAMPLES / 2 and SAMPLES (by default 1,000,000) of them with labels,
in an `.npz` file that can be mapped, and runs `edgetf reference`. OTHER is the folder of another version of edgetf,
which then takes turns. Prints processor seconds, and the most memory that all its processes held together, without
mapped files.
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

from tests.performance.cost import HERE, Cost, watch

_FEATURES, _CLASSES = 4, 3


def make_model(out: Path) -> None:
    """Write the SavedModel to the folder `out`."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(np.random.default_rng(0).standard_normal((_FEATURES, _CLASSES), np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, _FEATURES], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def call(x: Any) -> dict[str, Any]:
        return {"probabilities": tf.nn.softmax(x @ module.kernel)}

    module.call = call
    tf.saved_model.save(module, str(out), signatures=call)


def write_samples(file: Path, count: int) -> None:
    """Write so many samples with labels to an `.npz` file."""
    random = np.random.default_rng(0)
    values = random.standard_normal((count, _FEATURES), np.float32)
    np.savez(file, x=values, labels=random.integers(0, _CLASSES, count))


def compare(
    model: Path, samples: tuple[int, ...], versions: dict[str, Path], work: Path
) -> Iterator[tuple[int, str, Cost]]:
    """The number of samples, the version, and what its reference costs."""
    for count in samples:
        file = work / f"samples-{count}.npz"
        write_samples(file, count)
        for name, folder in versions.items():
            out = work / f"{name}-{count}"
            words = ["reference", str(model), "--samples", str(file), "-o", str(out), "--on", "cpu"]
            yield count, name, watch(["-m", "edgetf", *words], folder)


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    versions = ({"other": Path(sys.argv[2]).resolve()} if len(sys.argv) > 2 else {}) | {"this": HERE}
    table = Table("samples", "version", "seconds", "MB", title=f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as work:
        model = Path(work, "saved_model")
        make_model(model)
        for count, name, cost in compare(model, (most // 4, most // 2, most), versions, Path(work)):
            table.add_row(f"{count:,}", name, f"{cost.seconds:.1f}", f"{cost.megabytes:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
