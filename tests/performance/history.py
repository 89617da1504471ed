"""What a long history costs: `python -m tests.performance.history [ROWS] [OTHER]`.

Writes histories of ROWS / 4 and of ROWS results (by default 100,000), and runs `edgetf history list`, `compare` and
`trend` on each, in processes. OTHER is the folder of another version of edgetf, which then takes turns on a copy.
Prints processor seconds less those of a process that only imports the same modules (a busy machine disturbs them
least), the most memory, and the size of the picture.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from edgetf.benchmarks.history.store import add_results
from edgetf.figures import Block, Latency
from edgetf.files import to_plain
from edgetf.results import (
    BENCHMARK_SCHEMA,
    Accuracy,
    Agreement,
    Benchmark,
    Comparable,
    LabelUse,
    OutputParity,
    Parity,
    Result,
    Source,
    Status,
    TensorSpec,
    Verdict,
)

HERE = Path(__file__).parents[2]
VARIANTS = ("float32", "float16", "dynamic", "int8", "int16x8")
DEVICES = ("pi", "phone")
_BLOCKS = 15
_IMPORTS = {
    "list": "edgetf.cli.history, edgetf.benchmarks.history.store, rich.console, edgetf.console.tables",
    "compare": "edgetf.api.history, edgetf.console.tables, scipy.stats, edgetf.results, cattrs",
    "trend": "edgetf.api.history, matplotlib.figure, matplotlib.backends.backend_svg",
}


@dataclass(frozen=True)
class Shape:
    """A history of so many commits, in each of which every variant of every model is measured on two devices."""

    commits: int
    models: int
    variants: tuple[str, ...] = VARIANTS

    @property
    def rows(self) -> int:
        return self.commits * self.models * len(self.variants) * len(DEVICES)


@dataclass(frozen=True)
class Cost:
    """Processor seconds after imports, the most megabytes, the lines that were printed, and the picture's megabytes."""

    seconds: float
    megabytes: float
    lines: int
    picture: float


def make_result(variant: str, device: str, factor: float, random: np.random.Generator) -> Result:
    """A Result as of a benchmark with labels: the latency is `factor` ms, and each block within a percent of it."""
    medians = [factor * (1 + 0.005 * random.standard_normal()) for _ in range(_BLOCKS)]
    middle = float(np.median(medians))
    times = Latency(middle, 0.99 * middle, 1.01 * middle, 1.1 * middle, 1.3 * middle, middle, 0.05 * middle, 2000)
    blocks = tuple(
        Block(k, float(median), 400, "1500", "51.2", "ondemand", "0x0", f"measurements/{variant}/block-{k}")
        for k, median in enumerate(medians, 1)
    )
    right = int(random.integers(880, 920))
    share = right / 1000
    output = OutputParity(
        name="probabilities", max_abs=0.1, mean_abs=0.01, max_abs_reference=0.99, sqnr_db=31.0, centred_db=29.0,
        centred_low_db=28.5, centred_high_db=29.5, cosine=0.999, agreement=Agreement(1000, 990, 0.99, 0.98, 0.995),
        accuracy=Accuracy(1000, 0.92, share, 30, 10, 92 - 100 * share, 91 - 100 * share, 93 - 100 * share, 0.01),
        problems=(), doubts=(), floor=1e-6, floor_n=192, any_time=False, integer=False, constant=False, columns=(),
        labels=LabelUse.CLASS, labels_reason="", spread=0.5, comparable=Comparable.YES, verdict=Verdict.PASS,
        reason="the drop is within the budget of 5 points",
    )  # fmt: skip
    spec = (TensorSpec("image", (None, 96, 96, 3), "float32", True),)
    return Result(
        variant, variant, device, Status.OK, "litert 2.3.0", 1_000_000, "c" * 64, 1, "xnnpack",
        latency_ms=times, end_to_end_ms=times, blocks=blocks, samples_per_second=300.0, stable=True, stable_reason="",
        parity=Parity(Verdict.PASS, "the drop is within the budget of 5 points", 1000, (output,)),
        measurement=f"measurements/{variant}", source=Source("saved_model", "f" * 64, "serving_default", spec, spec),
        path=f"out/{variant}.tflite",
    )  # fmt: skip


def write_history(place: Path, shape: Shape) -> None:
    """Write a history of this shape to the file at `place`, with the tables of the first version of edgetf."""
    document = Benchmark(BENCHMARK_SCHEMA, "0", "", {}, "", (), None, None, None, ())
    add_results(document, "", "", place)  # makes the table
    with closing(sqlite3.connect(place)) as base:
        base.execute("pragma synchronous = off")
        with base:
            base.executemany(
                'insert into result (digest, created, "commit", name, model, variant, device, machine, settings,'
                " samples, result) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                _rows(shape),
            )
        for kind, name in base.execute("select type, name from sqlite_master where name != 'result'").fetchall():
            if not name.startswith("sqlite_") and kind != "trigger":  # those go with their table
                base.execute(f"drop {kind} if exists {name}")


def commit(k: int) -> str:
    return f"{k:08x}" + "0" * 4


