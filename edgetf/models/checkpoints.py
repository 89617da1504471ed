"""The state of a training after each epoch, with `tf.train.Checkpoint` and `tf.train.CheckpointManager`."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgetf.errors import EdgetfError

_KEPT = 2  # the last one, and the previous one in case the last is damaged


class Checkpoints:
    """Keeps `state` (models, optimizers, variables: everything that affects the further training) in `folder`.

    Without a folder nothing is kept. Of several workers, which share the folder, only the first one's files stay.
    """

    def __init__(self, folder: Path | None, is_chief: bool, **state: Any) -> None:
        self._done = tf.Variable(0, dtype=tf.int64, trainable=False)
        self._checkpoint = tf.train.Checkpoint(done=self._done, **state)
        self._manager: Any = None
        self._found: list[str] = []  # newest first
        if folder is not None:
            kept = tf.train.get_checkpoint_state(str(folder))
            self._found = list(reversed(kept.all_model_checkpoint_paths)) if kept else []
            # a collective save: the others have to take part, and their copies are of no use
            place = str(folder) if is_chief else tempfile.mkdtemp(prefix="edgetf-worker-")
            if not is_chief:
                weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
            self._manager = tf.train.CheckpointManager(self._checkpoint, place, _KEPT)

    def restore(self) -> int:
        """Load the last complete checkpoint, if there is one; returns the number of its finished epochs.

        Raises EdgetfError if there are checkpoints and none can be read.
        """
        first: Exception | None = None
        for path in self._found:
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
                return int(self._done.numpy())
            except (ValueError, AssertionError, IndexError, tf.errors.OpError) as error:  # IndexError: cut short
                first = first or error
        if first is None:
            return 0
        reason = f"{self._found[0]} is damaged or of another training: {str(first).splitlines()[0][:200]}"
        raise EdgetfError(reason, "remove it, or start over with --force") from first

    def save(self, done: int) -> None:
        """Save the state after `done` epochs."""
        if self._manager is not None:
            self._done.assign(done)
            self._manager.save(checkpoint_number=done)
