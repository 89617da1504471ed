"""The child process of a conversion: `python -m edgetf.convert.worker`, a request on standard input.

It tells what happens as JSON lines on standard output. When TensorFlow crashes, the parent knows from the last line
which scheme it was, reports it as that scheme's failure, and starts another worker for the rest.
"""

from __future__ import annotations

import json
import platform
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgetf.convert import keras_file
from edgetf.convert.backend import load_tensorflow
from edgetf.convert.contract import Target, find_target
from edgetf.convert.engine import Engine, Engines
from edgetf.convert.lint import lint_first_layer, lint_inputs, lint_ranges, lint_samples
from edgetf.convert.ranges import RANGES_SCHEMA, RangeChoice, Ranges
from edgetf.convert.savedmodel import fix_shapes, read_source, save_with_shapes
from edgetf.convert.translate import translate
from edgetf.errors import EdgetfError
from edgetf.files import from_plain, read_document, to_plain, write_document
from edgetf.process import EventPipe
from edgetf.results import Calibration, Source, TensorSpec
from edgetf.samples import CALIBRATION_SEED, Samples, load_samples
from edgetf.schemes import find_scheme

_LIKE = 50  # samples that the first layer is compared on


@dataclass(frozen=True)
class Request:
    """What a worker is asked: convert `model` by `schemes` and leave `SCHEME.tflite` files in `out`.

    A Keras file is first exported to `out/saved_model`. Of the source `samples`, `calibration` rows are used; `ranges`
    is a `ranges.json` that spares them; `like` is a source that the samples are compared with. `trust` lets a Keras
    file bring code. The schemes in `crashed` go the official way at once.
    """

    model: str
    out: str
    schemes: tuple[str, ...]
    signature: str | None
    shapes: dict[str, tuple[int, ...]]
    samples: str | None
    like: str | None
    calibration: int
    choice: RangeChoice
    ranges: str | None
    select_tf_ops: bool
    trust: bool
    runtime: str | None
    crashed: tuple[str, ...]


def main() -> None:
    events = EventPipe()
    request = from_plain(json.loads(sys.stdin.read()), Request)
    try:
        _convert_all(request, events)
    except EdgetfError as error:
        events.send("error", message=error.message, hint=error.hint)


def _convert_all(request: Request, events: EventPipe) -> None:
    events.send("phase", phase="loading TensorFlow")
    tf = load_tensorflow()
    events.send("versions", versions=_versions(tf))
    out = Path(request.out)
    source = read_source(_saved_model(request, events), request.signature)
    events.send("source", source=to_plain(source))
    fixed = fix_shapes(source, request.shapes)
    events.send("shapes", shapes={spec.name: spec.shape for spec in fixed.inputs})
    samples, calibration = _calibration_samples(request, fixed, events)
    ranges = read_document(Path(request.ranges), Ranges, RANGES_SCHEMA) if request.ranges else None
    engines = Engines(
        save_with_shapes(fixed, out / ".fixed"),
        fixed,
        samples,
        calibration,
        request.choice,
        ranges,
        request.select_tf_ops,
        lambda done, of: events.send("progress", done=done, of=of),
    )
    target = find_target(request.runtime) if request.runtime else None
    for name in request.schemes:
        _convert_one(name, engines, target, request, events)
    if engines.calibrated is not None:
        events.send("warnings", warnings=lint_ranges(engines.calibrated))
        if request.like:
            like = load_samples(request.like, _any_batch(fixed)).take(_LIKE, fixed.inputs[0].shape[0] or 1)
            theirs = engines.ranges_on(like)
            told = lint_first_layer(engines.calibrated, theirs, len(fixed.inputs), request.like)
            events.send("warnings", warnings=told)
        write_document(out / "ranges.json", engines.calibrated)


def _convert_one(name: str, engines: Engines, target: Target | None, request: Request, events: EventPipe) -> None:
    crashed, flex, out = name in request.crashed, request.select_tf_ops, Path(request.out)
    events.send("scheme", scheme=name, engine=Engine.OFFICIAL.value if crashed else Engine.FAST.value)
    begin = perf_counter()
    try:
        why_official = "the fast way crashed" if crashed else engines.why_official(find_scheme(name))
        if why_official:
            events.send("engine", scheme=name, engine=Engine.OFFICIAL.value)
        made = engines.make(find_scheme(name), why_official, target)
    except EdgetfError as error:
        events.send("failed", scheme=name, seconds=perf_counter() - begin, message=error.message, hint=error.hint)
        return
    except Exception as error:  # TensorFlow raises ConverterError, ValueError, RuntimeError and others
        traceback.print_exc()
        meaning = translate(str(error), flex)
        events.send("failed", scheme=name, seconds=perf_counter() - begin, message=meaning.message, hint=meaning.hint)
        return
    (out / f"{name}.tflite").write_bytes(made.content)
    told = {"engine": made.engine.value, "why_official": made.why_official, "notes": made.notes}
    events.send("converted", scheme=name, seconds=perf_counter() - begin, **told)


def _saved_model(request: Request, events: EventPipe) -> Path:
    model = Path(request.model)
    if not keras_file.is_keras_file(model):
        return model
    exported = Path(request.out) / "saved_model"
    if not exported.exists():  # an earlier worker may have done it before it crashed
        events.send("phase", phase=f"exporting {model.name}")
        keras_file.export_keras_file(model, exported, request.trust)
    return exported


def _calibration_samples(
    request: Request, source: Source, events: EventPipe
) -> tuple[Samples, Calibration] | tuple[None, None]:
    if request.samples is None:
        return None, None
    samples = load_samples(request.samples, _any_batch(source))
    batch = source.inputs[0].shape[0] or 1
    chosen = samples.take(request.calibration, batch)
    calibration = Calibration(samples.used(), len(chosen), CALIBRATION_SEED)
    events.send("calibration", calibration=to_plain(calibration))
    events.send("warnings", warnings=lint_samples(chosen, samples))
    if request.like:
        events.send("warnings", warnings=lint_inputs(chosen, load_samples(request.like, _any_batch(source))))
    return chosen, calibration


def _any_batch(source: Source) -> list[TensorSpec]:
    """The inputs, where a batch that was free takes any number of samples."""
    return [replace(s, shape=(None, *s.shape[1:])) if s.shape[:1] == (1,) else s for s in source.inputs]


def _versions(tf: Any) -> dict[str, str]:
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "python": platform.python_version()}


if __name__ == "__main__":
    main()
