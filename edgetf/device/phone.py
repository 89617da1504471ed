"""An Android phone as a Device: TFLite's own `benchmark_model` does the work, over adb, for the phone has no Python.

As over SSH, sent files are content-addressed (`WORK/store/SHA256`), and a job runs detached in `WORK/jobs/ID`: after
a lost connection edgetf finds it again. Inputs are quantized and outputs dequantized on this machine.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from uuid import uuid4

from edgetf.device import android, room, scripts
from edgetf.device.adb import Adb
from edgetf.device.facts import SYSTEM, Facts, parse
from edgetf.device.lacking import lacks_program, refuse_unready
from edgetf.device.lock import hold
from edgetf.device.measurements import read_events, read_measurement
from edgetf.device.phone_job import PhoneJob, prepare, read_back
from edgetf.device.runner.job import Job, Measurement
from edgetf.device.settings import DeviceSettings
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.events import OnEvent, Phase
from edgetf.files import sha256_file
from edgetf.owned import scratch

WORK_DIR = "/data/local/tmp/edgetf"
_POLL_S, _RARE_POLL_S = 0.3, 1.0  # rarely while something is timed: every look starts a process there
_START_S = 30.0  # within which the job writes down where it can be found

# whether the job has ended, lives, is about to start or is gone, and its events from byte $2 on
_FOLLOW = (
    scripts.KILL
    + """
