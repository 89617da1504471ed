"""The outputs of a Keras file on samples: `python -m edgetf.conversion.keras_outputs`, in a process of its generation.

In: a request, one JSON object on standard input. Out: an `.npz` of the outputs (named `output_0`, `output_1` and so on
in the model's order, or by the keys of its dict), and progress events on standard output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgetf.conversion import keras_export, keras_file
from edgetf.errors import EdgetfError
from edgetf.events import OnEvent, Progress
from edgetf.process import EventPipe, HungError, leave, reporting, run_child
from edgetf.samples import save_arrays

_BATCH, _IDLE_S = 64, 600.0


@dataclass(frozen=True)
class OutputsRequest:
    """The Keras file, an `.npz` of inputs by name, and the file for the outputs; `classes` are modules to import."""

    model: str
    inputs: str
    out: str
    classes: tuple[str, ...] = ()
    trust: bool = False


def compute_outputs(request: OutputsRequest, on_event: OnEvent) -> dict[str, Any]:
    """Run the request in a child process and read the outputs. Raises EdgetfError if it fails."""
    header = keras_file.read_header(Path(request.model))
    keras_file.refuse_code(Path(request.model), header, request.trust, request.classes)
    command = [sys.executable, "-m", "edgetf.conversion.keras_outputs"]
    env = keras_file.environment(header.generation)
    try:
        ended = run_child(command, on_event, request=json.dumps(asdict(request)), env=env, idle_s=_IDLE_S)
    except HungError as error:
        raise EdgetfError(f"{request.model} hung: {error}", "try fewer samples") from error
    if ended.code:
        raise EdgetfError(f"running {request.model} {ended.how}", ended.last_line or "it printed nothing")
    with np.load(request.out) as archive:
        return {name: archive[name] for name in archive.files}


def _run(request: OutputsRequest, pipe: EventPipe) -> None:
    model, _ = keras_export.load_for_inference(Path(request.model), request.trust, request.classes)
    with np.load(request.inputs) as archive:
        inputs = {key: archive[key] for key in archive.files}
    n = len(next(iter(inputs.values())))
    pieces: dict[str, list[Any]] = {}
    for begin in range(0, n, _BATCH):
        fed = {key: values[begin : begin + _BATCH] for key, values in inputs.items()}
        for key, value in _named(model(fed if len(fed) > 1 else next(iter(fed.values())), training=False)).items():
            pieces.setdefault(key, []).append(np.asarray(value))
        pipe.send(Progress(min(begin + _BATCH, n), n))
    save_arrays(Path(request.out), {key: np.concatenate(values) for key, values in pieces.items()})


def _named(outputs: Any) -> dict[str, Any]:
    if isinstance(outputs, Mapping):
        return dict(outputs)
    listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return {f"output_{k}": value for k, value in enumerate(listed)}


def main() -> None:
    pipe = EventPipe()
    fields = json.loads(sys.stdin.read())
    with reporting(pipe):
        _run(OutputsRequest(**{**fields, "classes": tuple(fields["classes"])}), pipe)


if __name__ == "__main__":
    main()
    leave()
