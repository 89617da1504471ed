"""What a report on many variants costs: `python -m tests.performance.many_variants BENCH [VARIANTS] [OTHER]`.

Multiplies the variants of the benchmark in the folder BENCH to VARIANTS / 4, VARIANTS / 2 and VARIANTS (by default 200)
with other latencies and sizes, each with its own measurements, and runs `edgetf report` on them in a process. OTHER is
the folder of another version of edgetf, which then takes turns. Prints processor seconds, the most memory, and the size
of the page.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from edgetf.files import write_document
from edgetf.results import Result, read_benchmark
from tests.performance.cost import HERE, Cost, run

_RUNS = 1_000  # of a block, as of a model that takes a millisecond


def multiply(bench: Path, variants: int, out: Path) -> Path:
    """Write the folder `out` with a benchmark of so many variants, made from those of `bench` in turn."""
    document, random = read_benchmark(bench), np.random.default_rng(0)
    shutil.copytree(bench, out, ignore=shutil.ignore_patterns("benchmark.json", "measurements"))
    made = [
        _copy(result, k, float(2.0 ** random.normal()), (bench, out))
        for k, result in zip(range(variants), itertools.cycle(document.results), strict=False)
    ]
    write_document(out / "benchmark.json", replace(document, results=tuple(made)))
    return out


def _copy(like: Result, k: int, factor: float, folders: tuple[Path, Path]) -> Result:
    """The k-th variant: `factor` times as slow and as large, with measurements of its own in the second folder."""
    bench, out = folders
    assert like.latency_ms is not None
    assert like.measurement is not None
    place = f"measurements/{like.variant}-{k}"
    shutil.copytree(bench / like.measurement, out / place, ignore=shutil.ignore_patterns("block-*"))
    blocks = []
    for block in like.blocks:
        own = f"{place}/{Path(block.measurement).name}"
        shutil.copytree(bench / block.measurement, out / own)
        with np.load(bench / block.measurement / "timings.npz") as timings:
            slower = {name: (values[:_RUNS] * factor).astype(np.int64) for name, values in timings.items()}
        np.savez(out / own / "timings.npz", **slower)
        blocks.append(replace(block, median_ms=block.median_ms * factor, measurement=own))
    times = like.latency_ms
    slow = replace(times, median=times.median * factor, low=times.low * factor, high=times.high * factor)
    bytes_ = None if like.bytes is None else int(like.bytes * factor)
    name = f"{like.variant}-{k}" if k >= 1 else like.variant
    return replace(like, variant=name, latency_ms=slow, blocks=tuple(blocks), measurement=place, bytes=bytes_)


def measure(bench: Path, folder: Path, page: Path, reference: Path | None = None) -> tuple[Cost, float]:
    """The cost of `edgetf report` of the version in `folder`, and the megabytes of its page."""
    given = ["--reference", str(reference)] if reference else []
    cost = run(["-m", "edgetf", "report", str(bench), "-o", str(page), "--force", *given], folder)
    return cost, page.stat().st_size / 1e6


def main() -> None:
    bench, most = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200
    versions = ({"other": Path(sys.argv[3]).resolve()} if len(sys.argv) > 3 else {}) | {"this": HERE}
    table = Table("variants", "version", "seconds", "MB", "page, MB", title=f"load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as work:
        for variants in (most // 4, most // 2, most):
            made = multiply(bench, variants, Path(work, f"bench-{variants}"))
            for name, folder in versions.items():
                cost, page = measure(made, folder, Path(work, "report.html"))
                table.add_row(f"{variants}", name, f"{cost.seconds:.2f}", f"{cost.megabytes:.0f}", f"{page:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
