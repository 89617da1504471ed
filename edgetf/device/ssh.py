"""A host over SSH, such as a Raspberry Pi, as a Device.

asyncssh and not paramiko: its SFTP keeps many requests in flight, so that a slow link is filled, it refuses unknown
host keys by itself, and it reads ~/.ssh/config; both are kept up.

What travels is content-addressed: `WORK/store/SHA256` holds the runner, models and samples, and what is there is not
sent again. A job runs detached from the connection, in `WORK/jobs/ID`; when the connection drops, it runs on, and
edgetf comes back to it. Job folders are removed when their job is done, and those of a run that was killed at the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import posixpath
import shlex
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar
from uuid import uuid4

from edgetf.device.runner.job import MEASUREMENT_SCHEMA, Job, Measurement, to_json
from edgetf.device.settings import DeviceSettings
from edgetf.device.zipapp import build_runner
from edgetf.errors import DeviceError, EdgetfError, MissingExtraError
from edgetf.files import read_document, sha256_file
from edgetf.process import OnEvent

T = TypeVar("T")
_CONNECT_S = 15.0
_COMMAND_S = 60.0
_ATTEMPTS = 5  # of coming back after the connection was lost, with pauses of 1, 2, 4, ... seconds
_POLL_S = 0.3
_BLOCK = 1 << 18
_SLOWEST = 50_000  # bytes a second, below which a link counts as dead
_SILENCE_S = 5.0  # without a word from the runner, ask whether it lives
_KEPT_DAYS = 30  # files in the store that nothing has used for so long are removed


class SshDevice:
    """The host that `settings` names. Use it within `reserve()`, which connects and holds the device's lock."""

    def __init__(self, name: str, settings: DeviceSettings, idle_s: float = 600.0) -> None:
        self.name, self.emulated = name, settings.emulated
        self._settings, self._idle_s = settings, idle_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None
        self._sftp: Any = None
        self._holder: Any = None  # the process that holds the lock
        self._locked = False  # whether the lock is wanted
        self._work = ""  # absolute, once connected
        self._runner = ""  # where the store has it

    @contextlib.contextmanager
    def reserve(self) -> Iterator[None]:
        """Connect, take the lock, and sweep what a killed run left. Raises DeviceError where that fails."""
        self._locked = True
        with self.connected():
            self._do(lambda: self._sweep())
            yield

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Connect without the lock, to look and not to measure."""
        self._loop = asyncio.new_event_loop()
        try:
            yield
        finally:
            self._loop.run_until_complete(self._disconnect())
            self._loop.run_until_complete(_cancel_all())
            self._loop.close()
            self._loop = None

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        """Bring the files of `job` to the device, run it there, and fetch what it left into `out`."""
        identity = uuid4().hex
        try:
            on_event({"event": "phase", "phase": f"sending to {self.name}"})
            there = self.push(job)
            pid = self._do(lambda: self._start(identity, there))
            seen = _Seen()
            code = self._do(lambda: self._follow(identity, pid, seen, on_event))
            self._do(lambda: self._fetch(identity, out))
        finally:
            with contextlib.suppress(Exception):  # what is left is swept by the next run
                self._loop_run(self._end(identity))
        if code:
            how = f"died of {_signal(code)}" if code > 128 else f"ended with exit code {code}"
            raise DeviceError(f"the runner on {self.name} {how}", _last_line(out / "errors") or "it said nothing")
        return read_document(out / "measurement.json", Measurement, MEASUREMENT_SCHEMA)

    def push(self, job: Job) -> Job:
        """Bring the runner and the files of `job` to the device; the job with their paths there."""
        with tempfile.TemporaryDirectory(prefix="edgetf-") as folder:
            runner = Path(folder, "runner.pyz")
            runner.write_bytes(build_runner())
            files = {path: sha256_file(path) for path in (runner, Path(job.model), *map(Path, job.inputs.values()))}
            self._do(lambda: self._push(files))
        self._runner = self._store(files[runner])
        inputs = {name: self._store(files[Path(path)]) for name, path in job.inputs.items()}
        return replace(job, model=self._store(files[Path(job.model)]), inputs=inputs)

    def sh(self, script: str, *arguments: str) -> str:
        """What a shell script printed on the device. Raises DeviceError for an exit code other than 0."""
        return self._do(lambda: self._sh(script, *arguments))

    # the connection ---------------------------------------------------------------------------------------------

    def _do(self, act: Callable[[], Awaitable[T]]) -> T:
        """Run `act`; when the connection is lost meanwhile, connect again and start it over."""
        import asyncssh

        lost: Exception | None = None
        for attempt in range(_ATTEMPTS):
            try:
                self._loop_run(self._connect())
                return self._loop_run(act())
            except (asyncssh.HostKeyNotVerifiable, asyncssh.PermissionDenied) as error:
                raise self._refused(error) from error
            except (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost, asyncssh.ConnectionLost) as error:
                lost = error
            except asyncssh.SFTPError as error:
                raise DeviceError(f"{self.name} cannot give its files: {error}", "try again") from error
            except (asyncssh.Error, OSError, asyncio.TimeoutError, EOFError) as error:
                lost = error
            first = self._work == ""
            self._loop_run(self._disconnect())
            if first:  # it was never reached: waiting would not help
                break
            self._loop_run(asyncio.sleep(2**attempt))
        where = f"{self._settings.host}:{self._settings.port}"
        reason = str(lost) or type(lost).__name__
        hint = f"is it on, and does this work? ssh -p {self._settings.port} {self._address()}"
        raise DeviceError(f"{self.name} ({where}) cannot be reached: {reason}", hint) from lost

    def _loop_run(self, awaitable: Awaitable[T]) -> T:
        if self._loop is None:
            raise RuntimeError("use the device within reserve()")
        return self._loop.run_until_complete(awaitable)

    async def _connect(self) -> None:
        if self._connection is not None:
            return
        try:
            import asyncssh
        except ModuleNotFoundError as error:
            raise MissingExtraError("asyncssh", "ssh") from error
        s = self._settings
        options: dict[str, Any] = {"port": s.port, "keepalive_interval": 5, "keepalive_count_max": 3}
        if s.user:
            options["username"] = s.user
        if s.key:
            options["client_keys"] = [str(Path(s.key).expanduser())]
        known = Path(s.known_hosts).expanduser()
        options["known_hosts"] = str(known) if known.is_file() else ()
        assert s.host is not None
        self._connection = await asyncio.wait_for(
            asyncssh.connect(s.host, connect_timeout=_CONNECT_S, login_timeout=_CONNECT_S, **options), 2 * _CONNECT_S
        )
        lock = self._take_lock() if self._locked else asyncio.sleep(0)
        self._sftp, work, _ = await asyncio.gather(  # at once: each is a way there and back
            self._connection.start_sftp_client(), self._sh(_PREPARE, s.work_dir), lock
        )
        self._work = work.strip()

    async def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._connection.wait_closed(), 5)
        self._connection = self._sftp = self._holder = None

    async def _take_lock(self) -> None:
        """Hold WORK/lock in a process that ends with the connection."""
        command = shlex.join([self._settings.python, "-c", _HOLD, self._settings.work_dir])
        self._holder = await self._connection.create_process(command)
        answer = await asyncio.wait_for(self._holder.stdout.readline(), _COMMAND_S)
        if answer.startswith("held"):
            return
        errors = await asyncio.wait_for(self._holder.stderr.read(), _COMMAND_S)
        if answer.startswith("taken"):
            hint = "wait until it is done: two runs at once would measure each other"
            raise DeviceError(f"{self.name} is in use by another run", hint)
        hint = f"edgetf devices doctor {self.name}"
        reason = (errors.strip().splitlines() or ["it said nothing"])[-1]
        raise DeviceError(f"{self.name} cannot run {self._settings.python}: {reason}", hint)

    async def _sh(self, script: str, *arguments: str, given: str = "") -> str:
        command = shlex.join(["sh", "-c", script, "edgetf", *arguments])
        ended = await asyncio.wait_for(self._connection.run(command, input=given), _COMMAND_S)
        if ended.exit_status is None:
            raise ConnectionError("the connection was lost")
        if ended.exit_status != 0:
            reason = (str(ended.stderr).strip().splitlines() or [f"exit code {ended.exit_status}"])[-1]
            raise DeviceError(f"{self.name} cannot do what it was asked: {reason}", f"edgetf devices doctor {self.name}")
        return str(ended.stdout)

    def _address(self) -> str:
        return f"{self._settings.user}@{self._settings.host}" if self._settings.user else str(self._settings.host)

    def _refused(self, error: Exception) -> EdgetfError:
        import asyncssh

        s = self._settings
        login = f"ssh -p {s.port} -o UserKnownHostsFile={s.known_hosts} {self._address()}"
        if isinstance(error, asyncssh.HostKeyNotVerifiable):
            reason = f"the host key of {self.name} ({s.host}) is not the one in {s.known_hosts}, or is not there"
            return DeviceError(reason, f"compare its fingerprint and accept it once: {login}")
        return DeviceError(f"{self.name} refuses to let {s.user or 'you'} in", f"copy your key: ssh-copy-id -p {s.port} {self._address()}")

    # one job ----------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Remove the folders of jobs that nothing runs any more (the lock is held), and what was long unused."""
        script = (
            'for job in "$1"/jobs/*/; do [ -f "$job/pid" ] && kill -9 -- "-$(cat "$job/pid")" 2>/dev/null; rm -rf "$job"; done; '
            'find "$1/store" -type f \\( -name ".*" -o -mtime +"$2" \\) -exec rm -f {} +; true'
        )
        await self._sh(script, self._work, str(_KEPT_DAYS))

    async def _push(self, files: dict[Path, str]) -> None:
        """Send the files, given with their digests, that the store does not have."""
        asked = [text for path, digest in files.items() for text in (digest, str(path.stat().st_size))]
        missing = set((await self._sh(_MISSING, self._store(), *asked)).split())
        sent = [self._send(path, digest) for path, digest in files.items() if digest in missing]
        failed = [error for error in await asyncio.gather(*sent, return_exceptions=True) if error is not None]
        if failed:
            raise failed[0]

    async def _send(self, path: Path, digest: str) -> None:
        """Stream a file into the store; its digest is taken there while it arrives."""
        command = shlex.join(["sh", "-c", _RECEIVE, "edgetf", self._store(), digest])
        async with self._connection.create_process(command, encoding=None) as process:
            with path.open("rb") as file, contextlib.suppress(BrokenPipeError):  # it ended early: it says why
                while block := file.read(_BLOCK):
                    process.stdin.write(block)
                    await asyncio.wait_for(process.stdin.drain(), _COMMAND_S)
                process.stdin.write_eof()
            ended = await asyncio.wait_for(process.wait(), _COMMAND_S + path.stat().st_size / _SLOWEST)
        if ended.exit_status is None:
            raise ConnectionError("the connection was lost while files were sent")
        if ended.exit_status != 0:
            reason = (bytes(ended.stderr).decode(errors="replace").strip().splitlines() or ["it said nothing"])[0]
            raise await self._not_stored(f"{self.name} did not store {path.name}: {reason}")

    async def _not_stored(self, message: str) -> DeviceError:
        free = (await self._sh('df -Pk "$1" | tail -n 1 | tr -s " " | cut -d " " -f 4', self._work)).strip()
        room = f"{int(free) / 1024:.0f} MiB are free there: " if free.isdigit() else ""
        return DeviceError(message, f"{room}make room, or set work_dir; if there is room, check its memory card")

    async def _start(self, identity: str, job: Job) -> int:
        """Start the runner, detached from this connection, and return its process group. Starts it only once."""
        variables = [f"{name}={value}" for name, value in self._settings.env.items()]
        command = shlex.join(["env", *variables, self._settings.python, self._runner, "job.json", "out"])
        inside = f"echo $$ > pid; {command} > events 2> errors < /dev/null; echo $? > code.part; mv code.part code"
        return int(await self._sh(_START, self._job(identity), inside, given=to_json(job)))

    async def _follow(self, identity: str, pid: int, seen: _Seen, on_event: OnEvent) -> int:
        """Pass the runner's events on until it ends; its exit code. Raises DeviceError when it is gone or hangs."""
        heard = monotonic()
        asked = heard
        while True:
            done = await self._sftp.exists(self._job(identity, "code"))
            lines = await self._new_lines(identity, seen)
            for line in lines:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict) and "event" in event:
                        on_event(event)
            if done:
                return int(await self._read(self._job(identity, "code")))
            now = monotonic()
            if lines:
                heard = asked = now
            if now - asked > _SILENCE_S:
                asked = now
                alive = await self._sh('kill -0 -- "-$1" 2>/dev/null && echo yes || echo no', str(pid))
                if alive.strip() == "no" and not await self._sftp.exists(self._job(identity, "code")):
                    raise DeviceError(f"the runner on {self.name} is gone", "was the device started again, or out of memory?")
            if now - heard > self._idle_s:
                raise DeviceError(f"the runner on {self.name} hung: no word for {self._idle_s:.0f} s", "try fewer samples")
            await asyncio.sleep(_POLL_S)

    async def _new_lines(self, identity: str, seen: _Seen) -> list[str]:
        if not await self._sftp.exists(self._job(identity, "events")):
            return []
        async with self._sftp.open(self._job(identity, "events"), "rb") as file:
            block: bytes = await file.read(1 << 20, seen.offset)
        whole = block.rfind(b"\n") + 1
        seen.offset += whole
        return block[:whole].decode(errors="replace").splitlines()

    async def _fetch(self, identity: str, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out, prefix=".fetch-") as folder:
            await self._sftp.get(self._job(identity, "out"), folder + "/out", recurse=True)
            await self._sftp.get(self._job(identity, "errors"), folder + "/out/errors")
            for entry in Path(folder, "out").iterdir():
                shutil.move(str(entry), out / entry.name)

    async def _end(self, identity: str) -> None:
        """End what still runs of the job, and remove its folder."""
        if self._connection is not None:
            script = '[ -f "$1/pid" ] && kill -9 -- "-$(cat "$1/pid")" 2>/dev/null; rm -rf "$1"'
            await self._sh(script, self._job(identity))

    async def _read(self, place: str) -> str:
        async with self._sftp.open(place, "r") as file:
            return str(await file.read())

    def _store(self, *digest: str) -> str:
        return posixpath.join(self._work, "store", *digest)

    def _job(self, identity: str, *parts: str) -> str:
        return posixpath.join(self._work, "jobs", identity, *parts)


