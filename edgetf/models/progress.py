"""Keras callbacks that every model of the zoo shares, for the Keras generation that `tf.keras` is."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgetf.process import OnEvent


class ReportProgress(tf.keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Reports each epoch of `epochs`, with its metrics."""

    def __init__(self, epochs: int, on_event: OnEvent) -> None:
        super().__init__()
        self._epochs, self._on_event = epochs, on_event

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        told = {name: float(value) for name, value in (logs or {}).items()}
        self._on_event({"event": "progress", "done": epoch + 1, "of": self._epochs, "metrics": told})
