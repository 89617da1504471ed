"""The state of a training after each epoch, with `tf.train.Checkpoint` and `tf.train.CheckpointManager`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgetf.errors import EdgetfError

_KEPT = 2  # the last one, and the one before it should the last be damaged


class Checkpoints:
    """Keeps `state` (models, optimizers, variables: all that decides how the training goes on) in `folder`.

    Without a folder nothing is kept. Of several workers, which share the folder, only the first one's files stay.
    """

    def __init__(self, folder: Path | None, is_chief: bool, **state: Any) -> None:
        self._done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._checkpoint = tf.train.Checkpoint(done=self._done, **state)
        self._manager: Any = None
        self._latest: str | None = None
        if folder is not None:
            self._latest = tf.train.latest_checkpoint(str(folder))
            # a collective save: the others have to take part, and their copies are of no use
            place = str(folder) if is_chief else tempfile.mkdtemp(prefix="edgetf-worker-")
            self._manager = tf.train.CheckpointManager(self._checkpoint, place, _KEPT)

    def restore(self) -> int:
        """Take the state of the last checkpoint, if there is one; how many epochs it has behind it."""
        if self._latest is None:
            return 0
        try:
            self._checkpoint.restore(self._latest).assert_existing_objects_matched()
        except (ValueError, AssertionError, tf.errors.OpError) as error:
            reason = f"{self._latest} is damaged or of another training: {str(error).splitlines()[0][:200]}"
            raise EdgetfError(reason, "remove it, or start anew with --force") from error
        return int(self._done.numpy())

    def save(self, done: int) -> None:
        """Keep the state after `done` epochs."""
        if self._manager is not None:
            self._done.assign(done)
            self._manager.save(checkpoint_number=done)