class _Seen:
    """How much of the runner's events has been passed on; kept over a lost connection."""

    offset = 0


_PREPARE = 'mkdir -p "$1/store" "$1/jobs" && cd "$1" && pwd -P'

# the digests, of those given with their sizes, that the store does not have; the others are marked as used today
_MISSING = """
cd "$1" || exit 1; shift
while [ $# -gt 1 ]; do
  if [ -f "$1" ] && [ "$(wc -c < "$1")" -eq "$2" ]; then touch "$1"; else echo "$1"; fi
  shift 2
done
"""

# takes a file from standard input, and keeps it when it has the digest that it should have
_RECEIVE = """
cd "$1" || exit 1
found=$( (tee ".$2" || echo full) | sha256sum | cut -d " " -f 1)
if [ "$found" = "$2" ]; then mv ".$2" "$2"; else echo "its digest is $found, not $2" >&2; exit 1; fi
"""

# starts the runner once, detached, with the job from standard input; prints its process group
_START = """
mkdir -p "$1/out" && cd "$1" || exit 1
if [ ! -f pid ]; then
  cat > job.json || exit 1
  setsid nohup sh -c "$2" > /dev/null 2>&1 < /dev/null &
  for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -s pid ] && break; sleep 0.1; done
fi
cat pid
"""

# holds a lock while its standard input is open, that is, while the connection is
_HOLD = """
import fcntl, os, sys
os.makedirs(sys.argv[1], exist_ok=True)
lock = open(os.path.join(sys.argv[1], "lock"), "a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(print("taken"))
print("held", flush=True)
sys.stdin.read()
"""


async def _cancel_all() -> None:
    """End what a lost connection left waiting."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _signal(code: int) -> str:
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return f"signal {code - 128}"


def _last_line(file: Path) -> str:
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()] if file.exists() else []
    return lines[-1] if lines else ""
