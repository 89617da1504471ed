"""Parity of many samples compared with a naive loop, on MobileNetV2 as int8: `python -m tests.performance.parity`.

Prints, from one run: the time of the pass over 10,000 samples with all that is compared, beside one interpreter in a
loop and a comparison of its top-1; the same with everything before and after it (reading the samples; on our side also
the search for repeated samples, and whether anything changed meanwhile; that they are numbers, and their digest, are
known since their reference was made); the
processor seconds of everything; the share that statistics take; and peak memory for 1,250 and 10,000 samples, each in a
process of its own, with all its children; and the limit of the machine: what two of the loops at once gain. With
`--quick`, 100 samples: to see that it works. With the environment variable PYTHONPATH, another version is measured in
the same way.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from edgetf.benchmarks.judging.ground import judge_course, prepare, refuse_changed, with_distinct
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Place, ReferenceOptions
from edgetf.benchmarks.timing.fixed import digests_of, with_inputs
from edgetf.benchmarks.timing.rounds import Course, Turn
from edgetf.benchmarks.timing.targets import find_targets
from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job
from edgetf.device.runner.outputs import load_inputs
from edgetf.events import Event

SIZE, FEW, MANY = (96, 1250, 10_000) if "--quick" not in sys.argv else (32, 50, 100)
_STARTED_S = sum(os.times()[:4])


def ignore(event: Event) -> None:
    """Events do not matter here."""


class Watch:
    """The most memory that this process and its children held at once, in megabytes, looked at 50 times a second.

    The kernel's own peak of a process counts what its parent held when it was started.
    """

    def __init__(self) -> None:
        self._peak, self._over = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        me = psutil.Process()
        while not self._over.wait(0.02):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss
            self._peak = max(self._peak, total / 1e6)


def make_everything(folder: Path) -> None:
    """The model, its int8 variant, samples of both numbers and their references."""
    import keras

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((SIZE, SIZE, 3), alpha=1.0, weights=None, classes=100)
    model.export(str(folder / "model"), verbose=False)
    random = np.random.default_rng(0)
    for n in (FEW, MANY):
        images = random.uniform(-1, 1, (n, SIZE, SIZE, 3)).astype(np.float32)
        np.savez(folder / f"{n}.npz", x=images)
    convert(folder / "model", folder / "out", ConvertOptions(("int8",), folder / f"{FEW}.npz"), ignore)
    for n in (FEW, MANY):
        options = ReferenceOptions(on=Place.CPU)
        make_reference(folder / "model", folder / f"{n}.npz", folder / f"ref-{n}", options, ignore)


def ours(folder: Path, n: int) -> dict[str, float]:
    """Run and judge all samples as `edgetf benchmark` does; seconds, and megabytes of this process and its children."""
    watch = Watch()
    begin = perf_counter()
    targets = find_targets([folder / "out" / "int8.tflite"])
    ground = prepare(targets, folder / f"ref-{n}", None, None)
    out = folder / f"run-{n}"
    with tempfile.TemporaryDirectory(dir=folder) as work:
        job = Job(str(targets[0].path.resolve()), {}, targets[0].signature, timing=None)
        job = with_inputs(job, ground.samples, Path(work), ground.order, in_place=True)
        ground = with_distinct(ground, load_inputs(job))
        inputs_sha256 = digests_of(job)
        device, begin_pass = LocalDevice(), perf_counter()
        with device.reserve():
            measurement = device.run(job, out / "samples", ignore)
    assert measurement.error is None, measurement.error
    assert measurement.inputs_sha256 == inputs_sha256
    course = Course(targets[0], passes=[Turn(0, "samples", measurement, None)])
    begin_statistics = perf_counter()
    judge_course(course, out, ground)
    end_pass = perf_counter()
    refuse_changed(ground, folder / f"ref-{n}")
    end = perf_counter()
    reported = {"all_s": end - begin, "pass_s": end_pass - begin_pass, "statistics_s": end_pass - begin_statistics}
    return {**reported, "cpu_s": _cpu_s(), "mb": watch.stop()}


def _cpu_s() -> float:
    """The processor seconds of this process and its children, without imports."""
    return sum(os.times()[:4]) - _STARTED_S


def naive(folder: Path, n: int) -> dict[str, float]:
    """The manual way: one interpreter, one sample after another, top-1 compared with the reference's."""
    from ai_edge_litert.interpreter import Interpreter

    watch = Watch()
    begin = perf_counter()
    images = np.load(folder / f"{n}.npz")["x"]
    theirs = np.load(folder / f"ref-{n}" / "reference" / "output-0.npy")
    interpreter = Interpreter(model_path=str(folder / "out" / "int8.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    same, begin_pass = 0, perf_counter()
    for image, known in zip(images, theirs, strict=True):
        interpreter.set_tensor(into, image[np.newaxis])
        interpreter.invoke()
        same += int(np.argmax(interpreter.get_tensor(out)[0]) == np.argmax(known))
    end = perf_counter()
    return {"all_s": end - begin, "pass_s": end - begin_pass, "same": same / n, "cpu_s": _cpu_s(), "mb": watch.stop()}


def measure(folder: Path, side: str, n: int, at_once: int = 1) -> list[dict[str, float]]:
    """What processes find that run a side on `n` samples at once."""
    command = [sys.executable, "-m", "tests.performance.parity", side, str(folder), str(n), *sys.argv[1:]]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(at_once)
    ]
    return [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]


def main() -> None:
    if len(sys.argv) >= 4:
        run = {"ours": ours, "naive": naive}[sys.argv[1]]
        print(json.dumps(run(Path(sys.argv[2]), int(sys.argv[3]))))  # noqa: T201  # read by the parent
        return
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        make_everything(folder)
        found = {}
        for side, n in [("ours", FEW), ("naive", FEW), ("ours", MANY), ("naive", MANY)]:
            [found[side, n]] = measure(folder, side, n)
        both = measure(folder, "naive", MANY, at_once=2)
    limit = sum(found["naive", MANY]["pass_s"] / one["pass_s"] for one in both)
    columns = (
        "samples",
        "what",
        "edgetf s",
        "naive s",
        "times as fast",
        "statistics",
        "CPU s",
        "naive's",
        "MB",
        "naive's",
    )
    table = Table(*columns)
    for n in (FEW, MANY):
        one, other = found["ours", n], found["naive", n]
        for what in ("pass", "all"):
            mine, theirs = one[f"{what}_s"], other[f"{what}_s"]
            share = f"{one['statistics_s'] / mine:.2%}"
            numbers = (f"{mine:.1f}", f"{theirs:.1f}", f"{theirs / mine:.2f}", share)
            of_all = (f"{one['cpu_s']:.1f}", f"{other['cpu_s']:.1f}") if what == "all" else ("", "")
            table.add_row(f"{n:,}", what, *numbers, *of_all, f"{one['mb']:.0f}", f"{other['mb']:.0f}")
    Console(width=110).print(f"MobileNetV2 {SIZE}x{SIZE}, int8, {os.cpu_count()} cores", table)
    Console().print(f"two loops at once gain {limit:.2f}")


if __name__ == "__main__":
    main()
