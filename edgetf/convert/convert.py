"""A Keras model or SavedModel in; one `.tflite` for each scheme and `conversion.json` out.

TensorFlow runs in a child process. A scheme that fails, be it by a crash of the converter, costs no other scheme its
result. The output folder appears whole or not at all.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from edgetf import __version__, files
from edgetf.convert import keras_file
from edgetf.convert.flatbuffer import read_contents
from edgetf.convert.worker import Request
from edgetf.errors import EdgetfError
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
from edgetf.schemes import SCHEMES, find_scheme

DEFAULT_CALIBRATION = 200
_LOG = "conversion.log"
_IDLE_S = 1800.0  # one scheme of a large model gives no sign of life while MLIR works
_WORKER = [sys.executable, "-m", "edgetf.convert.worker"]


@dataclass(frozen=True)
class ConvertOptions:
    """`schemes` empty means all that can be made: those that need samples only when there are some."""

    schemes: tuple[str, ...] = ()
    samples: Path | None = None
    calibration: int = DEFAULT_CALIBRATION
    signature: str | None = None
    force: bool = False


def convert(model: Path, out: Path, options: ConvertOptions, on_event: OnEvent) -> Conversion:
    """Convert `model` (a SavedModel folder, a `.keras` or `.h5` file) into `out` and return what `conversion.json` says.

    Raises EdgetfError when nothing can be converted at all: not a model, bad samples, an unwritable folder. A scheme
    that fails is told in its Variant.
    """
    asked = options.schemes or tuple(n for n, s in SCHEMES.items() if options.samples or not s.needs_samples)
    for name in asked:
        find_scheme(name)
    if options.calibration < 1:
        raise EdgetfError(f"cannot calibrate on {options.calibration} samples", "give --calibration at least 1")
    generation = keras_file.keras_generation(model) if keras_file.is_keras_file(model) else None
    old = _old_variants(out) if options.force else []
    with files.staged(out, ["conversion.json"], options.force) as staging:
        run = _Run(model, out, staging, options, on_event)
        conversion = run.convert(asked, keras_file.environment(generation) if generation else {})
        shutil.rmtree(staging / ".single", ignore_errors=True)
        files.write_document(staging / "conversion.json", conversion)
    kept = {variant.path for variant in conversion.variants}
    for name in old:
        if name not in kept:
            (out / name).unlink(missing_ok=True)
    return conversion


class _Run:
    """One conversion in progress: what the workers have told until now."""

    def __init__(self, model: Path, out: Path, staging: Path, options: ConvertOptions, on_event: OnEvent) -> None:
        self._model, self._out, self._staging = model, out, staging
        self._options, self._on_event = options, on_event
        self._done: dict[str, Variant] = {}
        self._started: list[str] = []
        self._source: Source | None = None
        self._calibration: Calibration | None = None
        self._versions: dict[str, str] = {}
        self._log = ""

    def convert(self, asked: tuple[str, ...], env: dict[str, str]) -> Conversion:
        for name in asked:
            if find_scheme(name).needs_samples and self._options.samples is None:
                hint = "give representative ones with --samples FILE.npz"
                self._fail(name, Failure("needs-samples", f"{name} needs samples to calibrate on", hint))
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
            calibration=self._calibration,
            versions=self._versions,
            variants=tuple(self._done[name] for name in asked),
        )

    def _run_worker(self, schemes: list[str], env: dict[str, str]) -> None:
        """Let one worker convert `schemes`; if it dies, the scheme that it was at has failed."""
        samples = str(self._options.samples) if self._options.samples else None
        request = Request(
            str(self._model),
            str(self._staging),
            tuple(schemes),
            self._options.signature,
            samples,
            self._options.calibration,
        )
        self._started.clear()
        try:
            ended = run_child(_WORKER, self._receive, request=json.dumps(asdict(request)), env=env, idle_s=_IDLE_S)
        except HungError as error:
            ended = Ended(-9, str(error))
        self._log += ended.stderr
        if ended.code == 0 and all(name in self._done for name in schemes):
            return
        at = self._started[-1] if self._started else None
        if at is None or at in self._done:
            hint = ended.last_line or "it said nothing"
            raise EdgetfError(f"the converter's process {ended.how} while it prepared {self._model}", hint)
        hint = "the raw messages are in conversion.log; try another scheme"
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
        elif kind == "scheme":
            self._started.append(event["scheme"])
        elif kind == "converted":
            self._finish(event["scheme"], event["seconds"])
        elif kind == "failed":
            hint = "the raw messages are in conversion.log"
            self._fail(event["scheme"], Failure("converter", event["message"], hint), event["seconds"])
        self._on_event({"event": kind, **event})

    def _finish(self, scheme: str, seconds: float) -> None:
        contents = read_contents(self._staging / f"{scheme}.tflite")
        self._done[scheme] = Variant(
            scheme=scheme,
            status=Status.OK,
            path=f"{scheme}.tflite",
            bytes=contents.bytes,
            sha256=contents.sha256,
            seconds=round(seconds, 3),
            ops=contents.counts(),
        )

    def _fail(self, scheme: str, failure: Failure, seconds: float = 0.0) -> None:
        self._done[scheme] = Variant(scheme, Status.FAILED, None, None, None, round(seconds, 3), {}, failure)


def _old_variants(out: Path) -> list[str]:
    """Files that an earlier conversion left in `out`, which --force replaces."""
    try:
        return [variant.path for variant in read_conversion(out).variants if variant.path]
    except EdgetfError:
        return []