if [ -f "$1/code" ]; then echo "ended $(cat "$1/code")"; elif runs "$1"; then echo alive
elif [ -f "$1/job.json" ] && [ ! -s "$1/pid" ]; then echo starting; else echo gone; fi
tail -c +"$2" "$1/events" 2>/dev/null
exit 0
"""
)


class PhoneDevice:
    """The phone that `settings` names. Use it within `reserve()`, which holds the phone's lock."""

    def __init__(self, name: str, settings: DeviceSettings, idle_s: float = 600.0) -> None:
        self.name, self.emulated = name, settings.emulated
        self._settings, self._idle_s = settings, idle_s
        self._adb = Adb(name, settings.adb, settings.serial)

    @property
    def store(self) -> str:
        return self._store()

    @contextlib.contextmanager
    def reserve(self, on_event: OnEvent | None = None) -> Iterator[None]:
        """Reach the phone, hold its lock on this machine, and sweep what a killed run left. Raises DeviceError.

        Other machines do not see that lock: a phone on the network is for one of them at a time.
        """
        self._binary()  # raises if it is missing, before the phone is contacted
        adb = self._adb
        own = adb.sh("getprop ro.serialno 2>/dev/null; exit 0").strip()  # the same by USB and over the network
        with hold(self.name, f"adb {own or adb.serial}", on_event):
            adb.sh(scripts.PREPARE, self._work())
            self._sweep(adb)
            yield

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        """Bring the files of `job` to the phone, run them there, and leave what came back in `out`."""
        adb, identity = self._adb, uuid4().hex
        out.mkdir(parents=True, exist_ok=True)
        on_event(Phase(f"sending to {self.name}"))
        with scratch() as folder:
            there = prepare(job, self._binary(), folder)  # what cannot be run is found before the phone is asked
            with room.about(self.name, self._work(), self._free_kib):
                facts = parse(adb.sh(SYSTEM + android.PROBE, self._work()))
                self._sweep(adb)
                script = there.script(self._push(adb, there))
        try:
            with room.about(self.name, self._work(), self._free_kib):
                adb.sh(scripts.START, self._job(identity), _INSIDE, str(len(script.encode())), given=script)
                self._await(identity, job, out, on_event)
                read_back(there, facts, out)
                measurement = read_measurement(self.name, out)
                if measurement.error is None:
                    return measurement
                return room.explain_measurement(measurement, self.name, self._work(), self._free_kib(), out)
        finally:
            with contextlib.suppress(Exception):  # what is left is swept by the next run
                adb.sh(scripts.KILL + 'end "$1"', self._job(identity))

    def _await(self, identity: str, job: Job, out: Path, on_event: OnEvent) -> None:
        """Wait for the job's end and fetch what it left. Raises DeviceError for a job that did not end well."""
        timed = job.timing is not None or job.sustained_s or job.energy_s
        try:
            code = self._follow(identity, _RARE_POLL_S if timed else _POLL_S, on_event)
        except DeviceError:
            with contextlib.suppress(Exception):  # what arrived until then is kept, if it can still be read
                self._adb.pull(self._job(identity, "out/."), out)
            raise
        self._adb.pull(self._job(identity, "out/."), out)
        if code != "0":
            how = f"ended with exit code {code}" if code else "left no result"
            last_line = self._adb.sh('tail -n 1 "$1" 2> /dev/null; exit 0', self._job(identity, "errors")).strip()
            problem = f"the run on {self.name} {how}{': ' if last_line else ''}{last_line}"
            raise DeviceError(problem, f"edgetf devices doctor {self.name}")

    def _free_kib(self) -> int | None:
        """The free space; None if the phone does not report it."""
        with contextlib.suppress(DeviceError):
            return room.read_kib(self._adb.sh(scripts.FREE, self._work()))
        return None

    def probe(self) -> Facts:
        """What the phone is and has. Raises DeviceError when it cannot be reached."""
        return parse(self._adb.sh(SYSTEM + android.PROBE, self._work()))

    def examine(self, runtime: str) -> Facts:
        facts = replace(self.probe(), benchmark_model=sha256_file(self._binary())[:12])
        refuse_unready(self.name, lacks_program(facts, self._settings.benchmark_model))
        return facts

    def _binary(self) -> Path:
        """The `benchmark_model` that the user gave."""
        hint = "set benchmark_model to TFLite's program for the phone; see docs/android.md for where to get it"
        if self._settings.benchmark_model is None:
            raise EdgetfError(f"{self.name} has no benchmark_model", hint)
        path = Path(self._settings.benchmark_model).expanduser()
        if not path.is_file():
            raise EdgetfError(f"the benchmark_model of {self.name} is not at {path}", hint)
        return path

    def _push(self, adb: Adb, job: PhoneJob) -> dict[Path, str]:
        """Send the files that the store does not have; returns the path of each on the phone."""
        digests = {path: sha256_file(path) for path in job.files}
        sizes = {digest: path.stat().st_size for path, digest in digests.items()}
        asked = [word for digest, size in sizes.items() for word in (digest, str(size))]
        missing = set(adb.sh(scripts.MISSING, self._store(), *asked).split())
        for path, digest in digests.items():
            if digest in missing:
                missing.remove(digest)
                adb.push(path, self._store(f".{digest}"))
                adb.sh(scripts.STORED, self._store(), digest, f".{digest}")
        return {path: self._store(digest) for path, digest in digests.items()}

    def _follow(self, identity: str, pause_s: float, on_event: OnEvent) -> str:
        """Pass the events on until the job ends; its exit code. Raises DeviceError when it is gone or hangs."""
        offset, begun = 1, monotonic()
        heard = begun
        while True:
            head, _, block = self._adb.sh(_FOLLOW, self._job(identity), str(offset)).partition("\n")
            whole = block[: block.rfind("\n") + 1]
            offset += len(whole.encode())
            for event in read_events(whole):
                on_event(event)
            if head.startswith("ended"):
                return head.partition(" ")[2].strip()
            if head == "gone" or (head == "starting" and monotonic() - begun > _START_S):
                raise DeviceError(f"the run on {self.name} is gone", "was it started again, or out of memory?")
            heard = monotonic() if whole else heard
            if monotonic() - heard > self._idle_s:
                raise DeviceError(
                    f"the run on {self.name} hung: no word for {self._idle_s:.0f} s", "try fewer samples", Cause.HUNG
                )
            sleep(pause_s)

    def _sweep(self, adb: Adb) -> None:
        adb.sh(scripts.SWEEP, self._work(), str(scripts.KEPT_DAYS))

    def _work(self) -> str:
        default = self._settings.work_dir == DeviceSettings.work_dir
        return WORK_DIR if default else self._settings.work_dir

    def _store(self, *digest: str) -> str:
        return posixpath.join(self._work(), "store", *digest)

    def _job(self, identity: str, *parts: str) -> str:
        return posixpath.join(self._work(), "jobs", identity, *parts)


_INSIDE = scripts.INSIDE.format("sh job.json > events 2> errors < /dev/null")
