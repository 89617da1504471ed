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

from edgetf.device import scripts
from edgetf.device.measurements import read_measurement
from edgetf.device.runner.job import Job, Measurement, to_json
from edgetf.device.settings import DeviceSettings
from edgetf.device.zipapp import build_runner
from edgetf.errors import DeviceError, MissingExtraError
from edgetf.files import sha256_file
from edgetf.process import OnEvent

T = TypeVar("T")
_CONNECT_S = 15.0
_COMMAND_S = 60.0
_ATTEMPTS = 5  # of coming back after the connection was lost, with pauses of 1, 2, 4, ... seconds
_POLL_S = 0.3
_LASTED_S = 60.0  # a connection that lasted so long counts as good: attempts are counted anew
_BEAT_S = 5.0
_HOLD_S = 60.0  # of silence, after which the device gives the lock free
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
        self._held = False  # whether it was held before the connection was lost
        self._beating: asyncio.Future[None] | None = None
        self._locked = False  # whether the lock is wanted
        self._work = ""  # absolute, once connected
        self._runner = ""  # where the store has it

    @contextlib.contextmanager
    def reserve(self) -> Iterator[None]:
        """Connect, take the lock, and sweep what a killed run left. Raises DeviceError where that fails."""
        self._locked = True
        with self.connected():
            self._do(self._sweep)
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
            self._do(self._sweep)  # a job that a lost connection left would be measured beside this one
            there = self.push(job)
            self._do(lambda: self._start(identity, there))
            seen = _Seen()
            try:
                code = self._do(lambda: self._follow(identity, seen, on_event))
            except DeviceError:
                with contextlib.suppress(Exception):  # what came until then is kept, where it can still be had
                    self._loop_run(self._fetch(identity, out))
                raise
            self._do(lambda: self._fetch(identity, out))
        finally:
            with contextlib.suppress(Exception):  # what is left is swept by the next run
                self._loop_run(self._end(identity))
        if code:
            how = f"died of {_signal(code)}" if code > 128 else f"ended with exit code {code}"
            raise DeviceError(f"the runner on {self.name} {how}", _last_line(out / "errors") or "it said nothing")
        return read_measurement(self.name, out)

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
        """Run `act`; when the connection is lost meanwhile, connect again and start it over.

        Gives up after _ATTEMPTS without a connection that lasted.
        """
        asyncssh, attempt = _library(), 0
        while True:
            begin = monotonic()
            try:
                self._loop_run(self._connect())
                return self._loop_run(act())
            except (asyncssh.Error, asyncssh.SFTPError, ConnectionError, asyncio.TimeoutError, EOFError) as error:
                if isinstance(error, asyncssh.SFTPError) and not isinstance(error, _lost_in_sftp()):
                    raise DeviceError(f"{self.name} cannot give its files: {error}", "try again") from error
                attempt = 1 if monotonic() - begin > _LASTED_S else attempt + 1
                never = self._work == ""  # it was never reached: waiting would not help
                self._loop_run(self._disconnect())
                if never or attempt >= _ATTEMPTS:
                    raise self._unreachable(error) from error
                self._loop_run(asyncio.sleep(2 ** (attempt - 1)))

    def _loop_run(self, awaitable: Awaitable[T]) -> T:
        if self._loop is None:
            raise RuntimeError("use the device within reserve()")
        return self._loop.run_until_complete(awaitable)

    async def _connect(self) -> None:
        if self._connection is not None:
            if self._holder is None or self._holder.exit_status is None:
                return
            await self._disconnect()  # the lock was given up: edgetf was busy for too long
        asyncssh, s = _library(), self._settings
        options: dict[str, Any] = {"port": s.port, "keepalive_interval": 5, "keepalive_count_max": 3}
        if s.user:
            options["username"] = s.user
        if s.key:
            options["client_keys"] = [str(Path(s.key).expanduser())]
        known = Path(s.known_hosts).expanduser()
        options["known_hosts"] = str(known) if known.is_file() else b""  # no file: no key is trusted
        assert s.host is not None
        try:
            self._connection = await asyncio.wait_for(
                asyncssh.connect(s.host, connect_timeout=_CONNECT_S, login_timeout=_CONNECT_S, **options),
                2 * _CONNECT_S,
            )
        except (asyncssh.HostKeyNotVerifiable, asyncssh.PermissionDenied) as error:
            raise self._refused(error) from error
        except ValueError as error:  # asyncssh's KeyImportError and ConfigParseError are such
            raise DeviceError(f"the key or configuration for {self.name} cannot be used: {error}", _AGENT) from error
        except OSError as error:
            raise ConnectionError(str(error)) from error
        lock = self._take_lock() if self._locked else asyncio.sleep(0)
        try:
            self._sftp, work, _ = await asyncio.gather(  # at once: each is a way there and back
                self._connection.start_sftp_client(), self._sh(scripts.PREPARE, s.work_dir), lock
            )
        except BaseException:  # half a connection is none: nothing may run without the lock
            await self._disconnect()
            raise
        self._work = work.strip()

    async def _disconnect(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
        if self._connection is not None:
            self._connection.abort()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._connection.wait_closed(), 5)
        self._connection = self._sftp = self._holder = self._beating = None

    async def _take_lock(self) -> None:
        """Hold WORK/lock in a process that ends with the connection, or when it hears nothing for _HOLD_S seconds.

        After a lost connection, the device may not know yet that it was lost: then the lock comes free a little later.
        """
        command = shlex.join([self._settings.python, "-c", scripts.HOLD, self._settings.work_dir, str(_HOLD_S)])
        patience = monotonic() + (2 * _HOLD_S if self._held else 0)
        while True:
            holder = await self._connection.create_process(command)
            answer = await asyncio.wait_for(holder.stdout.readline(), _COMMAND_S)
            if answer.startswith("held"):
                self._holder, self._held = holder, True
                self._beating = asyncio.ensure_future(_beat(holder))
                return
            ended = await asyncio.wait_for(holder.wait(), _COMMAND_S)
            if ended.exit_status is None:
                raise ConnectionError("the connection was lost")
            if not answer.startswith("taken"):
                reason = (str(ended.stderr).strip().splitlines() or ["it said nothing"])[-1]
                hint = f"edgetf devices doctor {self.name}"
                raise DeviceError(f"{self.name} cannot run {self._settings.python}: {reason}", hint)
            if monotonic() > patience:
                hint = "wait until it is done: two runs at once would measure each other"
                raise DeviceError(f"{self.name} is in use by another run", hint)
            await asyncio.sleep(1)

    async def _sh(self, script: str, *arguments: str, given: str = "") -> str:
        command = shlex.join(["sh", "-c", script, "edgetf", *arguments])
        ended = await asyncio.wait_for(self._connection.run(command, input=given), _COMMAND_S)
        if ended.exit_status is None:
            raise ConnectionError("the connection was lost")
        if ended.exit_status != 0:
            reason = (str(ended.stderr).strip().splitlines() or [f"exit code {ended.exit_status}"])[-1]
            raise DeviceError(
                f"{self.name} cannot do what it was asked: {reason}", f"edgetf devices doctor {self.name}"
            )
        return str(ended.stdout)

    def _address(self) -> str:
        return f"{self._settings.user}@{self._settings.host}" if self._settings.user else str(self._settings.host)

    def _refused(self, error: Exception) -> DeviceError:
        s = self._settings
        login = f"ssh -p {s.port} -o UserKnownHostsFile={s.known_hosts} {self._address()}"
        if isinstance(error, _library().HostKeyNotVerifiable):
            reason = f"the host key of {self.name} ({s.host}) is not the one in {s.known_hosts}, or is not there"
            return DeviceError(reason, f"compare its fingerprint and accept it once: {login}")
        hint = f"copy your key: ssh-copy-id -p {s.port} {self._address()}"
        return DeviceError(f"{self.name} refuses to let {s.user or 'you'} in", hint)

    def _unreachable(self, error: BaseException) -> DeviceError:
        where = f"{self._settings.host}:{self._settings.port}"
        hint = f"is it on, and does this work? ssh -p {self._settings.port} {self._address()}"
        reason = str(error) or type(error).__name__
        return DeviceError(f"{self.name} ({where}) cannot be reached: {reason}", hint)

    # one job ----------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """End and remove jobs that were left (the lock is held, so none is another's), and files long unused."""
        await self._sh(scripts.SWEEP, self._work, str(_KEPT_DAYS))

    async def _push(self, files: dict[Path, str]) -> None:
        """Send the files, given with their digests, that the store does not have; equal ones once."""
        places = {digest: path for path, digest in files.items()}
        asked = [text for digest, path in places.items() for text in (digest, str(path.stat().st_size))]
        missing = set((await self._sh(scripts.MISSING, self._store(), *asked)).split())
        sent = [self._send(path, digest) for digest, path in places.items() if digest in missing]
        failed = [error for error in await asyncio.gather(*sent, return_exceptions=True) if error is not None]
        if failed:
            raise failed[0]

    async def _send(self, path: Path, digest: str) -> None:
        """Stream a file into the store; its digest is taken there while it arrives."""
        command = shlex.join(["sh", "-c", scripts.RECEIVE, "edgetf", self._store(), digest])
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

    async def _start(self, identity: str, job: Job) -> None:
        """Start the runner, detached from this connection. Starts it only once."""
        variables = [f"{name}={value}" for name, value in self._settings.env.items()]
        command = shlex.join(["env", *variables, self._settings.python, self._runner, "job.json", "out"])
        begin, end = "echo $$ $(cat /proc/sys/kernel/random/boot_id) > pid", "echo $? > code.part; mv code.part code"
        inside = f"{begin}; {command} > events 2> errors < /dev/null; {end}"
        text = to_json(job)
        await self._sh(scripts.START, self._job(identity), inside, str(len(text.encode())), given=text)

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
            done = await self._sftp.exists(self._job(identity, "code"))
            lines = await self._new_lines(identity, seen)
            for line in lines:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict) and "event" in event:
                        on_event(event)
            if done:
                return self._number(await self._read(self._job(identity, "code")))
            now = monotonic()
            if lines:
                heard = asked = now
            if now - asked > _SILENCE_S:
                asked = now
                alive = await self._sh(scripts.KILL + 'runs "$1" && echo yes || echo no', self._job(identity))
                if alive.strip() == "no" and not await self._sftp.exists(self._job(identity, "code")):
                    raise DeviceError(
                        f"the runner on {self.name} is gone", "was the device started again, or out of memory?"
                    )
            if now - heard > self._idle_s:
                raise DeviceError(
                    f"the runner on {self.name} hung: no word for {self._idle_s:.0f} s", "try fewer samples"
                )
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
            await self._sh(scripts.KILL + 'end "$1"', self._job(identity))

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


def _library() -> Any:
    try:
        import asyncssh
    except ModuleNotFoundError as error:
        raise MissingExtraError("asyncssh", "ssh") from error
    return asyncssh


def _lost_in_sftp() -> tuple[type[Exception], ...]:
    asyncssh = _library()
    return (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost)


_AGENT = "a key with a passphrase goes into the agent: ssh-add; then leave key out of devices.toml"


async def _beat(holder: Any) -> None:
    """Tell the process that holds the lock, now and then, that the connection lives."""
    while True:
        await asyncio.sleep(_BEAT_S)
        with contextlib.suppress(BrokenPipeError):  # it has ended: the next command finds that out
            holder.stdin.write("\n")


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
    lines = (
        [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
        if file.exists()
        else []
    )
    return lines[-1] if lines else ""
