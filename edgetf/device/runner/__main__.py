"""The command of the runner: `python edgetf-runner.pyz JOB.json OUT`.

Progress goes to standard output, one JSON object a line. The exit code is 0 when `measurement.json` was written,
whether or not the variant ran: the measurement says so. It is 1 when the job itself cannot be read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .job import read_job
from .run import run_job


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0].startswith("-"):
        sys.stderr.write("usage: python edgetf-runner.pyz JOB.json OUT\n")
        return 2

    def report(event: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()

    try:
        job = read_job(Path(arguments[0]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.stderr.write(f"{arguments[0]} is not a job for this runner: {error}\n")
        return 1
    run_job(job, Path(arguments[1]), report)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
