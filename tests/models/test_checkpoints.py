"""An interrupted training resumes and reaches the same weights as an uninterrupted one."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from edgetf.errors import EdgetfError
from edgetf.events import Event, Phase, Progress
from edgetf.models.checkpoints import Checkpoints
from edgetf.models.run import QUIET, Run
from edgetf.models.training import train, train_resumable
from tests.conftest import Run as Command


def _weights(folder: Path) -> list[np.ndarray]:  # type: ignore[type-arg]
    return [np.asarray(weight) for weight in keras.models.load_model(folder / "model.keras", compile=False).weights]


@pytest.mark.slow
def test_a_killed_training_resumes_and_reaches_the_same_weights(edgetf: Command, tmp_path: Path) -> None:
    """The cnn moves its images at random and uses dropout: both must be the same as without the interruption."""
    command = ["models", "train", "cnn", "--epochs", "2", "-o"]
    child = subprocess.Popen(
        [sys.executable, "-m", "edgetf", *command, "killed"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    first = tmp_path / "killed" / "checkpoints" / "checkpoint"  # written after the files of the first epoch
    while not first.exists():
        assert child.poll() is None
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "training.json").exists()
    again = edgetf(*command, "killed")
    assert again.returncode == 0, again.stderr
    assert "resuming after epoch 1 of 2" in again.stderr
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [
        "logs",
        "model.keras",
        "test.npz",
        "train.npz",
        "training.json",
    ]
    train("cnn", tmp_path / "whole", False, Run(epochs=2))
    for one, other in zip(_weights(tmp_path / "killed"), _weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(one, other)


class _CutError(Exception):
    pass


def _cut_after(epoch: int) -> Run:
    def on_event(event: Event) -> None:
        if isinstance(event, Progress) and event.done == epoch:
            raise _CutError

    return Run(on_event, epochs=45)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cut"), [("dqn", 42), ("linear", 30)])
def test_custom_training_loops_resume_too(name: str, cut: int, tmp_path: Path) -> None:
    """The replay memory of dqn is part of its state; both go back to a checkpoint some epochs before the cut."""
    with pytest.raises(_CutError):
        train_resumable(name, tmp_path / "cut", False, _cut_after(cut), logs=False)
    assert (tmp_path / "cut" / "checkpoints").exists()
    train_resumable(name, tmp_path / "cut", False, Run(epochs=45), logs=False)
    train(name, tmp_path / "whole", False, Run(epochs=45))
    for one, other in zip(_weights(tmp_path / "cut"), _weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_another_training_is_refused_and_force_starts_over(tmp_path: Path) -> None:
    with pytest.raises(_CutError):
        train_resumable("linear", tmp_path, False, _cut_after(30), logs=False)
    with pytest.raises(EdgetfError, match="of another training"):
        train_resumable("linear", tmp_path, False, QUIET, logs=False)
    train_resumable("linear", tmp_path, True, QUIET, logs=False)
    assert not (tmp_path / "checkpoints").exists()


def test_a_damaged_checkpoint_is_replaced_by_the_previous_one(tmp_path: Path) -> None:
    """The linear model saves a checkpoint after every 25 steps."""
    with pytest.raises(_CutError):
        train_resumable("linear", tmp_path / "cut", False, replace(_cut_after(60), epochs=70), logs=False)
    folder = tmp_path / "cut" / "checkpoints"
    for state in folder.glob("ckpt-50.data*"):
        state.write_bytes(state.read_bytes()[:10])
    shutil.copytree(tmp_path / "cut", tmp_path / "hopeless")
    events: list[Event] = []
    train_resumable("linear", tmp_path / "cut", False, Run(events.append, epochs=70), logs=False)
    assert Phase("resuming after epoch 25 of 70") in events
    train("linear", tmp_path / "whole", False, Run(epochs=70))
    for one, other in zip(_weights(tmp_path / "cut"), _weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(one, other)
    states = list((tmp_path / "hopeless" / "checkpoints").glob("ckpt-*.data*"))
    assert len(states) == 2
    for state in states:
        state.write_bytes(b"")
    with pytest.raises(EdgetfError, match=r"ckpt-50 is damaged"):
        train_resumable("linear", tmp_path / "hopeless", False, Run(epochs=70), logs=False)


def test_the_copies_of_the_other_workers_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    checkpoints = Checkpoints(tmp_path / "shared", is_chief=False)
    checkpoints.save(1)
    assert list((tmp_path / "temporary").glob("edgetf-worker-*/ckpt-1.index"))
    del checkpoints
    gc.collect()
    assert not list((tmp_path / "temporary").iterdir())


def test_a_training_that_fails_at_once_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="runs on one device"):
        train_resumable("linear", tmp_path / "out", False, Run(strategy=object()), logs=True)
    assert not (tmp_path / "out").exists()
