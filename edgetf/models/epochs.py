"""What every epoch of a training leaves: an event for the progress bar, scalars for TensorBoard, a checkpoint."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgetf.events import Phase, Progress
from edgetf.models.checkpoints import Checkpoints
from edgetf.models.hardware import leads
from edgetf.models.run import Run

_PROFILED = 20  # batches


class Epochs:
    """The epochs of one training; those that a checkpoint has finished are skipped.

        epochs = Epochs(run, 10, model=model, optimizer=optimizer)
        for epoch in epochs.left():
            ...
            epochs.done(epoch, loss=loss)

    `count` is their number unless `run` asks for another one; a checkpoint is saved after every `every` epochs. The
    state by name is what a checkpoint keeps.
    """

    def __init__(self, run: Run, count: int, *, every: int = 1, **state: Any) -> None:
        self._run, self.count, self._every = run, run.epochs or count, every
        self._is_chief = leads()
        self._checkpoints = Checkpoints(run.checkpoints, self._is_chief, **state)
        self._first = self._checkpoints.restore()
        logs = run.logs if self._is_chief else None
        self._writer = tf.summary.create_file_writer(str(logs)) if logs else tf.summary.create_noop_writer()
        self._profiled = 0 if run.profile and logs else None
        if self._first:
            run.on_event(Phase(f"resuming after epoch {self._first} of {self.count}"))

    def left(self) -> range:
        """The numbers, from 0, of the epochs that are still to be done."""
        return range(self._first, self.count)

    def done(self, epoch: int, **metrics: float) -> None:
        """Report the results of the epoch `epoch`, and save its state."""
        floats = {name: float(value) for name, value in metrics.items()}
        with self._writer.as_default(step=epoch):
            for name, value in floats.items():
                tf.summary.scalar(name, value)
        self._writer.flush()
        self._stop_profile()
        if (epoch + 1) % self._every == 0 or epoch + 1 == self.count:
            self._checkpoints.save(epoch + 1)
        self._run.on_event(Progress(epoch + 1, self.count, floats))

    def draw(self, function: Any, *arguments: Any) -> None:
        """Give TensorBoard the graph of a `tf.function` as it is for these arguments."""
        if self._run.logs and self._is_chief:
            with self._writer.as_default(step=0):
                tf.summary.graph(function.get_concrete_function(*arguments).graph)

    def batch(self) -> None:
        """Called when a batch begins. A requested profile covers the second to the twentieth batch."""
        if self._profiled is None:
            return
        self._profiled += 1
        if self._profiled == 2:
            tf.profiler.experimental.start(str(self._run.logs))
        elif self._profiled > _PROFILED:
            self._stop_profile()

    def _stop_profile(self) -> None:
        if self._profiled is not None and self._profiled >= 2:
            tf.profiler.experimental.stop()
            self._profiled = None
