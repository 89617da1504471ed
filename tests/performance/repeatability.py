"""How far reported medians lie apart from session to session: `python -m tests.performance.repeatability`.

Ten sessions each of `edgetf benchmark --device local` and of LiteRT's own `benchmark_litert_model.py`, both with their
defaults, in turn, on the same MobileNetV2, while other programs come and go. The spread is the largest reported
median less the smallest, as a share of the middle one. Prints both and their ratio.
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
            found: dict[str, list[float]] = {"benchmark_litert_model.py": [], "edgetf": []}
            seconds: dict[str, list[float]] = {side: [] for side in found}
            for session in range(options.sessions):
                for side in found:
                    begin = perf_counter()
                    run = _edgetf if side == "edgetf" else _litert
                    found[side].append(run(variant, folder / f"{side}-{session}"))
                    seconds[side].append(perf_counter() - begin)
        finally:
            for other in others:
                other.kill()
    _show(found, seconds, options.others)


def _make_variant(folder: Path) -> Path:
    import keras

    keras.applications.MobileNetV2((224, 224, 3), weights=None).export(str(folder / "model"), verbose=False)
    convert(folder / "model", folder / "out", ConvertOptions(("float32",)), lambda event: None)
    return folder / "out" / "float32.tflite"


def _litert(variant: Path, out: Path) -> float:
    command = [sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", f"--model={variant}"]
    subprocess.run([*command, f"--result_json={out}"], check=True, capture_output=True)
    return float(json.loads(out.read_text())["latency"]["median_ms"])


def _edgetf(variant: Path, out: Path) -> float:
    command = [sys.executable, "-m", "edgetf", "benchmark", str(variant), "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    [result] = read_benchmark(out).results
    assert result.latency_ms is not None
    return result.latency_ms.median


def _show(found: dict[str, list[float]], seconds: dict[str, list[float]], others: int) -> None:
    table = Table(
        title=f"Medians of MobileNetV2-224, float32, {len(os.sched_getaffinity(0))} cores, {others} other programs"
    )
    for column in ("tool", "reported medians, ms", "spread", "standard deviation", "seconds a session"):
        table.add_column(column)
    spreads = {}
    for side, medians in found.items():
        centre = statistics.median(medians)
        spreads[side] = (max(medians) - min(medians)) / centre
        deviation = statistics.stdev(medians) / centre
        reported = " ".join(f"{median:.2f}" for median in sorted(medians))
        table.add_row(
            side, reported, f"{spreads[side]:.1%}", f"{deviation:.1%}", f"{statistics.mean(seconds[side]):.1f}"
        )
    console = Console(width=150)
    console.print(table)
    console.print(f"edgetf's spread is {spreads['edgetf'] / spreads['benchmark_litert_model.py']:.2f} of the other's.")


if __name__ == "__main__":
    main()
