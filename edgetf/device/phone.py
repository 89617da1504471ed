"""An Android phone as a Device: TFLite's own `benchmark_model` does the work, over adb, for the phone has no Python.

As over SSH, what travels is content-addressed (`WORK/store/SHA256`), and a job runs detached in `WORK/jobs/ID`: after
a lost connection edgetf comes back to it. Inputs are quantized here, outputs dequantized here.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from uuid import uuid4

from edgetf.device import android, scripts
from edgetf.device.adb import Adb
from edgetf.device.facts import SYSTEM, Facts, parse
from edgetf.device.lock import hold
from edgetf.device.phone_job import PhoneJob, prepare, read_back
from edgetf.device.runner.job import Job, Measurement
from edgetf.device.settings import DeviceSettings
from edgetf.errors import DeviceError, EdgetfError
from edgetf.files import sha256_file
from edgetf.process import OnEvent

WORK_DIR = "/data/local/tmp/edgetf"
_POLL_S, _RARE_POLL_S = 0.3, 1.0  # rarely while something is timed: every look starts a process there
_KEPT_DAYS = 30

_STORED = """
cd "$1" || exit 1
found=$(sha256sum ".$2" | cut -d " " -f 1)
[ "$found" = "$2" ] || { rm -f ".$2"; echo "its digest is $found, not $2" >&2; exit 1; }
mv ".$2" "$2" && touch "$2"
"""

# whether the job has ended, lives or is gone, and its events from byte $2 on
_FOLLOW = (
    scripts.KILL
    + """
if [ -f "$1/code" ]; then echo "ended $(cat "$1/code")"; elif runs "$1"; then echo alive; else echo gone; fi
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

    @contextlib.contextmanager
    def reserve(self) -> Iterator[None]:
        """Reach the phone, hold its lock on this machine, and sweep what a killed run left. Raises DeviceError.

        Other machines do not see that lock: a phone on the network is for one of them at a time.
        """
        self._binary()  # what is missing here is told before the phone is asked for
        adb = self._adb
        own = adb.sh("getprop ro.serialno 2>/dev/null; exit 0").strip()  # the same by USB and over the network
        with hold(self.name, f"adb {own or adb.serial}"):
            adb.sh(scripts.PREPARE, self._work())
            self._sweep(adb)
            yield

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        """Bring the files of `job` to the phone, run them there, and leave what came back in `out`."""
        adb, identity = self._adb, uuid4().hex
        out.mkdir(parents=True, exist_ok=True)
        on_event({"event": "phase", "phase": f"sending to {self.name}"})
        facts = parse(adb.sh(SYSTEM + android.PROBE, self._work()))
        self._sweep(adb)
        with tempfile.TemporaryDirectory(prefix="edgetf-") as folder:
            there = prepare(job, self._binary(), Path(folder))
            places = self._push(adb, there)
            script = there.script(places)
        timed = job.timing is not None or job.sustained_s or job.energy_s
        pause_s = _RARE_POLL_S if timed else _POLL_S
        try:
            adb.sh(scripts.START, self._job(identity), _INSIDE, str(len(script.encode())), given=script)
            try:
                code = self._follow(adb, identity, pause_s, on_event)
            except DeviceError:
                with contextlib.suppress(Exception):  # what came until then is kept, where it can still be had
                    adb.pull(self._job(identity, "out/."), out)
                raise
            adb.pull(self._job(identity, "out/."), out)
        finally:
            with contextlib.suppress(Exception):  # what is left is swept by the next run
                adb.sh(scripts.KILL + 'end "$1"', self._job(identity))
        if not code:
            raise DeviceError(f"the run on {self.name} left no result", "is there room on it?")
        if code != "0":
            raise DeviceError(
                f"the run on {self.name} ended with exit code {code}", f"edgetf devices doctor {self.name}"
            )
        return read_back(there, facts, out)

    def probe(self) -> Facts:
        """What the phone is and has. Raises DeviceError when it cannot be reached."""
        return parse(self._adb.sh(SYSTEM + android.PROBE, self._work()))

    def _binary(self) -> Path:
        """The `benchmark_model` that the user gave."""
        hint = "set benchmark_model in devices.toml to TFLite's program for the phone; the README says where it is from"
        if self._settings.benchmark_model is None:
            raise EdgetfError(f"{self.name} has no benchmark_model", hint)
        path = Path(self._settings.benchmark_model).expanduser()
        if not path.is_file():
            raise EdgetfError(f"the benchmark_model of {self.name} is not at {path}", hint)
        return path

    def _push(self, adb: Adb, job: PhoneJob) -> dict[Path, str]:
        """Send the files that the store does not have; where each is there."""
        digests = {path: sha256_file(path) for path in job.files}
        sizes = {digest: path.stat().st_size for path, digest in digests.items()}
        asked = [word for digest, size in sizes.items() for word in (digest, str(size))]
        missing = set(adb.sh(scripts.MISSING, self._store(), *asked).split())
        for path, digest in digests.items():
            if digest in missing:
                missing.remove(digest)
                adb.push(path, self._store(f".{digest}"))
                adb.sh(_STORED, self._store(), digest)
        return {path: self._store(digest) for path, digest in digests.items()}

    def _follow(self, adb: Adb, identity: str, pause_s: float, on_event: OnEvent) -> str:
        """Pass the events on until the job ends; its exit code. Raises DeviceError when it is gone or hangs."""
        offset, heard = 1, monotonic()
        while True:
            head, _, block = adb.sh(_FOLLOW, self._job(identity), str(offset)).partition("\n")
            whole = block[: block.rfind("\n") + 1]
            offset += len(whole.encode())
            for line in whole.splitlines():
                with contextlib.suppress(ValueError):
                    on_event(json.loads(line))
            if head.startswith("ended"):
                return head.partition(" ")[2].strip()
            if head == "gone":
                raise DeviceError(f"the run on {self.name} is gone", "was it started again, or out of memory?")
            heard = monotonic() if whole else heard
            if monotonic() - heard > self._idle_s:
                raise DeviceError(f"the run on {self.name} hung: no word for {self._idle_s:.0f} s", "try fewer samples")
            sleep(pause_s)

    def _sweep(self, adb: Adb) -> None:
        adb.sh(scripts.SWEEP, self._work(), str(_KEPT_DAYS))

    def _work(self) -> str:
        default = self._settings.work_dir == DeviceSettings.work_dir
        return WORK_DIR if default else self._settings.work_dir

    def _store(self, *digest: str) -> str:
        return posixpath.join(self._work(), "store", *digest)

    def _job(self, identity: str, *parts: str) -> str:
        return posixpath.join(self._work(), "jobs", identity, *parts)


_INSIDE = (
    "echo $$ $(cat /proc/sys/kernel/random/boot_id) > pid; sh job.json > events 2> errors < /dev/null; "
    "echo $? > code.part; mv code.part code"
)
