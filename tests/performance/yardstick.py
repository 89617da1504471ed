"""Whether a yardstick makes sessions alike: `python -m tests.performance.yardstick VARIANT [NUMBERS]`.

Sessions of some processes, each of which runs VARIANT and candidates for a yardstick in turns of some milliseconds: a
second interpreter of the same file (which no other yardstick can surpass), a small convolutional model with large
activations, a product of matrices, one of a matrix of 14 MB and a vector, and a copy of 8 MB. After each session,
`benchmark_litert_model.py` runs once. Prints how far sessions lie apart: the largest less the smallest value, and the
standard deviation; by the clock, without the time of other programs (as `edgetf benchmark` has it), by low quantiles,
and the ratios of the variant to each yardstick. Then what the differences are from: sessions, processes and turns.
NUMBERS are those of sessions, of processes in each, and of seconds in each of these: 10 4 1.5.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from edgetf.device.runner.timing import Runs
from edgetf.device.runner.waits import Waits

Floats = NDArray[np.float64]
VARIANT, TWIN, CONVOLUTIONS = "variant", "the same file", "convolutions"
YARDSTICKS = (TWIN, CONVOLUTIONS, "product", "vector", "copy")
_TURN_NS = {VARIANT: 70e6, TWIN: 28e6}
_OTHERS_NS = 15e6


@dataclass(frozen=True)
class Process:
    """What a process measured: by name, nanoseconds of shape (turns, runs), by the clock and without other programs."""

    clock: Mapping[str, Floats]
    own: Mapping[str, Floats]


def work(variant: Path, convolutions: Path, seconds: float, out: Path) -> None:
    """Measure in this process, and write the times to `out`."""
    runs = {
        VARIANT: _interpret(variant),
        TWIN: _interpret(variant),
        CONVOLUTIONS: _interpret(convolutions),
        **_numpy_yardsticks(),
    }
    counts = {}
    for name, run in runs.items():
        times = Runs()
        for _ in range(10):
            times.take(run, None)
        counts[name] = max(3, int(_TURN_NS.get(name, _OTHERS_NS) / float(np.median(times.ns))))
    found = {name: Runs() for name in runs}
    with Waits() as waits:
        end = perf_counter_ns() + int(seconds * 1e9)
        while perf_counter_ns() < end:
            for name, run in runs.items():
                for _ in range(counts[name]):
                    found[name].take(run, waits)
    arrays: dict[str, NDArray[np.int64]] = {}
    for name, times in found.items():
        arrays[f"{name}/ns"] = np.array(times.ns).reshape(-1, counts[name])
        arrays[f"{name}/waited_ns"] = np.array(times.waited_ns).reshape(-1, counts[name])
    np.savez(out, **arrays)


def _interpret(path: Path) -> Callable[[], None]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    random = np.random.default_rng(0)
    for one in interpreter.get_input_details():
        interpreter.set_tensor(one["index"], random.random(one["shape"]).astype(one["dtype"]))
    invoke: Callable[[], None] = interpreter.invoke
    return invoke


def _numpy_yardsticks() -> dict[str, Callable[[], Any]]:
    random = np.random.default_rng(0)
    square, wide = random.random((256, 256), np.float32), random.random((3500, 1000), np.float32)
    vector, source = random.random(1000, np.float32), np.ones(1 << 21, np.float32)
    results = np.empty_like(square), np.empty(3500, np.float32), np.empty_like(source)
    return {
        "product": lambda: np.matmul(square, square, out=results[0]),
        "vector": lambda: np.matmul(wide, vector, out=results[1]),
        "copy": lambda: np.copyto(results[2], source),
    }


def make_convolutions(path: Path) -> None:
    """Write the small model: the first layers of MobileNetV2-224 with 0.35 of its filters, 25 KB."""
    import keras
    import tensorflow as tf

    model = keras.applications.MobileNetV2((224, 224, 3), alpha=0.35, weights=None)
    small = keras.Model(model.input, model.get_layer("block_3_project_BN").output)
    with tempfile.TemporaryDirectory() as folder:
        small.export(folder, verbose=False)
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def measure(
    variant: Path, convolutions: Path, shape: tuple[int, int], seconds: float
) -> tuple[list[list[Process]], Floats]:
    """The processes of each session, `shape` being (sessions, processes of each); and the medians of LiteRT's tool."""
    sessions, tool = [], []
    quiet = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "times.npz"
        for _ in range(shape[0]):
            found = []
            for _ in range(shape[1]):
                worker = [
                    sys.executable,
                    "-m",
                    __spec__.name,
                    "--work",
                    *map(str, (variant, convolutions, seconds, out)),
                ]
                subprocess.run(worker, check=True, env=quiet, stderr=subprocess.DEVNULL)
                found.append(read(out))
            sessions.append(found)
            tool.append(_median_of_tool(variant, Path(temporary) / "tool.json"))
    return sessions, np.array(tool)


