"""The runner compared with a manual loop, on MobileNetV2 (random weights): `python -m tests.performance.runner`.

Prints both sides and their ratio, from one run: the median of the runner's timing against a bare loop around
`Interpreter.invoke`, and the speed of its pass over all samples against one interpreter in a loop.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.device.runner.interpreter import Session, find_runtime
from edgetf.device.runner.job import Job, TimingPlan
from edgetf.device.runner.run import run_job
from edgetf.samples import Array

SIZE, SAMPLES, ROUNDS, RUNS = 96, 2000, 6, 1000
SHORT = TimingPlan(max_warmup_s=0.5, min_runs=50, min_s=0.2, max_s=5)


def make_variants(folder: Path) -> tuple[list[Path], Array]:
    """MobileNetV2 as float32 and int8, and random images."""
    import keras

    model = keras.applications.MobileNetV2((SIZE, SIZE, 3), alpha=1.0, weights=None, classes=100)
    model.export(str(folder / "model"), verbose=False)
    images = np.random.default_rng(0).uniform(-1, 1, (SAMPLES, SIZE, SIZE, 3)).astype(np.float32)
    np.savez(folder / "samples.npz", x=images[:20])
    convert(
        folder / "model",
        folder / "out",
        ConvertOptions(("float32", "int8"), folder / "samples.npz"),
        lambda event: None,
    )
    return [folder / "out" / "float32.tflite", folder / "out" / "int8.tflite"], images


_BARE = """
import sys, statistics, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.load(sys.argv[2])[:1])
for _ in range(100):
    interpreter.invoke()
times = []
for _ in range(int(sys.argv[3])):
    begin = time.perf_counter_ns()
    interpreter.invoke()
    times.append(time.perf_counter_ns() - begin)
print(statistics.median(times))
"""


def compare_medians(variant: Path, name: str, images: Array, folder: Path) -> tuple[float, float]:
    """Median milliseconds of a bare loop and of the runner, each in separate processes, in turns."""
    np.save(folder / "images.npy", images[:8])
    job = Job(str(variant), {name: str(folder / "images.npy")}, runtime="litert", outputs=False)
    bare: list[float] = []
    ours: list[float] = []
    for turn in range(ROUNDS):
        for side in ("bare", "ours") if turn % 2 else ("ours", "bare"):
            if side == "bare":
                command = [sys.executable, "-c", _BARE, str(variant), str(folder / "images.npy"), str(RUNS)]
                bare.append(float(subprocess.run(command, capture_output=True, check=True).stdout) / 1e6)
            else:
                out = folder / f"timing-{variant.stem}-{turn}"
                LocalDevice().run(job, out, lambda event: None)
                ours.append(float(np.median(np.load(out / "timings.npz")["invoke_ns"])) / 1e6)
    return median(bare), median(ours)


def compare_passes(variant: Path, name: str, images: Array, folder: Path) -> tuple[float, float]:
    """Samples per second of one interpreter in a loop, and of the runner's pass on all cores."""
    session = Session(find_runtime("litert"), Job(str(variant), {}), 1, {name: images.shape[1:]})
    begin = perf_counter()
    for k in range(len(images)):
        session.feed([images[k : k + 1]])
        session.invoke()
        session.fetch()
    naive = len(images) / (perf_counter() - begin)
    np.save(folder / "images.npy", images)
    job = Job(str(variant), {name: str(folder / "images.npy")}, runtime="litert", timing=SHORT)
    measurement = run_job(job, folder / f"pass-{variant.stem}", lambda event: None)
    assert measurement.samples is not None, measurement.error
    return naive, measurement.samples.n / measurement.samples.seconds


def main() -> None:
    table = Table(title=f"The runner beside a loop by hand, MobileNetV2-{SIZE}, {len(os.sched_getaffinity(0))} cores")
    for column in ("variant", "what", "by hand", "runner", "runner / by hand"):
        table.add_column(column)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        variants, images = make_variants(folder)
        from edgetf.flatbuffer import read_contents

        name = read_contents(variants[0]).inputs[0].name
        for variant in variants:
            bare, ours = compare_medians(variant, name, images, folder)
            table.add_row(variant.stem, "median of invoke, ms", f"{bare:.3f}", f"{ours:.3f}", f"{ours / bare:.3f}")
            naive, passed = compare_passes(variant, name, images, folder)
            table.add_row(variant.stem, "samples per second", f"{naive:.0f}", f"{passed:.0f}", f"{passed / naive:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
