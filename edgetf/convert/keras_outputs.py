"""What a Keras file says on samples: `python -m edgetf.convert.keras_outputs`, a process of the file's generation.

Comes in: a request of one JSON object on standard input. Goes out: an `.npz` of the outputs, as `output_0`, `output_1`
and so on in the model's order or by the names of its dict, and progress events on standard output.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.convert import keras_file
from edgetf.errors import EdgetfError
from edgetf.process import EventPipe, HungError, OnEvent, run_child

_BATCH, _IDLE_S = 64, 600.0


@dataclass(frozen=True)
class Request:
    """The Keras file, an `.npz` of inputs by name, and where the outputs go; `classes` are modules to import."""

    model: str
    inputs: str
    out: str
    classes: tuple[str, ...] = ()


def compute_outputs(request: Request, on_event: OnEvent) -> dict[str, Any]:
    """Run the request in a process of its own and read the outputs. Raises EdgetfError where it fails."""

    def receive(event: dict[str, Any]) -> None:
        if event["event"] == "error":
            raise EdgetfError(event["message"], event["hint"])
        on_event(event)

    generation = keras_file.keras_generation(Path(request.model))
    command = [sys.executable, "-m", "edgetf.convert.keras_outputs"]
    env = keras_file.environment(generation)
    try:
        ended = run_child(command, receive, request=json.dumps(asdict(request)), env=env, idle_s=_IDLE_S)
    except HungError as error:
        raise EdgetfError(f"{request.model} hung: {error}", "try fewer samples") from error
    if ended.code:
        raise EdgetfError(f"running {request.model} {ended.how}", ended.last_line or "it said nothing")
    with np.load(request.out) as archive:
        return {name: archive[name] for name in archive.files}


def _run(request: Request, pipe: EventPipe) -> None:
    name = "tf_keras" if os.environ.get("TF_USE_LEGACY_KERAS") == "1" else "keras"
    keras_file.register_classes(request.classes)
    model = keras_file.load_keras_file(Path(request.model), name)
    with np.load(request.inputs) as archive:
        inputs = {key: archive[key] for key in archive.files}
    n = len(next(iter(inputs.values())))
    pieces: dict[str, list[Any]] = {}
    for begin in range(0, n, _BATCH):
        fed = {key: values[begin : begin + _BATCH] for key, values in inputs.items()}
        for key, value in _named(model(fed if len(fed) > 1 else next(iter(fed.values())), training=False)).items():
            pieces.setdefault(key, []).append(np.asarray(value))
        pipe.send("progress", done=min(begin + _BATCH, n), of=n)
    np.savez(request.out, **{key: np.concatenate(values) for key, values in pieces.items()})


def _named(outputs: Any) -> dict[str, Any]:
    if isinstance(outputs, Mapping):
        return dict(outputs)
    listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return {f"output_{k}": value for k, value in enumerate(listed)}


def main() -> None:
    pipe = EventPipe()
    fields = json.loads(sys.stdin.read())
    try:
        _run(Request(**{**fields, "classes": tuple(fields["classes"])}), pipe)
    except EdgetfError as error:
        pipe.send("error", message=error.message, hint=error.hint)


if __name__ == "__main__":
    main()
