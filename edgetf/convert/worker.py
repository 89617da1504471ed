"""The child process of a conversion: `python -m edgetf.convert.worker`, a request on standard input.

It tells what happens as JSON lines on standard output. When TensorFlow crashes, the parent knows from the last line
which scheme it was, reports it as that scheme's failure, and starts another worker for the rest.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

import numpy as np

from edgetf.convert import keras_file
from edgetf.convert.backend import load_tensorflow
from edgetf.convert.official import convert_official
from edgetf.convert.savedmodel import read_source, save_for_single_samples
from edgetf.errors import EdgetfError
from edgetf.files import to_plain
from edgetf.results import Calibration, Source
from edgetf.samples import CALIBRATION_SEED, Samples, load_samples
from edgetf.schemes import find_scheme


@dataclass(frozen=True)
class Request:
    """What a worker is asked: convert `model` by `schemes` and leave `SCHEME.tflite` files in `out`.

    A Keras file is first exported to `out/saved_model`. `samples` is an `.npz`, of which `calibration` rows are used.
    """

    model: str
    out: str
    schemes: tuple[str, ...]
    signature: str | None
    samples: str | None
    calibration: int


class Events:
    """Writes events to what was standard output; anything else that prints goes to standard error."""

    def __init__(self) -> None:
        self._pipe: TextIO = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def send(self, event: str, **fields: Any) -> None:
        self._pipe.write(json.dumps({"event": event, **fields}) + "\n")


def main() -> None:
    events = Events()
    request = Request(**json.loads(sys.stdin.read()))
    try:
        _convert_all(request, events)
    except EdgetfError as error:
        events.send("error", message=error.message, hint=error.hint)


def _convert_all(request: Request, events: Events) -> None:
    events.send("phase", phase="loading TensorFlow")
    tf = load_tensorflow()
    events.send("versions", versions=_versions(tf))
    out = Path(request.out)
    source = read_source(_saved_model(request, events), request.signature)
    events.send("source", source=to_plain(source))
    samples = _calibration_samples(request, source, events)
    single = save_for_single_samples(source, out / ".single")
    for name in request.schemes:
        events.send("scheme", scheme=name)
        begin = perf_counter()
        try:
            content = convert_official(
                single, source, find_scheme(name), samples, lambda done, of: events.send("progress", done=done, of=of)
            )
        except Exception as error:  # TensorFlow raises ConverterError, ValueError, RuntimeError and others
            traceback.print_exc()
            events.send("failed", scheme=name, seconds=perf_counter() - begin, message=meaningful_line(str(error)))
            continue
        (out / f"{name}.tflite").write_bytes(content)
        events.send("converted", scheme=name, seconds=perf_counter() - begin)


def _saved_model(request: Request, events: Events) -> Path:
    model = Path(request.model)
    if not keras_file.is_keras_file(model):
        return model
    exported = Path(request.out) / "saved_model"
    if not exported.exists():  # an earlier worker may have done it before it crashed
        events.send("phase", phase=f"exporting {model.name}")
        keras_file.export_keras_file(model, exported)
    return exported


def _calibration_samples(request: Request, source: Source, events: Events) -> Samples | None:
    if request.samples is None:
        return None
    samples = load_samples(Path(request.samples), source.inputs)
    batch = source.inputs[0].shape[0] or 1
    chosen = samples if batch > 1 else samples.take(request.calibration)
    calibration = Calibration(samples.used(), len(chosen), CALIBRATION_SEED)
    events.send("calibration", calibration=to_plain(calibration))
    return chosen


def _versions(tf: Any) -> dict[str, str]:
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "python": platform.python_version()}


def meaningful_line(message: str) -> str:
    """Of a converter's message, the line that says what is wrong, without MLIR's locations.

    That is the first line marked `error:`, else the last line of all.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line.split("error:", 1)[1].strip() for line in lines if "error:" in line]
    line = errors[0] if errors else (lines or ["the converter gave no reason"])[-1]
    return re.sub(r"^loc\(.*\): ", "", line)[:300]


if __name__ == "__main__":
    main()
