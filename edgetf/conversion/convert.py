"""A Keras model or SavedModel in; one `.tflite` for each scheme and `conversion.json` out.

TensorFlow runs in a child process. When a scheme fails, even by a crash of the converter, the other schemes keep their
results. The output folder appears complete or not at all.
"""

from __future__ import annotations

import json
import shutil
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgetf import __version__, files
from edgetf.conversion import keras_file, origin, savedmodel
from edgetf.conversion.contract import find_target
from edgetf.conversion.early import any_batch, is_quick, read_early
from edgetf.conversion.informing import informed
from edgetf.conversion.pixels import maps_for, refuse_other_values
from edgetf.conversion.ranges import RANGES_SCHEMA, Choice, RangeChoice, Ranges
from edgetf.conversion.request import TRIAL, Engine, Request, is_learned
from edgetf.conversion.trial import Trial, TrialRequest, try_variants
from edgetf.defaults import CALIBRATION
from edgetf.errors import EdgetfError
from edgetf.events import Answer, OnEvent, Phase, Step
from edgetf.flatbuffer import read_contents
from edgetf.pixels import PixelMap
from edgetf.process import Ended, HungError, run_child
from edgetf.results import (
    CONVERSION_SCHEMA,
    Calibration,
    Conversion,
    Failure,
    Repair,
    Source,
    Status,
    Variant,
    read_conversion,
)
from edgetf.samples import SampleSource, load_samples
from edgetf.schemes import DEFAULT_SCHEMES, find_scheme

