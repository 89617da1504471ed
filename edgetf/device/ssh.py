"""A host over SSH, such as a Raspberry Pi, as a Device.

Sent files are content-addressed: `WORK/store/SHA256` holds the runner, models and samples, and none is sent again. A
job runs detached from the connection, in `WORK/jobs/ID`; if the connection is lost, it runs on, and edgetf finds it
again. Job folders are removed when their job is done; the next run removes those of a killed run.
"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import shlex
import signal
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from uuid import uuid4

from edgetf.device import room, scripts
from edgetf.device.facts import Facts
from edgetf.device.lacking import lacks_python, refuse_unready
from edgetf.device.measurements import read_events, read_measurement
from edgetf.device.reconnect import COMMAND_S, SLOWEST
from edgetf.device.runner.job import Job, Measurement, to_json
from edgetf.device.settings import DeviceSettings
from edgetf.device.ssh_connection import Connection
from edgetf.device.zipapp import build_runner
from edgetf.digests import sha256_once
from edgetf.errors import Cause, DeviceError
from edgetf.events import OnEvent, Phase
from edgetf.owned import scratch
from edgetf.texts import last_line

_POLL_S = 0.3
_BLOCK = 1 << 18
_LONGEST_ANSWER = 1000  # characters of an exit code
_SILENCE_S = 5.0  # without output of the runner, ask whether it lives


class SshDevice:
    """The host that `settings` names. Use it within `reserve()`, which connects and holds the device's lock."""

    def __init__(self, name: str, settings: DeviceSettings, idle_s: float = 600.0) -> None:
        self.name, self.emulated = name, settings.emulated
        self._settings, self._idle_s = settings, idle_s
        self._host = Connection(name, settings)
        self._runner = ""  # where the store has it

    @property
    def store(self) -> str:
        return posixpath.join(self._host.work or posixpath.join("~", self._settings.work_dir), "store")

    @contextlib.contextmanager
    def reserve(self, on_event: OnEvent | None = None) -> Iterator[None]:
        """Connect, take the lock, and remove the files of a killed run. Raises DeviceError if that fails."""
        with self._host.locked(on_event):
            self._host.do(self._sweep)
            yield

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        """Bring the files of `job` to the device, run it there, and fetch what it left into `out`."""
        identity = uuid4().hex
        on_event(Phase(f"sending to {self.name}"))
        with room.about(self.name, self._host.work, self._free_kib):
            self._host.do(self._sweep)  # a job that a lost connection left would disturb this one
            there = self.push(job)
        try:
            with room.about(self.name, self._host.work, self._free_kib):
                self._host.do(lambda: self._start(identity, there))
                self._await(identity, out, on_event)
                measurement = read_measurement(self.name, out)
                if measurement.error is None:
                    return measurement
                return room.explain_measurement(measurement, self.name, self._host.work, self._free_kib(), out)
        finally:
            with contextlib.suppress(Exception):  # what is left is swept by the next run
                self._host.wait_for(self._end(identity))

    def _await(self, identity: str, out: Path, on_event: OnEvent) -> None:
        """Wait for the runner's end and fetch what it left. Raises DeviceError for one that did not end well."""
        seen = _Seen()
        try:
            code = self._host.do(lambda: self._follow(identity, seen, on_event))
        except DeviceError:
            with contextlib.suppress(Exception):  # what arrived until then is kept, if it can still be read
                self._host.wait_for(self._fetch(identity, out))
            raise
        self._host.do(lambda: self._fetch(identity, out))
        if code:
            how = f"died of {_signal(code)}" if code > 128 else f"ended with exit code {code}"
            errors = out / "errors"
            reason = last_line(errors.read_text(errors="replace")) if errors.exists() else ""
            because = f": {reason}" if reason else ", and printed nothing"
            raise DeviceError(f"the runner on {self.name} {how}{because}", f"edgetf devices doctor {self.name}")

    def _free_kib(self) -> int | None:
        """The free space; None if the device does not report it."""
        with contextlib.suppress(Exception):
            return room.read_kib(self._host.wait_for(self._host.sh(scripts.FREE, self._host.work)))
        return None

    def push(self, job: Job) -> Job:
        """Bring the runner and the files of `job` to the device; the job with their paths there."""
        with scratch() as folder:
            runner = folder / "runner.pyz"
            runner.write_bytes(build_runner())
            files = {path: sha256_once(path) for path in (runner, Path(job.model), *map(Path, job.inputs.values()))}
            self._host.do(lambda: self._push(files))
        self._runner = self._store(files[runner])
        inputs = {name: self._store(files[Path(path)]) for name, path in job.inputs.items()}
        return replace(job, model=self._store(files[Path(job.model)]), inputs=inputs)

    def probe(self) -> Facts:
        """What the device is and has. Raises DeviceError when it cannot be reached."""
        with contextlib.nullcontext() if self._host.is_open else self._host.opened():
            return self._host.do(self._host.probe)

    def examine(self, runtime: str) -> Facts:
        facts = self.probe()
        refuse_unready(self.name, lacks_python(facts, self._settings.python, runtime))
        return facts

    # one job ----------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """End and remove jobs that were left (the lock is held, so none is another's), and files long unused."""
        await self._host.sh(scripts.SWEEP, self._host.work, str(scripts.KEPT_DAYS))

    async def _push(self, files: dict[Path, str]) -> None:
        """Send the files, given with their digests, that the store does not have; equal ones once."""
        places = {digest: path for path, digest in files.items()}
        asked = [text for digest, path in places.items() for text in (digest, str(path.stat().st_size))]
        missing = set((await self._host.sh(scripts.MISSING, self._store(), *asked)).split())
        sent = [self._send(path, digest) for digest, path in places.items() if digest in missing]
        failed = [error for error in await asyncio.gather(*sent, return_exceptions=True) if error is not None]
        if failed:
            raise failed[0]

    async def _send(self, path: Path, digest: str) -> None:
        """Stream a file into the store; its digest is taken there while it arrives."""
        command = ("sh", "-c", scripts.RECEIVE, "edgetf", self._store(), digest)
        async with self._host.start(*command) as process:
            with path.open("rb") as file, contextlib.suppress(BrokenPipeError):  # it ended early and reports the reason
                while block := file.read(_BLOCK):
                    process.stdin.write(block)
                    await asyncio.wait_for(process.stdin.drain(), COMMAND_S)
                process.stdin.write_eof()
            ended = await asyncio.wait_for(process.wait(), COMMAND_S + path.stat().st_size / SLOWEST)
        if ended.exit_status is None:
            raise ConnectionError("the connection was lost while files were sent")
        if ended.exit_status != 0:
            printed = bytes(ended.stderr).decode(errors="replace").strip()
            reason = (
                printed.partition("\n")[0] or "it printed nothing"
            )  # the digest, in the last line, is a consequence
            problem = f"{self.name} did not store {path.name}: {reason}"
            raise DeviceError(problem, "is its memory card sound? run it again")

    async def _start(self, identity: str, job: Job) -> None:
        """Start the runner, detached from this connection. Starts it only once."""
        variables = [f"{name}={value}" for name, value in self._settings.env.items()]
        command = shlex.join(["env", *variables, self._settings.python, self._runner, "job.json", "out"])
        inside = scripts.INSIDE.format(f"{command} > events 2> errors < /dev/null")
        text = to_json(job)
        await self._host.sh(scripts.START, self._job(identity), inside, str(len(text.encode())), given=text)

    def _number(self, text: str) -> int:
        try:
            return int(text)
        except ValueError as error:
            raise DeviceError(
                f"{self.name} gave {text!r} for the runner's exit code", "was it switched off?"
            ) from error

    async def _follow(self, identity: str, seen: _Seen, on_event: OnEvent) -> int:
        """Pass the runner's events on until it ends; its exit code. Raises DeviceError when it is gone or hangs."""
        heard = monotonic()
        asked = heard
        while True:
            done = await self._host.sftp.exists(self._job(identity, "code"))
            lines = await self._new_lines(identity, seen)
            for event in read_events(lines):
                on_event(event)
            if done:
                return self._number(await self._read(self._job(identity, "code")))
            now = monotonic()
            if lines:
                heard = asked = now
            if now - asked > _SILENCE_S:
                asked = now
                alive = await self._host.sh(scripts.KILL + 'runs "$1" && echo yes || echo no', self._job(identity))
                if alive.strip() == "no" and not await self._host.sftp.exists(self._job(identity, "code")):
                    raise DeviceError(
                        f"the runner on {self.name} is gone", "was the device started again, or out of memory?"
                    )
            if now - heard > self._idle_s:
                raise DeviceError(
                    f"the runner on {self.name} hung: no word for {self._idle_s:.0f} s", "try fewer samples", Cause.HUNG
                )
            await asyncio.sleep(_POLL_S)

    async def _new_lines(self, identity: str, seen: _Seen) -> str:
        if not await self._host.sftp.exists(self._job(identity, "events")):
            return ""
        async with self._host.sftp.open(self._job(identity, "events"), "rb") as file:
            block: bytes = await file.read(1 << 20, seen.offset)
        whole = block.rfind(b"\n") + 1
        seen.offset += whole
        return block[:whole].decode(errors="replace")

    async def _fetch(self, identity: str, out: Path) -> None:
        """Fetch plain files: other folders or links that a device names have no effect on this machine."""
        out.mkdir(parents=True, exist_ok=True)
        there = [self._job(identity, "errors")]
        for entry in await self._host.sftp.readdir(self._job(identity, "out")):
            name = str(entry.filename)
            plain = name == posixpath.basename(name) and name not in ("", ".", "..")
            if plain and stat.S_ISREG(entry.attrs.permissions or 0):
                there.append(self._job(identity, "out", name))
        with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as folder:
            for place in there:
                await self._host.sftp.get(place, posixpath.join(folder, posixpath.basename(place)))
            for fetched in Path(folder).iterdir():
                fetched.replace(out / fetched.name)

    async def _end(self, identity: str) -> None:
        """End what still runs of the job, and remove its folder."""
        if self._host.is_connected:
            await self._host.sh(scripts.KILL + 'end "$1"', self._job(identity))

    async def _read(self, place: str) -> str:
        async with self._host.sftp.open(place, "r", errors="replace") as file:
            return str(await file.read(_LONGEST_ANSWER))

    def _store(self, *digest: str) -> str:
        return posixpath.join(self._host.work, "store", *digest)

    def _job(self, identity: str, *parts: str) -> str:
        return posixpath.join(self._host.work, "jobs", identity, *parts)


class _Seen:
    """How much of the runner's events has been passed on; kept over a lost connection."""

    offset = 0


def _signal(code: int) -> str:
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return f"signal {code - 128}"
