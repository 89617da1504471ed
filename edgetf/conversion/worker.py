"""The child process of a conversion: `python -m edgetf.conversion.worker`, a request on standard input.

It sends events as JSON lines on standard output. When TensorFlow crashes, the last line shows the parent which scheme
was in progress. The parent reports it as that scheme's failure and starts another worker for the remaining schemes.
"""

from __future__ import annotations

import json
import platform
import sys
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgetf.backend import load_tensorflow
from edgetf.conversion import keras_export, keras_file
from edgetf.conversion.contract import RuntimeVersion, find_target, problems_of
from edgetf.conversion.early import any_batch, load_once, refuse_mistakes
from edgetf.conversion.effects import link_model, refuse_effects, refuse_exchanged
from edgetf.conversion.engine import Engines, Observed
from edgetf.conversion.informing import informed, lines_on
from edgetf.conversion.keep import keep_float, refuse_unknown_layers
from edgetf.conversion.layers import find_layers
from edgetf.conversion.lint import lint_first_layer, lint_inputs, lint_ranges, lint_rescaling, lint_samples
from edgetf.conversion.pixels import fold_pixels, maps_for, refuse_other_values
from edgetf.conversion.ranges import RANGES_SCHEMA, Ranges
from edgetf.conversion.request import TRIAL, Engine, Request
from edgetf.conversion.rescaling import refuse_scaled_twice
from edgetf.conversion.savedmodel import ask_shapes, fix_shapes, read_source, save_with_shapes
from edgetf.conversion.translate import Translation, translate
from edgetf.conversion.trial import ROWS
from edgetf.errors import EdgetfError, NoLayerError
from edgetf.events import Phase, Progress
from edgetf.files import from_plain, read_document, to_plain, write_document
from edgetf.owned import scratch
from edgetf.process import EventPipe, leave, reporting
from edgetf.reading import reason_of
from edgetf.results import Calibration, Source
from edgetf.samples import CALIBRATION_SEED, Samples, load_samples
from edgetf.schemes import find_scheme
from edgetf.system import naming, refuse_full

_LIKE = 50  # samples for the comparison of the first layer


def main() -> None:
    events = EventPipe()
    request = from_plain(json.loads(sys.stdin.read()), Request)
    with reporting(events), naming(Path(request.out).parents[1]), scratch() as work:
        _convert_all(request, work, events)


def _convert_all(request: Request, work: Path, events: EventPipe) -> None:
    out, warn = Path(request.out), partial(_warn, events)
    events.send(Phase("reading the model"))
    source = read_source(_saved_model(request, events), request.signature)
    asked = ask_shapes(source, request.shapes)
    samples, calibration = _calibration_samples(request, asked, events)
    fixed = fix_shapes(source, request.shapes, samples)
    events.send(Phase("loading TensorFlow"))
    tf = load_tensorflow(alone=True)  # after what can be wrong with what was given
    events.answer("versions", versions=_versions(tf))
    marked = source if samples is None else replace(source, inputs=samples.mark(source.inputs))
    events.answer("source", source=to_plain(marked))
    place, key = Path(source.path), source.signature
    layers: dict[str, str] = informed("the names of the layers", lambda: find_layers(place, key), {}, warn)
    events.answer("layers", layers=layers)
    events.answer("shapes", shapes={spec.name: spec.shape for spec in fixed.inputs})
    maps = maps_for(request.pixels, fixed.inputs)
    if samples is not None:
        _warn(events, *refuse_other_values(maps, samples))
    ranges = read_document(Path(request.ranges), Ranges, RANGES_SCHEMA) if request.ranges else None
    private = link_model(Path(source.path), work / "model")
    refuse_exchanged(private, Path(request.model), request.trust)  # what is loaded is what was checked
    fixed = replace(fixed, path=str(private))
    engines = Engines(
        save_with_shapes(fixed, out / ".fixed"),
        fixed,
        Observed(samples, calibration, request.choice, ranges, maps),
        request.select_tf_ops,
        lambda done, of: events.send(Progress(done, of)),
    )
    target = find_target(request.runtime) if request.runtime else None
    _keep_rows(samples, fixed, out / TRIAL, events)
    for name in request.schemes:
        _convert_one(name, (engines, layers), target, request, events)
        if engines.float_made is not None:
            (out / TRIAL / "float32.tflite").write_bytes(engines.float_made)
    if engines.calibrated is not None:
        write_document(out / "ranges.json", engines.calibrated)
        _warn(events, *_lint(engines, engines.calibrated, fixed, request))


def _lint(engines: Engines, ranges: Ranges, source: Source, request: Request) -> tuple[str, ...]:
    """Warnings about the samples that were calibrated on, from what the model made of them."""

    def compare() -> tuple[str, ...]:
        if request.like is None:
            return ()
        like = load_samples(request.like, any_batch(source), request.allow_nan).take(_LIKE)
        return lint_first_layer(ranges, engines.ranges_on(like), len(source.inputs), request.like)

    return (
        *lines_on("whether single samples stretch ranges", lambda: lint_ranges(ranges)),
        *lines_on("whether samples are scaled twice", lambda: lint_rescaling(engines.flatbuffer, ranges)),
        *lines_on(f"how the first layer responds to {request.like}", compare),
    )


