"""The time of `edgetf --help` and of `python -c "import click"`: python -m tests.performance.startup [PAIRS].

Prints the processor time of both, the minimum over all pairs, and their ratio. Other programs on the machine disturb
processor time least; pairs alternate, so that changes during the run affect both.
"""

from __future__ import annotations

import resource
import subprocess
import sys

CLICK, HELP = ("-c", "import click"), ("-m", "edgetf", "--help")
MOST = 1.5  # times click alone


def measure(pairs: int) -> tuple[float, float]:
    """The minimum seconds of `import click` and of `edgetf --help`."""
    times = [(_seconds(CLICK), _seconds(HELP)) for _ in range(pairs)]
    return min(click for click, _ in times), min(printed for _, printed in times)


def _seconds(arguments: tuple[str, ...]) -> float:
    """Of the processors, in a child."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    click, printed = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    print(f"import click  {click * 1e3:.0f} ms")  # noqa: T201
    print(f"edgetf --help {printed * 1e3:.0f} ms, {printed / click:.2f} times as much (at most {MOST})")  # noqa: T201


if __name__ == "__main__":
    main()
