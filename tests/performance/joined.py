"""How much faster two hosts compute a reference: `python -m tests.performance.joined [SAMPLES [ROUNDS [DTYPE]]]`.

ResNet50 with random weights on images of 64x64x3 (DTYPE is float32 or uint8), on the CPU. One side is
`edgetf reference` in one process with one thread of TensorFlow; the other one is two workers with one thread each, and
the machine that runs the command, all on this machine. Both sides in turn. Timed are the outputs, from the first batch
to the last one, the start of the second worker's TensorFlow included. Then both stop: latency and noise are measured by
one host in any case. The third figure is the limit of the machine: two processes that compute the same alone at the
same time, without a scheduler.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
from rich.console import Console

import edgetf
from edgetf.events import Event, Progress
from edgetf.files import sha256_file
from tests.plans.fleet.lab import free_port, started

SIDE, CLASSES = 64, 10
_THREADS = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "CUDA_VISIBLE_DEVICES": "-1"}


def make_inputs(folder: Path, samples: int, dtype: str) -> tuple[Path, Path]:
    """A SavedModel, and samples for it."""
    import keras

    keras.utils.set_random_seed(0)
    net = keras.applications.ResNet50(weights=None, input_shape=(SIDE, SIDE, 3), classes=CLASSES)
    pixels = keras.Input((SIDE, SIDE, 3), dtype=dtype, name="x")
    scaled = keras.layers.Rescaling(1 / 127.5, -1)(pixels) if dtype == "uint8" else pixels
    keras.Model(pixels, net(scaled)).export(str(folder / "net"), verbose=False)
    random = np.random.default_rng(0)
    images = (
        random.integers(0, 256, (samples, SIDE, SIDE, 3))
        if dtype == "uint8"
        else random.normal(size=(samples, SIDE, SIDE, 3))
    )
    np.savez(folder / "test.npz", x=images.astype(dtype))
    return folder / "net", folder / "test.npz"


@contextmanager
def two_workers(folder: Path) -> Iterator[str]:
    """The address of a scheduler with two workers that compute references."""
    address = f"tcp://127.0.0.1:{free_port()}"
    (folder / "none.toml").write_text("")
    with ExitStack() as stack:
        stack.enter_context(started("scheduler", address, ready="listening", log=folder / "scheduler.log"))
        for name in ("one", "two"):
            words = ("worker", address, "--name", name, "--convert", "--devices", str(folder / "none.toml"))
            cache = folder / f"cache-{name}"
            stack.enter_context(started(*words, ready=f"{name} offers", log=folder / f"{name}.log", cache=cache))
        yield address


def measure(model: Path, samples: Path, out: Path, scheduler: str | None) -> tuple[float, str]:
    """Samples in a second, alone or on the workers of a scheduler, and the digest of the outputs."""
    seen: list[tuple[float, int]] = []

    def note(event: Event) -> None:
        if isinstance(event, Progress):
            seen.append((time.perf_counter(), event.done))
        elif seen and seen[-1][1] == count:
            raise KeyboardInterrupt

    with np.load(samples) as archive:
        count = len(archive["x"])
    with suppress(KeyboardInterrupt):
        edgetf.reference(model, samples, out, on="cpu", scheduler=scheduler, force=True, on_event=note)
    first, last = seen[0], next(one for one in seen if one[1] == count)
    rows = out / ".edgetf-partial-reference" / "output-0.npy"
    return (last[1] - first[1]) / (last[0] - first[0]), sha256_file(rows)


def limit(model: Path, samples: Path, folder: Path) -> float:
    """Samples in a second of two processes together, each alone with all samples."""
    words = [sys.executable, "-m", "tests.performance.joined", "--alone", str(model), str(samples)]
    two = [
        subprocess.Popen([*words, mkdtemp(dir=folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    return sum(float(process.communicate()[0].split()[-1]) for process in two)


def main() -> None:
    os.environ.update(_THREADS)
    if sys.argv[1:2] == ["--alone"]:
        model, source, out = map(Path, sys.argv[2:])
        print(measure(model, source, out, None)[0])  # noqa: T201
        return
    count, rounds, dtype = [*sys.argv[1:], *("3000", "1", "float32")[len(sys.argv) - 1 :]]
    samples, console = int(count), Console()
    with TemporaryDirectory() as name:
        folder = Path(name)
        model, source = make_inputs(folder, samples, dtype)
        with two_workers(folder) as address:
            for _ in range(int(rounds)):
                alone, bits = measure(model, source, Path(mkdtemp(dir=folder)), None)
                joined, others = measure(model, source, Path(mkdtemp(dir=folder)), address)
                assert bits == others, "the bits differ"
                console.print(f"{samples:,} samples: {alone:.1f} a second alone, {joined:.1f} by two workers", end=": ")
                console.print(f"{joined / alone:.2f}; load average {os.getloadavg()[0]:.1f}", end="; ")
        console.print(f"the machine's limit {limit(model, source, folder) / alone:.2f}")


if __name__ == "__main__":
    main()
