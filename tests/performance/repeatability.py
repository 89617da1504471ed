"""How far reported medians lie apart from session to session: `python -m tests.performance.repeatability`.

Ten sessions each of LiteRT's own `benchmark_litert_model.py`, of `edgetf benchmark --device local`, and of the
latter with `--blocks 2`, in turn, on the same MobileNetV2, while other programs come and go. The spread is the largest
reported median less the smallest, as a share of the middle one. Prints all and their ratios; then how many pairs of
edgetf's sessions, all of one file, are called different by their blocks alone, and as `edgetf history compare` does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.results import read_benchmark
from tests.performance.sessions import blocks_of, compare_measured

OTHERS = """
import random, sys, time
import numpy as np
random.seed(int(sys.argv[1]))
data = np.zeros(4_000_000)
while True:
    end = time.monotonic() + random.expovariate(1.0)
    while time.monotonic() < end:
        data += 1.0
    time.sleep(random.expovariate(1.0))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument(
        "--others", type=int, default=3, help="programs that come and go meanwhile; 0 is a quiet machine"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        variant = _make_variant(folder)
        others = [subprocess.Popen([sys.executable, "-c", OTHERS, str(k)]) for k in range(options.others)]
        try:
            found: dict[str, list[float]] = {side: [] for side in SIDES}
            seconds: dict[str, list[float]] = {side: [] for side in found}
            for session in range(options.sessions):
                for side in found:
                    begin = perf_counter()
                    found[side].append(SIDES[side](variant, folder / f"{side}-{session}"))
                    seconds[side].append(perf_counter() - begin)
        finally:
            for other in others:
                other.kill()
        measured = [blocks_of(folder / f"edgetf-{session}") for session in range(options.sessions)]
    _show(found, seconds, options.others)
    shares = compare_measured(measured)
    pairs = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    Console(width=150).print(f"Pairs of sessions that are called different: {pairs}.")


def _make_variant(folder: Path) -> Path:
    import keras

    keras.applications.MobileNetV2((224, 224, 3), weights=None).export(str(folder / "model"), verbose=False)
    convert(folder / "model", folder / "out", ConvertOptions(("float32",)), lambda event: None)
    return folder / "out" / "float32.tflite"


def _litert(variant: Path, out: Path) -> float:
    command = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", f"--model={variant}"]
    subprocess.run([*command, f"--result_json={out}"], check=True, capture_output=True)
    return float(json.loads(out.read_text())["latency"]["median_ms"])


def _edgetf(variant: Path, out: Path, *options: str) -> float:
    command = [sys.executable, "-m", "edgetf", "benchmark", str(variant), "-o", str(out), *options]
    history = {**os.environ, "EDGETF_HISTORY": str(out.parent / "history.sqlite")}
    subprocess.run(command, check=True, capture_output=True, env=history)
    [result] = read_benchmark(out).results
    assert result.latency_ms is not None
    return result.latency_ms.median


def _short(variant: Path, out: Path) -> float:
    return _edgetf(variant, out, "--blocks", "2")


SIDES = {"benchmark_litert_model.py": _litert, "edgetf": _edgetf, "edgetf --blocks 2": _short}


def _show(found: dict[str, list[float]], seconds: dict[str, list[float]], others: int) -> None:
    table = Table(
        title=f"Medians of MobileNetV2-224, float32, {len(os.sched_getaffinity(0))} cores, {others} other programs"
    )
    for column in ("tool", "reported medians, ms", "spread", "standard deviation", "seconds a session"):
        table.add_column(column)
    spreads, times = {}, {side: statistics.mean(taken) for side, taken in seconds.items()}
    for side, medians in found.items():
        centre = statistics.median(medians)
        spreads[side] = (max(medians) - min(medians)) / centre
        deviation = statistics.stdev(medians) / centre
        reported = " ".join(f"{median:.2f}" for median in sorted(medians))
        table.add_row(side, reported, f"{spreads[side]:.1%}", f"{deviation:.1%}", f"{times[side]:.1f}")
    console = Console(width=150)
    console.print(table)
    for side in list(SIDES)[1:]:
        shares = [kind[side] / kind["benchmark_litert_model.py"] for kind in (spreads, times)]
        console.print(f"The spread of {side} is {shares[0]:.2f} of the other's, at {shares[1]:.1f} times its time.")


if __name__ == "__main__":
    main()
