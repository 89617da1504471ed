"""How long a finished plan takes when it is run again: `python -m tests.performance.resume [MODELS]`.

Each model of the plan has five steps: conversion, reference, benchmark, report and bundle. All are the same small
network, so that the first run computes once; the second one has to find out for each step that nothing has changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console

import edgetf
from edgetf.events import ignore
from edgetf.plans.record import read_run


def make_plan(folder: Path, models: int) -> Path:
    """A plan of so many models of one scheme on this machine."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential([keras.Input((8, 8, 1), name="image"), layers.Flatten(), layers.Dense(3)])
    model.export(str(folder / "net"), verbose=False)
    images = np.random.default_rng(0).normal(size=(200, 8, 8, 1)).astype(np.float32)
    np.savez(folder / "test.npz", image=images, labels=np.argmax(model.predict(images, verbose=0), axis=1))
    table = '[models.m{}]\npath = "net"\ntest = "test.npz"\nschemes = "float32"\n'
    rest = '[tuning]\nwhen = "never"\n[options]\non = "cpu"\nblocks = 2\n'
    (folder / "edgetf.toml").write_text("".join(table.format(k) for k in range(models)) + rest)
    return folder / "edgetf.toml"


def main() -> None:
    models = int((sys.argv[1:] or ["200"])[0])
    console = Console()
    with TemporaryDirectory() as name:
        folder = Path(name)
        os.environ.update(EDGETF_CACHE=str(folder / "cache"), EDGETF_HISTORY=str(folder / "history.sqlite"))
        plan = make_plan(folder, models)
        first = edgetf.run(plan, on_event=ignore)
        assert len(first) == models, [step.error for step in first.document.steps if step.error][:1]
        begin = time.perf_counter()
        edgetf.run(plan, on_event=ignore)
        inside = time.perf_counter() - begin
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "edgetf", "run", str(plan)], check=first.exit_code == 0, capture_output=True
        )
        command = time.perf_counter() - begin
        steps = Counter(step.state.value for step in read_run(folder / "ship").steps)
        console.print(f"{dict(steps)}: edgetf.run {inside:.2f} s, the command {command:.2f} s", end="; ")
        console.print(f"load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