def _convert_one(
    name: str, model: tuple[Engines, dict[str, str]], target: RuntimeVersion | None, request: Request, events: EventPipe
) -> None:
    """Convert by one scheme. `model` is what converts it, and its layers by their scopes in the graph."""
    engines, layers = model
    warn = partial(_warn, events)
    crashed, flex, out = name in request.crashed, request.select_tf_ops, Path(request.out)
    events.answer("scheme", scheme=name, engine=Engine.OFFICIAL.value if crashed else Engine.FAST.value)
    begin = perf_counter()
    try:
        why_official = "the fast way crashed" if crashed else engines.why_official(find_scheme(name))
        if why_official:
            events.answer("engine", scheme=name, engine=Engine.OFFICIAL.value)
        if request.keep_float and not crashed and find_scheme(name).weights == "int8":
            refuse_unknown_layers(engines.flatbuffer, request.keep_float, layers)
        made = engines.make(find_scheme(name), why_official, target)
        if request.keep_float:
            made = keep_float(made, engines.flatbuffer, find_scheme(name), request.keep_float, layers)
            if target is not None and (problems := problems_of(made.content, target)):
                raise EdgetfError("; ".join(problems), "leave out --keep-float, or try another scheme")
        if engines.maps:
            made = replace(made, content=fold_pixels(made.content, engines.maps))
            if target is not None and (problems := problems_of(made.content, target)):
                raise EdgetfError("; ".join(problems), "leave out --pixels, or try another scheme")
    except NoLayerError:
        raise  # a name that is mistaken for one scheme is mistaken for all
    except EdgetfError as error:
        events.answer("failed", scheme=name, seconds=perf_counter() - begin, message=error.message, hint=error.hint)
        return
    except Exception as error:  # TensorFlow raises ConverterError, ValueError, RuntimeError and others
        refuse_full(error)
        traceback.print_exc()
        raw, plain = str(error), Translation(reason_of(error), "")
        meaning = informed(f"why {name} failed", lambda: translate(raw, flex, engines.computes), plain, warn)
        events.answer("failed", scheme=name, seconds=perf_counter() - begin, message=meaning.message, hint=meaning.hint)
        return
    (out / f"{name}.tflite").write_bytes(made.content)
    facts = {
        "engine": made.engine.value,
        "why_official": made.why_official,
        "notes": made.notes,
        "repairs": to_plain(made.repairs),
        "pixels": to_plain(engines.maps),
    }
    events.answer("converted", scheme=name, seconds=perf_counter() - begin, **facts)


def _keep_rows(samples: Samples | None, source: Source, folder: Path, events: EventPipe) -> None:
    """Write a few samples to files for the trial runs: complete batches; none if they do not fill one."""
    folder.mkdir(exist_ok=True)
    batch = max((spec.shape[0] or 1 for spec in source.inputs if spec.shape and spec.batched is not False), default=1)
    count = 0 if samples is None else min(-(-ROWS // batch), len(samples) // batch) * batch
    rows = {}
    for k, (name, values) in enumerate(samples.inputs.items() if samples and count else ()):
        rows[name] = str(folder / f"{k}.npy")
        np.save(rows[name], values[:count])
    events.answer("rows", rows=rows)


def _saved_model(request: Request, events: EventPipe) -> Path:
    model = Path(request.model)
    if not keras_file.is_keras_file(model):
        refuse_effects(model, request.trust)
        return model
    exported = Path(request.out) / "saved_model"
    if not exported.exists():  # an earlier worker may have done it before it crashed
        given = None if request.samples is None else (request.samples, request.allow_nan)
        refuse_mistakes(model, request.signature, request.shapes, given, any_batch)
        events.send(Phase(f"exporting {model.name}"))
        notes = keras_export.export_keras_file(model, exported, request.trust)
        events.answer("notes", notes=notes)
    return exported


def _calibration_samples(
    request: Request, source: Source, events: EventPipe
) -> tuple[Samples, Calibration] | tuple[None, None]:
    if request.samples is None:
        return None, None
    samples = load_once(request.samples, tuple(any_batch(source)), request.allow_nan)
    _warn(events, *refuse_scaled_twice(source, samples))
    chosen = samples.take(request.calibration)
    calibration = Calibration(samples.used(), len(chosen), CALIBRATION_SEED)
    events.answer("calibration", calibration=to_plain(calibration))
    _warn(events, *lines_on("whether the samples are alike", lambda: lint_samples(chosen, samples)))
    if request.like:
        like = load_samples(request.like, samples.mark(any_batch(source)), request.allow_nan)
        _warn(events, *lines_on(f"whether the inputs are those of {request.like}", lambda: lint_inputs(chosen, like)))
    return chosen, calibration


def _warn(events: EventPipe, *warnings: str) -> None:
    events.answer("warnings", warnings=warnings)


def _versions(tf: Any) -> dict[str, str]:
    return {"tensorflow": tf.__version__, "numpy": np.__version__, "python": platform.python_version()}


if __name__ == "__main__":
    main()
    leave()
