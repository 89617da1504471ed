"""The common parameters of all trainings of the zoo: event receiver, checkpoints and hardware."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetf.errors import EdgetfError
from edgetf.events import OnEvent, ignore

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


@dataclass(frozen=True)
class Run:
    """One training.

    `checkpoints` is a folder for its state after each epoch: a training that finds one there resumes from it. `logs` is
    a folder for TensorBoard, which gets a profile as well with `profile`. `strategy` is a `tf.distribute.Strategy`, or
    None for one device, and `hardware` describes the choice. `epochs` replaces the model's own number of epochs.
    """

    on_event: OnEvent = ignore
    checkpoints: Path | None = None
    logs: Path | None = None
    profile: bool = False
    strategy: Any = None
    epochs: int | None = None
    hardware: str = ""

    def scope(self) -> AbstractContextManager[Any]:
        """The scope in which the variables of a model are made."""
        return contextlib.nullcontext() if self.strategy is None else self.strategy.scope()

    def on_one_device(self, name: str) -> None:
        """Raise EdgetfError for what only the common loop has, a strategy and a profile."""
        for asked, option in ((self.strategy is not None, "--strategy"), (self.profile, "--profile")):
            if asked:
                reason = f"{name} is trained by a loop of its own, which runs on one device and has no profile"
                raise EdgetfError(reason, f"leave {option} out, or train a model that has the common loop, such as cnn")


QUIET = Run()
