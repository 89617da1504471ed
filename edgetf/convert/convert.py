"""A Keras model or SavedModel in; one `.tflite` for each scheme and `conversion.json` out.

TensorFlow runs in a child process. A scheme that fails, be it by a crash of the converter, costs no other scheme its
result. The output folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgetf import __version__, files
from edgetf.convert import keras_file, savedmodel
from edgetf.convert.contract import find_target
from edgetf.convert.engine import Engine, is_learned
from edgetf.convert.ranges import RangeChoice
from edgetf.convert.worker import Request
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import read_contents
from edgetf.process import Ended, Event, HungError, OnEvent, run_child
from edgetf.results import (
    CONVERSION_SCHEMA,
    Calibration,
    Conversion,
    Failure,
    Source,
    Status,
    Variant,
    read_conversion,
)
from edgetf.samples import SampleSource
from edgetf.schemes import SCHEMES, find_scheme

DEFAULT_CALIBRATION = 200
_LOG = "conversion.log"
_IDLE_S = 1800.0  # one scheme of a large model gives no sign of life while MLIR works
_WORKER = [sys.executable, "-m", "edgetf.convert.worker"]


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    `schemes` empty means all that can be made: those that need samples only when there are some, or `ranges` of an
    earlier conversion; of a model that was trained for int8, the int8 schemes, without samples. `shapes` fixes inputs
    by name; other free batch axes become 1. `select_tf_ops` allows ops that need the Flex delegate; `trust` lets a
    Keras file bring code of its own; `like` are samples that the model is known to work on: those to calibrate on are
    compared with them; `runtime`, such as "tflite-runtime==2.14", is what must be able to load the variants.
    """

    schemes: tuple[str, ...] = ()
    samples: SampleSource | None = None
    like: SampleSource | None = None
    calibration: int = DEFAULT_CALIBRATION
    signature: str | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    choice: RangeChoice = RangeChoice()
    ranges: Path | None = None
    select_tf_ops: bool = False
    trust: bool = False
    runtime: str | None = None
    force: bool = False

    @property
    def can_calibrate(self) -> bool:
        return self.samples is not None or self.ranges is not None


def convert(model: Path, out: Path, options: ConvertOptions, on_event: OnEvent) -> Conversion:
    """Convert `model` (a SavedModel folder, a `.keras` or `.h5` file) into `out`; returns what `conversion.json` says.

    Raises EdgetfError when nothing can be converted at all: not a model, bad samples, an unwritable folder. A scheme
    that fails is told in its Variant.
    """
    for name in options.schemes:
        find_scheme(name)
    if options.runtime is not None:
        find_target(options.runtime)
    if options.calibration < 1:
        raise EdgetfError(f"cannot calibrate on {options.calibration} samples", "give --calibration at least 1")
    if out.resolve().is_relative_to(model.resolve()):
        raise EdgetfError(f"{out} lies inside of {model}", "give a folder outside of the model with -o")
    generation = keras_file.keras_generation(model) if keras_file.is_keras_file(model) else None
    trained = keras_file.is_trained_for_int8(model) if generation else savedmodel.is_trained_for_int8(model)
    asked = options.schemes or _default_schemes(options, trained)
    old = _old_variants(out) if options.force else []
    with files.staged(out, ["conversion.json"], options.force) as staging:
        run = _Run(model, out, staging, options, on_event)
        no_gpu = {"CUDA_VISIBLE_DEVICES": "-1"}  # converting computes nothing: it must not hold a GPU's memory
        env = keras_file.environment(generation) if generation else {}
        if not trained:
            run.fail_without_samples(asked)
        conversion = run.convert(asked, {**no_gpu, **env})
        for left in (".fixed", ".frozen"):
            shutil.rmtree(staging / left, ignore_errors=True)
        files.write_document(staging / "conversion.json", conversion)
    kept = {variant.path for variant in conversion.variants}
    for name in old:
        if name not in kept:
            (out / name).unlink(missing_ok=True)
    return conversion


def _default_schemes(options: ConvertOptions, trained: bool) -> tuple[str, ...]:
    """All that can be made."""
    if trained:
        return tuple(name for name, scheme in SCHEMES.items() if is_learned(scheme))
    return tuple(n for n, s in SCHEMES.items() if options.can_calibrate or not s.needs_samples)


