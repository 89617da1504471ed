"""The command of the runner: `python edgetf-runner.pyz JOB.json OUT`, or `python edgetf-runner.pyz verify BUNDLE`.

Of a job, progress goes to standard output, one JSON object a line. The exit code is 0 when `measurement.json` was
written, whether or not the variant ran: the measurement says so. It is 1 when the job cannot be read, or the
measurement cannot be written. Of a bundle, the exit code is 0 when it is proven to be as it was, 3 when it is not,
1 when it cannot be read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .interpreter import JobError
from .job import read_job
from .run import run_job
from .verify import verify

_USAGE = "usage: python edgetf-runner.pyz JOB.json OUT\n       python edgetf-runner.pyz verify BUNDLE [RUNTIME]\n"


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["verify"] and len(arguments) in (2, 3):
        return _verify(Path(arguments[1]), arguments[2] if len(arguments) == 3 else "auto")
    if len(arguments) != 2 or arguments[0].startswith("-"):
        sys.stderr.write(_USAGE)
        return 2

    def report(event: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()

    try:
        job = read_job(Path(arguments[0]))
    except JobError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        run_job(job, Path(arguments[1]), report)
    except OSError as error:
        sys.stderr.write(f"cannot write to {error.filename or arguments[1]}: {error.strerror or error}\n")
        return 1
    return 0


def _verify(bundle: Path, runtime: str) -> int:
    try:
        proof = verify(bundle, runtime, lambda event: None)
    except (JobError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for problem in proof.problems:
        sys.stdout.write(f"FAIL {proof.variant}: {problem}\n")
    if proof.problems:
        return 3
    errors = ", ".join(f"{name} within {error:.2g}" for name, error in proof.errors.items())
    signed = "" if proof.signed == "pass" else f"; it was signed {proof.signed}"
    sys.stdout.write(f"PASS {proof.variant}: {proof.n} golden samples in {proof.runtime}, {errors}{signed}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it
