"""What a model of many operations costs: `python -m tests.performance.many_operations [OPERATIONS] [OTHER]`.

Makes models of OPERATIONS / 4, OPERATIONS / 2 and OPERATIONS (by default 5,000), a product and a tanh in turn, and runs
TensorFlow's converter alone, `edgetf convert` to float32 and to float16, the comparison of all layers that
`edgetf explain` does, of float32 with itself, and all of `edgetf explain`, of float16 (the reference that it needs has
the outputs of the float32 file: TensorFlow's own would take minutes, which XLA compiles for). OTHER is the folder of
another version of edgetf, which then takes turns. Prints processor seconds, and the memory of the largest process.
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

from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job
from edgetf.events import ignore
from edgetf.results import read_conversion
from edgetf.samples.inputs import write_inputs
from tests.attacks.kit import BRIEF, FEATURES, write_reference, write_samples
from tests.performance.cost import HERE, Cost, run
from tests.performance.large_model import ALONE

_WIDTH = FEATURES
_SAMPLES = 64
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
        return {"p": x}

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
        words = ["-m", "edgetf", "explain", str(_benchmark(out, work / f"{name}-bench")), "--variant", "float16"]
        words += ["--variants", str(out), "--reference", str(work / f"{name}-bench" / "ref")]
        yield "explain float16", name, run(words, folder, allowed=(0, 3, 4))


def _benchmark(variants: Path, out: Path) -> Path:
    """The folder `out` with a benchmark of float16, and its reference in `ref`: the outputs of float32."""
    out.mkdir()
    x = np.random.default_rng(0).standard_normal((_SAMPLES, _WIDTH), np.float32)
    samples = write_samples(out / "samples.npz", x)
    job = Job(str(variants / "float32.tflite"), write_inputs({"x": x}, out), timing=None)
    measurement = LocalDevice().run(job, out / "float32", ignore)
    assert measurement.error is None, measurement.error
    outputs = np.load(out / "float32" / "output-0.npy")
    write_reference(out / "ref", samples, outputs, read_conversion(variants).source.digest)
    options = BenchmarkOptions(reference=out / "ref", timing=BRIEF, blocks=2, patience=1, energy_s=0.0)
    benchmark([variants / "float16.tflite"], LocalDevice(), out, options, ignore)
    return out


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
