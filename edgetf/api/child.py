"""Make a reference in a child process: `python -m edgetf.api.child`, with the request as JSON on standard input.

TF32, determinism and the visible GPUs are settings of a process that cannot be undone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgetf.benchmarks.reference.options import CLAIMS, ReferenceOptions
from edgetf.benchmarks.reference.serving import parse_address
from edgetf.conversion.early import read_early
from edgetf.conversion.keras_file import is_keras_file, read_header, refuse_code
from edgetf.errors import Cause, DeviceError, EdgetfError, KeptInterrupt
from edgetf.events import Answer, OnEvent
from edgetf.files import from_plain, refuse_results, to_plain
from edgetf.process import EventPipe, HungError, leave, reporting, run_child
from edgetf.samples import SampleSource

_IDLE_S = 3600.0  # XLA sends no event while it compiles a large model
# by name: what is on top of this package is not imported here
_ALONE, _JOINED = "edgetf.api.child", "edgetf.plans.fleet.reference_child"
_GRACE_S = 10.0  # for the current batch of TensorFlow


@dataclass(frozen=True)
class ReferenceRequest:
    """The arguments of `make_reference`; `path` is whether `samples` is a path."""

    model: str
    samples: str
    path: bool
    out: str
    options: ReferenceOptions


def run_reference(model: Path, samples: SampleSource, out: Path, options: ReferenceOptions, on_event: OnEvent) -> None:
    """Run `make_reference` in a child process. Raises the same errors; what is quick to check is checked here."""
    _refuse_mistakes(model, samples, out, options)

    def receive(answer: Answer) -> None:
        fields = dict(answer.fields)
        if answer.kind == "kept":
            raise KeptInterrupt(**fields)
        raise DeviceError(fields["message"], fields["hint"], Cause(fields["cause"]))

    request = ReferenceRequest(str(model), str(samples), isinstance(samples, Path), str(out), options)
    command = [sys.executable, "-m", _ALONE if options.hosts is None else _JOINED]
    plain = json.dumps(to_plain(request))
    try:
        ended = run_child(command, on_event, on_answer=receive, request=plain, idle_s=_IDLE_S, grace_s=_GRACE_S)
    except HungError as error:
        raise EdgetfError(f"TensorFlow hung: {error}", "run the same command again: it resumes") from error
    if ended.code:
        raise EdgetfError(
            f"TensorFlow {ended.how}: {ended.last_line}", "run the same command again: it resumes if it can"
        )


def _refuse_mistakes(model: Path, samples: SampleSource, out: Path, options: ReferenceOptions) -> None:
    """Raise EdgetfError for what does not fit, as far as it is quick to find out without TensorFlow."""
    refuse_results(out, CLAIMS, options.force)
    if options.serving is not None:
        parse_address(options.serving)
    if is_keras_file(model):
        refuse_code(model, read_header(model), options.trust)
    early = read_early(model, options.signature, {}, (samples, options.allow_nan))
    if early is not None and early.samples is not None and early.source.outputs:
        early.samples.check_outputs(spec.name for spec in early.source.outputs)


def serve(make: Callable[..., object]) -> None:
    """In the child: run `make`, which takes what `make_reference` does, as standard input requests."""
    pipe = EventPipe()
    request = from_plain(json.loads(sys.stdin.read()), ReferenceRequest)
    samples: SampleSource = Path(request.samples) if request.path else request.samples
    try:
        with reporting(pipe):
            try:
                make(Path(request.model), samples, Path(request.out), request.options, pipe.send)
            except DeviceError as error:  # it has its own exit code
                pipe.answer("device", message=error.message, hint=error.hint, cause=error.cause.value)
    except KeptInterrupt as kept:
        pipe.answer("kept", message=kept.message, hint=kept.hint)
    except KeyboardInterrupt:  # the parent reports it
        sys.exit(1)


def main() -> None:
    from edgetf.benchmarks.reference.make import make_reference  # imports scipy, which the parent does not need

    serve(make_reference)


if __name__ == "__main__":
    main()
    leave()