class _Run:
    """One conversion in progress: what the workers have told until now."""

    def __init__(self, model: Path, out: Path, staging: Path, options: ConvertOptions, on_event: OnEvent) -> None:
        self._model, self._out, self._staging = model, out, staging
        self._options, self._on_event = options, on_event
        self._done: dict[str, Variant] = {}
        self._engines: dict[str, str] = {}  # of the schemes that a worker has started, in order
        self._crashed: set[str] = set()
        self._warnings: dict[str, None] = {}  # a set in order: a second worker says them again
        self._shapes: dict[str, tuple[int | None, ...]] = {}
        self._source: Source | None = None
        self._calibration: Calibration | None = None
        self._versions: dict[str, str] = {}
        self._log = ""

    def fail_without_samples(self, asked: tuple[str, ...]) -> None:
        """Tell the schemes that cannot be made without samples to calibrate on."""
        for name in asked:
            if find_scheme(name).needs_samples and not self._options.can_calibrate:
                hint = "give representative ones with --samples FILE.npz"
                self._fail(name, Failure("needs-samples", f"{name} needs samples to calibrate on", hint))

    def convert(self, asked: tuple[str, ...], env: dict[str, str]) -> Conversion:
        while waiting := [name for name in asked if name not in self._done]:
            self._run_worker(waiting, env)
        if any(v.error and v.error.code != "needs-samples" for v in self._done.values()):
            (self._staging / _LOG).write_text(self._log)
        if self._source is None:
            raise EdgetfError("every scheme that was asked for needs samples", "give some with --samples FILE.npz")
        source = self._source
        if keras_file.is_keras_file(self._model):  # it was exported into the staging folder, which is moved
            source = replace(source, path=str(self._out / "saved_model"))
        return Conversion(
            schema=CONVERSION_SCHEMA,
            edgetf=__version__,
            created=files.now(),
            source=source,
            shapes=self._shapes,
            calibration=self._calibration,
            ranges="ranges.json" if (self._staging / "ranges.json").exists() else None,
            warnings=tuple(self._warnings),
            versions=self._versions,
            variants=tuple(self._done[name] for name in asked),
        )

    def _run_worker(self, schemes: list[str], env: dict[str, str]) -> None:
        """Let one worker convert `schemes`. If it dies, the scheme it was at is tried the official way, or failed."""
        options = self._options
        request = Request(
            model=str(self._model),
            out=str(self._staging),
            schemes=tuple(schemes),
            signature=options.signature,
            shapes=options.shapes,
            samples=str(options.samples) if options.samples else None,
            like=str(options.like) if options.like else None,
            calibration=options.calibration,
            choice=options.choice,
            ranges=str(options.ranges) if options.ranges else None,
            select_tf_ops=options.select_tf_ops,
            trust=options.trust,
            runtime=options.runtime,
            crashed=tuple(sorted(self._crashed)),
        )
        self._engines.clear()
        try:
            text = json.dumps(files.to_plain(request))
            ended = run_child(_WORKER, self._receive, request=text, env=env, idle_s=_IDLE_S)
        except HungError as error:
            ended = Ended(-9, str(error))
        self._log += ended.stderr
        if ended.code == 0 and all(name in self._done for name in schemes):
            return
        at = list(self._engines)[-1] if self._engines else None
        if at is None or at in self._done:
            hint = ended.last_line or "it said nothing"
            raise EdgetfError(f"the converter's process {ended.how} while it prepared {self._model}", hint)
        if self._engines[at] == Engine.FAST:
            self._crashed.add(at)
            return
        hint = f"the raw messages are in {self._out / _LOG}; try another scheme"
        self._fail(at, Failure("crashed", f"the converter {ended.how}", hint))

    def _receive(self, event: Event) -> None:
        kind = event.pop("event")
        if kind == "error":
            raise EdgetfError(event["message"], event["hint"])
        if kind == "versions":
            self._versions = event["versions"]
        elif kind == "source":
            self._source = files.from_plain(event["source"], Source)
        elif kind == "calibration":
            self._calibration = files.from_plain(event["calibration"], Calibration)
        elif kind == "warnings":
            self._warnings.update(dict.fromkeys(event["warnings"]))
        elif kind == "shapes":
            self._shapes = {name: tuple(shape) for name, shape in event["shapes"].items()}
        elif kind in ("scheme", "engine"):
            self._engines[event["scheme"]] = event["engine"]
        elif kind == "converted":
            self._finish(event)
        elif kind == "failed":
            hint = event["hint"] or f"the raw messages are in {self._out / _LOG}"
            self._fail(event["scheme"], Failure("converter", event["message"], hint), event["seconds"])
        self._on_event({"event": kind, **event})

    def _finish(self, event: Event) -> None:
        scheme = event["scheme"]
        contents = read_contents(self._staging / f"{scheme}.tflite")
        self._done[scheme] = Variant(
            scheme=scheme,
            status=Status.OK,
            path=f"{scheme}.tflite",
            bytes=contents.bytes,
            sha256=contents.sha256,
            seconds=round(event["seconds"], 3),
            ops=contents.counts(),
            weight_sparsity=contents.weight_sparsity,
            compressed_bytes=contents.compressed_bytes,
            engine=event["engine"],
            why_official=event["why_official"],
            notes=tuple(event["notes"]),
        )

    def _fail(self, scheme: str, failure: Failure, seconds: float = 0.0) -> None:
        self._done[scheme] = Variant(scheme, Status.FAILED, None, None, None, round(seconds, 3), {}, error=failure)


def _old_variants(out: Path) -> list[str]:
    """Files that an earlier conversion left in `out`, which --force replaces."""
    try:
        return [variant.path for variant in read_conversion(out).variants if variant.path]
    except EdgetfError:
        return []