_LOG = "conversion.log"
_CLAIMS = ("conversion.json",)
_IDLE_S = 1800.0  # a scheme of a large model sends no event while MLIR works
_WORKER = [sys.executable, "-m", "edgetf.conversion.worker"]


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    `schemes` empty means all that can be made: those that need samples only when there are some, or `ranges` of an
    earlier conversion; of a model that was trained for int8, the int8 schemes, without samples. `shapes` fixes inputs
    by name; other free batch axes become 1. `select_tf_ops` allows ops that need the Flex delegate; `trust` lets a
    Keras file bring code of its own, and a SavedModel reach outside of its graph; `like` are samples that the model is
    known to work on: those to calibrate on are compared with them; `runtime`, such as "tflite-runtime==2.14", is what
    must be able to load the variants; `allow_nan` is for samples with NaN, which the model imputes;
    `keep_float` are names of Keras layers, or patterns, that stay in float32 in quantized variants; `pixels` are the
    maps of inputs that take uint8 pixels, by input name ("" is the only float input).
    """

    schemes: tuple[str, ...] = ()
    samples: SampleSource | None = None
    like: SampleSource | None = None
    calibration: int = CALIBRATION
    signature: str | None = None
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    choice: RangeChoice = RangeChoice(Choice.AUTO)
    ranges: Path | None = None
    select_tf_ops: bool = False
    trust: bool = False
    runtime: str | None = None
    allow_nan: bool = False
    keep_float: tuple[str, ...] = ()
    pixels: dict[str, PixelMap] = field(default_factory=dict)
    force: bool = False

    @property
    def can_calibrate(self) -> bool:
        return self.samples is not None or self.ranges is not None


def convert(model: Path, out: Path, options: ConvertOptions, on_event: OnEvent) -> Conversion:
    """Convert `model` (a SavedModel folder, a `.keras` or `.h5` file) into `out`; returns its Conversion.

    Raises EdgetfError when nothing can be converted: not a model, bad samples, an unwritable folder. A scheme that
    fails, or whose variant does not run here, is recorded as a Variant with the reason. If it was not requested by
    name, it is left out, provided that another variant was made.
    """
    _refuse_options(model, out, options)
    files.refuse_results(out, _CLAIMS, options.force)
    header = keras_file.read_header(model) if keras_file.is_keras_file(model) else None
    if header is not None:
        keras_file.refuse_code(model, header, options.trust)
    _refuse_mistakes(model, options)
    if header is not None:
        # reads the whole file, in a process with a short time limit; the result is cached
        keras_file.read_digest(model)
    trained = header.int8 if header else savedmodel.is_trained_for_int8(model)
    asked = options.schemes or _default_schemes(options, trained)
    old = _old_variants(out) if options.force else []
    with files.staged(out, _CLAIMS, options.force) as staging:
        run = _Run(model, out, staging, options, on_event)
        no_gpu = {"CUDA_VISIBLE_DEVICES": "-1"}  # converting computes nothing: it must not hold a GPU's memory
        env = keras_file.environment(header.generation) if header else {}
        if not trained:
            run.fail_without_samples(asked)
        conversion = run.convert(asked, {**no_gpu, **env})
        for left in (".fixed", ".frozen", TRIAL):
            shutil.rmtree(staging / left, ignore_errors=True)
        files.write_document(staging / "conversion.json", conversion)
    kept = {variant.path for variant in conversion.variants}
    for name in old:
        if name not in kept:
            (out / name).unlink(missing_ok=True)
    return conversion


def _refuse_options(model: Path, out: Path, options: ConvertOptions) -> None:
    """Raise EdgetfError for options that no model can be converted with."""
    for name in options.schemes:
        find_scheme(name)
    if options.runtime is not None:
        find_target(options.runtime)
    if options.calibration < 1:
        raise EdgetfError(f"cannot calibrate on {options.calibration} samples", "give --calibration at least 1")
    if out.resolve().is_relative_to(model.resolve()):
        raise EdgetfError(f"{out} is inside of {model}", "give a folder outside of the model with -o")
    if options.ranges is not None:
        files.read_document(options.ranges, Ranges, RANGES_SCHEMA)


def _refuse_mistakes(model: Path, options: ConvertOptions) -> None:
    """Raise EdgetfError for what does not fit the model, as far as it is quick to find out without TensorFlow."""
    given = None if options.samples is None else (options.samples, options.allow_nan)
    early = read_early(model, options.signature, options.shapes, given, any_batch)
    if early is None or (given is not None and early.samples is None):
        return
    maps = maps_for(options.pixels, savedmodel.fix_shapes(early.source, options.shapes, early.samples).inputs)
    if early.samples is None:
        return
    refuse_other_values(maps, early.samples)
    if options.like is not None and is_quick(options.like):
        load_samples(options.like, early.samples.mark(any_batch(early.source)), options.allow_nan)


def _default_schemes(options: ConvertOptions, trained: bool) -> tuple[str, ...]:
    """All schemes that can be made with these options, except those that are made on request."""
    if trained:
        return tuple(name for name, scheme in DEFAULT_SCHEMES.items() if is_learned(scheme))
    return tuple(n for n, s in DEFAULT_SCHEMES.items() if options.can_calibrate or not s.needs_samples)


class _Run:
    """One conversion in progress: what the workers have reported so far."""

    def __init__(self, model: Path, out: Path, staging: Path, options: ConvertOptions, on_event: OnEvent) -> None:
        self._model, self._out, self._staging = model, out, staging
        self._options, self._on_event = options, on_event
        self._done: dict[str, Variant] = {}
        self._engines: dict[str, str] = {}  # by scheme that a worker has started, in order
        self._crashed: set[str] = set()
        self._warnings: dict[str, None] = {}  # an ordered set: a second worker repeats them
        self._shapes: dict[str, tuple[int | None, ...]] = {}
        self._source: Source | None = None
        self._calibration: Calibration | None = None
        self._versions: dict[str, str] = {}
        self._steps = 0  # schemes that are requested from workers
        self._notes: list[str] = []  # from the export of a Keras file
        self._layers: dict[str, str] = {}
        self._log = ""
        self._rows: dict[str, str] = {}  # files of samples to try the variants on

    def fail_without_samples(self, asked: tuple[str, ...]) -> None:
        """Record a failure for each scheme that cannot be made without calibration samples."""
        for name in asked:
            if find_scheme(name).needs_samples and not self._options.can_calibrate:
                hint = "give representative ones with --samples FILE.npz"
                self._fail(name, Failure("needs-samples", f"{name} needs samples to calibrate on", hint))

    def convert(self, asked: tuple[str, ...], env: dict[str, str]) -> Conversion:
        self._steps = len([name for name in asked if name not in self._done])
        while waiting := [name for name in asked if name not in self._done]:
            self._run_worker(waiting, env)
        self._try()
        self._leave_out()
        if any(v.error and v.error.code != "needs-samples" for v in self._done.values()):
            (self._staging / _LOG).write_text(self._log)
        if self._source is None:
            raise EdgetfError("every requested scheme needs samples", "give some with --samples FILE.npz")
        made_from = informed("the model's digest", lambda: origin.describe(self._model, self._notes), None, self._warn)
        source = replace(self._source, origin=made_from)
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
            layers=self._layers,
        )

    def _try(self) -> None:
        """Run each variant that was made. One that does not run is recorded as a failure, and its file is removed."""
        made = {name: str(self._staging / f"{name}.tflite") for name, v in self._done.items() if v.status is Status.OK}
        if not made or self._source is None:
            return
        self._on_event(Phase("running the variants"))
        exact = self._staging / TRIAL / "float32.tflite"
        yardstick = made.get("float32") or (str(exact) if exact.exists() else None)
        unbatched = [spec.name for spec in self._source.inputs if not spec.batched]
        tried = try_variants(TrialRequest(made, yardstick, self._source.signature, self._rows, unbatched))
        for name, trial in tried.items():
            self._done[name] = self._judge(self._done[name], trial)

    def _judge(self, variant: Variant, trial: Trial) -> Variant:
        if trial.unproven:
            return replace(variant, notes=(*variant.notes, f"not run here: {trial.unproven}"))
        if not trial.problem:
            return replace(variant, ran_in=trial.runtime)
        (self._staging / f"{variant.scheme}.tflite").unlink()
        failure = Failure("cannot-run", trial.problem, "use another scheme, or change the model there")
        return _failed(variant.scheme, failure, variant.seconds)

    def _leave_out(self) -> None:
        """Drop failures of schemes that were not requested by name, unless no variant was made at all."""
        if self._options.schemes or not any(v.status is Status.OK for v in self._done.values()):
            return
        for name, variant in self._done.items():
            if variant.status is Status.FAILED:
                self._done[name] = replace(variant, status=Status.LEFT_OUT)

    def _run_worker(self, schemes: list[str], env: dict[str, str]) -> None:
        """Convert `schemes` in one worker. If it dies, its current scheme is retried the official way, or fails."""
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
            allow_nan=options.allow_nan,
            keep_float=options.keep_float,
            pixels=options.pixels,
            crashed=tuple(sorted(self._crashed)),
        )
        self._engines.clear()
        try:
            text = json.dumps(files.to_plain(request))
            ended = run_child(_WORKER, self._on_event, on_answer=self._receive, request=text, env=env, idle_s=_IDLE_S)
        except HungError as error:
            ended = Ended(-9, str(error))
        self._log += ended.stderr
        if all(name in self._done for name in schemes):
            if ended.code:  # by then it only informs
                self._warn(f"could not find out whether the samples suit the model: the converter {ended.how}")
            return
        at = list(self._engines)[-1] if self._engines else None
        if at is None or at in self._done:
            hint = ended.last_line or "it printed nothing"
            raise EdgetfError(f"the converter's process {ended.how} while it prepared {self._model}", hint)
        if self._engines[at] == Engine.FAST:
            self._crashed.add(at)
            return
        hint = f"the raw messages are in {self._out / _LOG}; try another scheme"
        self._fail(at, Failure("crashed", f"the converter {ended.how}", hint))

    def _receive(self, answer: Answer) -> None:
        kind, fields = answer.kind, answer.fields
        if kind in ("versions", "notes", "layers"):
            setattr(self, f"_{kind}", fields[kind])
        elif kind == "source":
            self._source = files.from_plain(fields["source"], Source)
        elif kind == "calibration":
            self._calibration = files.from_plain(fields["calibration"], Calibration)
        elif kind == "warnings":
            self._warn(*fields["warnings"])
        elif kind == "shapes":
            self._shapes = {name: tuple(shape) for name, shape in fields["shapes"].items()}
        elif kind == "rows":
            self._rows = fields["rows"]
        else:
            self._receive_scheme(kind, fields)
        if kind == "scheme":
            self._on_event(Step(fields["scheme"], of=self._steps))

    def _receive_scheme(self, kind: str, fields: Mapping[str, Any]) -> None:
        if kind in ("scheme", "engine"):
            self._engines[fields["scheme"]] = fields["engine"]
        elif kind == "converted":
            self._finish(fields)
        elif kind == "failed":
            hint = fields["hint"] or f"the raw messages are in {self._out / _LOG}"
            self._fail(fields["scheme"], Failure("converter", fields["message"], hint), fields["seconds"])

    def _finish(self, fields: Mapping[str, Any]) -> None:
        scheme = fields["scheme"]
        try:
            contents = read_contents(self._staging / f"{scheme}.tflite")
        except Exception as error:  # a damaged file or a bug in edgetf: only this scheme fails
            (self._staging / f"{scheme}.tflite").unlink(missing_ok=True)
            self._log += traceback.format_exc()
            hint = f"the raw messages are in {self._out / _LOG}"
            self._fail(scheme, Failure("unread", f"the new variant cannot be read: {error}", hint), fields["seconds"])
            return
        self._done[scheme] = Variant(
            scheme=scheme,
            status=Status.OK,
            path=f"{scheme}.tflite",
            bytes=contents.bytes,
            sha256=contents.sha256,
            seconds=round(fields["seconds"], 3),
            ops=contents.counts(),
            weight_sparsity=contents.weight_sparsity,
            compressed_bytes=contents.compressed_bytes,
            engine=fields["engine"],
            why_official=fields["why_official"],
            notes=tuple(fields["notes"]),
            repairs=files.from_plain(fields["repairs"], tuple[Repair, ...]),
            pixels=files.from_plain(fields["pixels"], dict[str, PixelMap]),
        )

    def _warn(self, *warnings: str) -> None:
        self._warnings.update(dict.fromkeys(warnings))

    def _fail(self, scheme: str, failure: Failure, seconds: float = 0.0) -> None:
        self._done[scheme] = _failed(scheme, failure, round(seconds, 3))


def _failed(scheme: str, failure: Failure, seconds: float) -> Variant:
    return Variant(scheme, Status.FAILED, None, None, None, seconds, {}, error=failure)


def _old_variants(out: Path) -> list[str]:
    """Files of an earlier conversion in `out`, which --force replaces."""
    try:
        return [variant.path for variant in read_conversion(out).variants if variant.path]
    except EdgetfError:
        return []
