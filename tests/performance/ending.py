"""How long a benchmark takes, and what it decides: `python -m tests.performance.ending VARIANTS [OTHER] [--others N]`.

`edgetf benchmark` of the variants in the folder VARIANTS, in turns by this version and by the one in the folder OTHER
(a git worktree), if it is given, while N other programs come and go. Prints for each run its seconds, its turns, and
the groups of variants without a measurable difference in speed, each by the rule of its version.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.table import Table

from tests.performance.mistakes import HERE
from tests.performance.repeatability import OTHERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--others", type=int, default=3, help="programs that come and go meanwhile")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    versions = {"this": HERE} | ({} if options.other is None else {"other": options.other.resolve()})
    table = Table(
        *("version", "seconds", "turns", "without a measurable difference"), title=f"{options.others} other programs"
    )
    others = [subprocess.Popen([sys.executable, "-c", OTHERS, str(k)]) for k in range(options.others)]
    try:
        for _ in range(options.runs):
            for name, version in versions.items():
                table.add_row(name, *_benchmark(options.variants, version))
    finally:
        for other in others:
            other.kill()
    Console(width=120).print(table)


def _benchmark(variants: Path, version: Path) -> tuple[str, ...]:
    """The cells of one run: its seconds, the turns of each variant, and the equivalent ones."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edgetf", "benchmark", str(variants.resolve()), "-o", "bench"]
        path = os.pathsep.join(filter(None, [str(version), os.environ.get("PYTHONPATH")]))
        env, begin = {**os.environ, "PYTHONPATH": path}, perf_counter()
        ended = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
        seconds = perf_counter() - begin
        results = json.loads((Path(folder) / "bench" / "benchmark.json").read_text())["results"]
    turns = ", ".join(f"{result['variant']} {len(result['blocks'])}" for result in results)
    same = re.search(r"No measurable difference in speed: (.*)\.\n", ended.stdout.replace("\n", " ") + "\n")
    return f"{seconds:.0f}", turns, same[1].split(". ")[0] if same else ""


if __name__ == "__main__":
    main()