def _rows(shape: Shape) -> Iterator[tuple[str, ...]]:
    random = np.random.default_rng(0)
    plains = {name: _plain(make_result(name, "", 1.0 + k, random)) for k, name in enumerate(shape.variants)}
    for k in range(shape.commits):
        created = f"2026-{1 + k // 86400:02d}-01T{k // 3600 % 24:02d}:{k // 60 % 60:02d}:{k % 60:02d}+00:00"
        for model in range(shape.models):
            for device in DEVICES:
                digest = f"{k:x}-{model}-{device}".ljust(64, "0")
                for variant, plain in plains.items():
                    moved = _moved({**plain, "device": device}, random)
                    texts = (f"models/m{model}", "f" * 64, variant, device, "a board", "litert, cpu", "e" * 64)
                    yield (digest, created, commit(k), *texts, json.dumps(moved))


def _plain(result: Result) -> dict[str, object]:
    """The result without fields that have their default: another version may not have them."""

    def is_default(field: Field[object]) -> bool:
        made = field.default if field.default_factory is MISSING else field.default_factory()
        return bool(getattr(result, field.name) == made)

    left_out = {field.name for field in fields(Result) if is_default(field)}
    return {key: value for key, value in to_plain(result).items() if key not in left_out}


def _moved(plain: dict[str, object], random: np.random.Generator) -> dict[str, object]:
    """The same result with other times."""
    by = float(1 + 0.03 * random.standard_normal())
    times = {k: v if k == "n" else v * by for k, v in plain["latency_ms"].items()}  # type: ignore[attr-defined]
    blocks = [{**one, "median_ms": one["median_ms"] * by} for one in plain["blocks"]]  # type: ignore[attr-defined]
    return {**plain, "latency_ms": times, "blocks": blocks}


def commands(place: Path, shape: Shape, picture: Path) -> dict[str, list[str]]:
    """The commands to measure, by name."""
    history = ["--history", str(place)]
    drawn = ["trend", "--device", "pi", "--model", "models/m0", "--force", "-o", str(picture), *history]
    return {
        "list": ["list", *history],
        "list --last 0": ["list", "--last", "0", *history],
        "compare": ["compare", commit(shape.commits - 2), commit(shape.commits - 1), *history],
        "trend": drawn,
    }


def measure(arguments: list[str], folder: Path, picture: Path) -> Cost:
    """Run `edgetf history` of the version in `folder`."""
    before, _ = _run(["-c", f"import {_IMPORTS[arguments[0]]}"], HERE, Path(os.devnull))
    with tempfile.TemporaryDirectory() as work:
        out = Path(work, "out")
        spent, megabytes = _run(["-m", "edgetf", "history", *arguments], folder, out)
        with out.open() as lines:
            count = sum(1 for _ in lines)
    size = picture.stat().st_size / 1e6 if picture.is_file() else 0.0
    return Cost(max(spent - before, 0.0), megabytes, count, size)


def _run(arguments: list[str], folder: Path, out: Path) -> tuple[float, float]:
    """Processor seconds and megabytes of a Python process; 3 is `compare`'s exit code if something is worse."""
    code = (
        "import resource, subprocess, sys\n"
        "with open(sys.argv[1], 'wb') as out:\n"
        "    ended = subprocess.run([sys.executable, *sys.argv[2:]], stdout=out)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(ended.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3)"
    )
    command = [sys.executable, "-c", code, str(out), *arguments]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    ended = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True, check=True)
    returned, seconds, megabytes = map(float, ended.stdout.split())
    if returned not in (0, 3):
        raise RuntimeError(f"{' '.join(arguments)} ended with {returned:.0f}")
    return seconds, megabytes


def compare_versions(shape: Shape, versions: dict[str, Path], work: Path) -> dict[tuple[str, str], Cost]:
    """The cost of each command in each version, by command and version."""
    write_history(work / "h.sqlite", shape)
    costs: dict[tuple[str, str], Cost] = {}
    for name, folder in versions.items():
        own, picture = work / f"{name}.sqlite", work / f"{name}.svg"
        shutil.copyfile(work / "h.sqlite", own)
        costs["the first list", name] = measure(commands(own, shape, picture)["list"], folder, picture)
    for what in commands(work, shape, work):
        for name, folder in versions.items():
            own, picture = work / f"{name}.sqlite", work / f"{name}.svg"
            costs[what, name] = measure(commands(own, shape, picture)[what], folder, picture)
    return costs


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    versions = {"this": HERE} | ({"other": Path(sys.argv[2]).resolve()} if len(sys.argv) > 2 else {})
    console, one = Console(width=120), Shape(1, 10)
    many = Shape(100, 1, tuple(f"mixture-{k}" for k in range(rows // 200)))
    shapes = [Shape(rows // 4 // one.rows, 10), Shape(rows // one.rows, 10), Shape(rows // 10, 1), many]
    for shape in shapes:
        with tempfile.TemporaryDirectory() as work:
            costs = compare_versions(shape, versions, Path(work))
        title = (
            f"{shape.rows:,} results: {shape.commits:,} commits, {shape.models} models, {len(shape.variants)} variants"
        )
        table = Table("command", "version", "seconds", "MB", "lines", "picture, MB", title=title)
        for (what, name), cost in costs.items():
            picture = f"{cost.picture:.1f}" if what == "trend" else ""
            table.add_row(what, name, f"{cost.seconds:.2f}", f"{cost.megabytes:.0f}", f"{cost.lines:,}", picture)
        console.print(table)


if __name__ == "__main__":
    main()
