"""A variant as a player. In: a `.tflite` file. Out: a function that returns the action which the variant values most.

It runs as on a device, in the runner's interpreter and one observation at a time, but in this process: a game waits for
each move.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.device.runner.interpreter import Session, find_runtime
from edgetf.device.runner.job import Job


def greedy_policy(variant: Path, name: str, shape: tuple[int, ...]) -> Callable[[Any], int]:
    """Observations of `shape`, float32, which the variant takes as `name`, to the number of its largest output.

    The runtime is LiteRT: unlike tflite-runtime it may share a process with TensorFlow.
    """
    job = Job(model=str(variant), inputs={name: ""}, runtime="litert")
    session = Session(find_runtime("litert"), job, 1, {name: shape})
    (given,), (value,) = session.inputs, session.outputs

    def act(observation: Any) -> int:
        session.feed([given.quantize(np.asarray(observation, np.float32)[None])])
        session.invoke()
        return int(np.argmax(value.dequantize(session.fetch()[0])))

    return act
