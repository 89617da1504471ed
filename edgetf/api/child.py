"""Make a reference in a child process: `python -m edgetf.api.child`, with the request as JSON on standard input.

TF32, determinism and the visible GPUs are settings of a process that cannot be undone.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from edgetf.benchmarks.reference.options import ReferenceOptions
from edgetf.errors import EdgetfError, KeptInterrupt
from edgetf.events import Answer, OnEvent
from edgetf.files import from_plain, to_plain
from edgetf.process import EventPipe, HungError, reporting, run_child
from edgetf.samples import SampleSource

_IDLE_S = 3600.0  # XLA sends no event while it compiles a large model
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
    """Run `make_reference` in a child process. Raises the same errors."""

    def interrupted(answer: Answer) -> None:
        raise KeptInterrupt(**answer.fields)

    request = ReferenceRequest(str(model), str(samples), isinstance(samples, Path), str(out), options)
    command = [sys.executable, "-m", "edgetf.api.child"]
    plain = json.dumps(to_plain(request))
    try:
        ended = run_child(command, on_event, on_answer=interrupted, request=plain, idle_s=_IDLE_S, grace_s=_GRACE_S)
    except HungError as error:
        raise EdgetfError(f"TensorFlow hung: {error}", "run the same command again: it resumes") from error
    if ended.code:
        raise EdgetfError(
            f"TensorFlow {ended.how}: {ended.last_line}", "run the same command again: it resumes if it can"
        )


def main() -> None:
    from edgetf.benchmarks.reference.make import make_reference  # imports scipy, which the parent does not need

    pipe = EventPipe()
    request = from_plain(json.loads(sys.stdin.read()), ReferenceRequest)
    samples: SampleSource = Path(request.samples) if request.path else request.samples
    try:
        with reporting(pipe):
            make_reference(Path(request.model), samples, Path(request.out), request.options, pipe.send)
    except KeptInterrupt as kept:
        pipe.answer("kept", message=kept.message, hint=kept.hint)
    except KeyboardInterrupt:  # the parent reports it
        sys.exit(1)


if __name__ == "__main__":
    main()