def read(out: Path) -> Process:
    """The times that `work` wrote."""
    with np.load(out) as found:
        names = {name.rpartition("/")[0] for name in found.files}
        clock = {name: found[f"{name}/ns"].astype(np.float64) for name in names}
        return Process(clock, {name: clock[name] - found[f"{name}/waited_ns"] for name in names})


def _median_of_tool(variant: Path, out: Path) -> float:
    tool = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", f"--model={variant}"]
    subprocess.run([*tool, f"--result_json={out}"], check=True, capture_output=True)
    return float(json.loads(out.read_text())["latency"]["median_ms"])


def estimates(sessions: Sequence[Sequence[Process]]) -> dict[str, list[float]]:
    """Values of each session, by what they are."""
    found: dict[str, list[float]] = {}
    for session in sessions:
        for what, value in _of_session(session).items():
            found.setdefault(what, []).append(value)
    return found


def _of_session(session: Sequence[Process]) -> dict[str, float]:
    clock = np.concatenate([one.clock[VARIANT].ravel() for one in session])
    own = {name: np.concatenate([one.own[name].ravel() for one in session]) for name in session[0].own}
    values = {"median by the clock, ms": float(np.median(clock)) / 1e6}
    for quantile in (0.0, 0.1, 0.25):
        values[f"quantile {quantile:.0%} by the clock, ms"] = float(np.quantile(clock, quantile)) / 1e6
    values["median without other programs, ms"] = float(np.median(own[VARIANT])) / 1e6
    values["quantile 10% without other programs, ms"] = float(np.quantile(own[VARIANT], 0.1)) / 1e6
    for name in YARDSTICKS:
        values[f"{name} alone, ms"] = float(np.median(own[name])) / 1e6
        values[f"ratio to {name}, by the clock"] = _ratio([one.clock for one in session], name)
        values[f"ratio to {name}"] = _ratio([one.own for one in session], name)
    return values


def _ratio(session: Sequence[Mapping[str, Floats]], name: str) -> float:
    """The median of the ratios of the medians of turns."""
    turns = [np.median(one[VARIANT], axis=1) / np.median(one[name], axis=1) for one in session]
    return float(np.median(np.concatenate(turns)))


def spread_of(values: Sequence[float] | Floats) -> tuple[float, float]:
    """The largest less the smallest value, as a share of the middle one; and the standard deviation of logarithms."""
    found = np.asarray(values)
    return float(np.ptp(found) / np.median(found)), float(np.std(np.log(found), ddof=1))


def sources_of(sessions: Sequence[Sequence[Process]]) -> dict[str, float]:
    """The standard deviations of logarithms between sessions, between processes of one, and between turns of these."""
    turns = [[np.log(np.median(one.own[VARIANT], axis=1)) for one in session] for session in sessions]
    processes = np.array([[one.mean() for one in session] for session in turns])
    count = np.mean([len(one) for session in turns for one in session])
    of_turns = float(np.mean([one.var(ddof=1) for session in turns for one in session]))
    of_processes = float(np.mean(processes.var(axis=1, ddof=1)))
    of_sessions = float(processes.mean(axis=1).var(ddof=1))
    variances = {
        "sessions": of_sessions - of_processes / processes.shape[1],
        "processes": of_processes - of_turns / float(count),
        "turns": of_turns,
    }
    return {name: max(value, 0.0) ** 0.5 for name, value in variances.items()}


def main() -> None:
    first, *rest = sys.argv[1:]
    if first == "--work":
        work(Path(rest[0]), Path(rest[1]), float(rest[2]), Path(rest[3]))
        return
    variant, numbers = Path(first), [float(one) for one in rest] + [10, 4, 1.5][len(rest) :]
    with tempfile.TemporaryDirectory() as temporary:
        convolutions = Path(temporary) / "convolutions.tflite"
        make_convolutions(convolutions)
        begin, load = perf_counter(), os.getloadavg()[0]
        sessions, tool = measure(variant, convolutions, (int(numbers[0]), int(numbers[1])), numbers[2])
    table = Table(title=f"{len(sessions)} sessions in {perf_counter() - begin:.0f} s, load {load:.1f}")
    for column in ("of each session", "middle", "spread", "standard deviation"):
        table.add_column(column)
    for what, values in {"benchmark_litert_model.py, ms": tool.tolist(), **estimates(sessions)}.items():
        spread, deviation = spread_of(values)
        table.add_row(what, f"{np.median(values):.3f}", f"{spread:.1%}", f"{deviation:.1%}")
    console = Console(width=120)
    console.print(table)
    console.print("deviations between " + ", ".join(f"{name}: {one:.1%}" for name, one in sources_of(sessions).items()))


if __name__ == "__main__":
    main()
