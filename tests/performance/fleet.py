"""What a scheduler costs: `python -m tests.performance.fleet [JOBS] [SECONDS] [DEVICES]`.

A scheduler and five workers with their devices, as processes; a driver's threads hand out one job at a time for each
device, as a plan does. A job sleeps. Prints the time beside the ideal one, the scheduler's processor time for each job,
and its memory.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from edgetf.plans.fleet.client import DEVICE, connected
from tests.plans.fleet.lab import free_port, started

WORKERS = 5


@dataclass(frozen=True)
class Cost:
    """Of so many jobs on so many devices: seconds, the ideal ones, milliseconds of the scheduler's CPU for a job, and
    its megabytes."""

    jobs: int
    seconds: float
    ideal_s: float
    cpu_ms: float
    megabytes: float


def measure(jobs: int, seconds: float, devices: int) -> Cost:
    """Run `jobs` that last `seconds` each on `devices`, which `WORKERS` processes share."""
    each = devices // WORKERS
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place, address = Path(folder), f"tcp://127.0.0.1:{free_port()}"
        scheduler = stack.enter_context(started("scheduler", address, ready="listening", log=place / "scheduler.log"))
        for k in range(WORKERS):
            names = [f"d{k * each + j}" for j in range(each)]
            (place / f"{k}.toml").write_text("".join(f'[{name}]\nkind = "local"\n' for name in names))
            words = ("worker", address, "--name", f"w{k}", "--devices", str(place / f"{k}.toml"))
            stack.enter_context(started(*words, ready=f"w{k} offers", log=place / f"{k}.log"))
        process = psutil.Process(scheduler.pid)
        connection = stack.enter_context(connected(address, None))
        before, begin = sum(process.cpu_times()[:2]), time.perf_counter()

        def run(device: int, count: int) -> None:
            for _ in range(count):
                name, resource = f"w{device // each}", f"{DEVICE}d{device}"
                connection.call(name, time.sleep, seconds, title="sleep", needs=[resource])

        _in_threads(run, each * WORKERS, jobs)
        spent, cpu = time.perf_counter() - begin, sum(process.cpu_times()[:2]) - before
        done = jobs // (each * WORKERS) * each * WORKERS
        return Cost(done, spent, done * seconds / (each * WORKERS), 1e3 * cpu / done, process.memory_info().rss / 1e6)


def _in_threads(run: Callable[[int, int], None], devices: int, jobs: int) -> None:
    with ThreadPoolExecutor(devices) as threads:
        for ended in [threads.submit(run, device, jobs // devices) for device in range(devices)]:
            ended.result()


def main() -> None:
    given = sys.argv[1:]
    jobs, seconds, devices = (given + ["5000", "1", "50"][len(given) :])[:3]
    cost = measure(int(jobs), float(seconds), int(devices))
    console = Console()
    console.print(f"{cost.jobs:,} jobs of {seconds} s on {devices} devices of {WORKERS} workers")
    console.print(f"{cost.seconds:.1f} s; ideal {cost.ideal_s:.1f} s; {cost.seconds / cost.ideal_s:.3f} of it")
    console.print(f"the scheduler: {cost.cpu_ms:.2f} ms of CPU for each job, {cost.megabytes:.0f} MB")


if __name__ == "__main__":
    main()
