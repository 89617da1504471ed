"""This machine as a Device: a Job in, a Measurement out of a runner in a separate process, without TensorFlow."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgetf.device.facts import ASK_PYTHON, EVERYTHING, Facts, parse
from edgetf.device.lacking import lacks_python, refuse_unready
from edgetf.device.lock import held, hold
from edgetf.device.measurements import read_measurement, refuse_full
from edgetf.device.reconnect import COMMAND_S
from edgetf.device.runner.job import Job, Measurement, write_json
from edgetf.device.settings import DeviceSettings
from edgetf.device.zipapp import build_runner
from edgetf.digests import known_sha256, state_of
from edgetf.errors import Cause, DeviceError
from edgetf.events import OnEvent
from edgetf.owned import scratch
from edgetf.process import HungError, ask, run_child

_LOCK = "local"


@dataclass(frozen=True)
class LocalDevice:
    """This machine: the runner in a separate process, under `python`, with `env` added to the environment."""

    name: str = "local"
    python: str = sys.executable
    idle_s: float = 600.0
    emulated: bool = False
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def store(self) -> str | None:
        return None

    @contextmanager
    def reserve(self, on_event: OnEvent | None = None) -> Iterator[None]:
        """Hold the lock of this machine, which all its users share."""
        with hold(self.name, _LOCK, on_event):
            yield

    def probe(self) -> Facts:
        """What this machine is and has. Raises DeviceError if its Python does not answer."""
        arguments = (DeviceSettings.work_dir, self.python, ASK_PYTHON)
        try:
            answered = ask(["sh", "-c", EVERYTHING, "edgetf", *arguments], seconds=COMMAND_S)
        except HungError as error:
            raise DeviceError(f"{self.name}: {error}", f"does this end? {self.python} -c pass", Cause.HUNG) from error
        return parse(answered.stdout)

    def examine(self, runtime: str) -> Facts:
        facts = self.probe()
        refuse_unready(self.name, lacks_python(facts, self.python, runtime))
        return facts

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        with scratch() as folder:
            runner, job_file = folder / "edgetf-runner.pyz", folder / "job.json"
            runner.write_bytes(build_runner(compiled=True))
            write_json(job_file, replace(job, known_inputs=_known(job)))
            try:
                command = [self.python, str(runner), str(job_file), str(out)]
                ended = run_child(command, on_event, env=self.env, idle_s=self.idle_s, keep=held(_LOCK))
            except HungError as error:
                raise DeviceError(
                    f"the runner on {self.name} hung: {error}", "try again with fewer samples", Cause.HUNG
                ) from error
        if ended.code:
            refuse_full(self.name, ended.last_line)
            hint = ended.last_line or "it printed nothing"
            raise DeviceError(f"the runner on {self.name} {ended.how}", hint)
        measurement = read_measurement(self.name, out)
        refuse_full(self.name, measurement.error or "")
        return measurement


def _known(job: Job) -> dict[str, list[str | int]]:
    """The digests of inputs that are known here, with the states of the files: the runner reads the same files."""
    known: dict[str, list[str | int]] = {}
    for name, file in job.inputs.items():
        state, sha256 = state_of(Path(file)), known_sha256(Path(file))
        if state is not None and sha256 is not None:
            known[name] = [sha256, *state]
    return known | job.known_inputs
