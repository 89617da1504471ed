"""Who computes the outputs of a reference: `alone`, this process; elsewhere, the hosts of a scheduler.

In: a SavedModel and Samples. Out: a Computing, which fills a Partial and measures TensorFlow's latency and noise.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgetf.backend import load_tensorflow
from edgetf.benchmarks.reference.backend import Backend, Performance, find_backend
from edgetf.benchmarks.reference.batches import find_habits_of, run_batches
from edgetf.benchmarks.reference.options import ReferenceOptions
from edgetf.benchmarks.reference.partial import Partial
from edgetf.benchmarks.reference.probing import Habits
from edgetf.benchmarks.rows import Outputs
from edgetf.events import OnEvent, Phase
from edgetf.results import Precision, ReferenceDevice, Source
from edgetf.samples import Samples


@dataclass(frozen=True)
class Measured:
    """TensorFlow's latency and noise, and where they were measured."""

    performance: Performance
    device: ReferenceDevice
    precision: Precision
    versions: dict[str, str]


class Computing(Protocol):
    """What computes outputs."""

    @property
    def habits(self) -> Habits:
        """How the model takes samples."""

    @property
    def decisive(self) -> tuple[str, ...]:
        """What the bits of outputs depend on, besides the model, the samples and `habits`."""

    def run(self, begun: Partial, on_event: OnEvent) -> None:
        """Append the outputs of all samples that `begun` lacks, in their order. Raises EdgetfError."""

    def measure(self, known: Outputs, on_event: OnEvent) -> Measured:
        """Measure latency and noise; `known` are the outputs of all samples. Raises EdgetfError."""


Open = Callable[[Path, Source, Samples, ReferenceOptions, OnEvent], AbstractContextManager[Computing]]


@dataclass(frozen=True)
class _Alone:
    """TensorFlow in this process, or a TensorFlow Serving."""

    backend: Backend
    samples: Samples
    habits: Habits
    versions: dict[str, str]

    @property
    def decisive(self) -> tuple[str, ...]:
        return self.backend.device.sentence, str(self.backend.precision)

    def run(self, begun: Partial, on_event: OnEvent) -> None:
        run_batches(self.backend, self.samples, self.habits, begun, on_event)

    def measure(self, known: Outputs, on_event: OnEvent) -> Measured:
        performance = self.backend.measure(self.samples, known, self.habits.batch, on_event)
        return Measured(performance, self.backend.device, self.backend.precision, self.versions)


@contextmanager
def alone(
    saved_model: Path, source: Source, samples: Samples, options: ReferenceOptions, on_event: OnEvent
) -> Iterator[Computing]:
    """The SavedModel, loaded as `options` say. Raises EdgetfError for a missing GPU or server."""
    tf = load_tensorflow()
    backend = find_backend(tf, saved_model, source, options)
    on_event(Phase(backend.device.sentence.split(",")[0]))
    habits = find_habits_of(backend, source, samples)
    backend.refuse_other_model(samples, habits.random)
    yield _Alone(backend, samples, habits, versions_of(tf))


def versions_of(tf: Any) -> dict[str, str]:
    """The versions that outputs depend on."""
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "python": platform.python_version()}
