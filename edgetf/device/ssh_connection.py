"""A connection over SSH: commands and files there, and back again after the connection was lost.

asyncssh and not paramiko: its SFTP keeps many requests in flight, so that a slow link is filled, it refuses unknown
host keys by itself, and it reads ~/.ssh/config; both are kept up.

A process there holds the device's lock, and ends with the connection: whoever is gone holds nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from edgetf.device import scripts
from edgetf.device.facts import ASK_PYTHON, EVERYTHING, Facts, parse
from edgetf.device.lacking import lacks_python, refuse_unready
from edgetf.device.lock import in_use, refuse, this_process, waiting
from edgetf.device.reconnect import COMMAND_S, LostError, persist
from edgetf.device.settings import DeviceSettings
from edgetf.device.ssh_keys import address, private_key, refuse_host_key
from edgetf.errors import Cause, DeviceError, MissingExtraError, UnreachableError
from edgetf.events import Note, OnEvent, Phase
from edgetf.texts import last_line

T = TypeVar("T")
_CONNECT_S = 15.0
_BEAT_S = 5.0
_HOLD_S = 60.0  # of silence, after which the device releases the lock
_INVALID = "replace"  # bytes that are not UTF-8; asyncssh would otherwise end the connection


class Connection:
    """The host that `settings` names. Use it within `opened()`; what is awaited in `do` may use it."""

    def __init__(self, name: str, settings: DeviceSettings) -> None:
        self.name = name
        self.work = ""  # the folder there, absolute, once the host was reached
        self.sftp: Any = None
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None
        self._holder: Any = None  # the process that holds the lock
        self._held = False  # whether it was held before the connection was lost
        self._beating: asyncio.Future[None] | None = None
        self._locked = False  # whether the lock is wanted
        self._on_event: OnEvent | None = None  # of who waits for the lock

    @property
    def is_open(self) -> bool:
        return self._loop is not None

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    @contextlib.contextmanager
    def locked(self, on_event: OnEvent | None) -> Iterator[None]:
        """Connect with the lock, and wait for it with notes to `on_event`; without `on_event`, raise if it is taken."""
        self._locked, self._on_event = True, on_event
        with self.opened():
            yield

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Connect without the lock, to look and not to measure."""
        self._loop = asyncio.new_event_loop()
        try:
            yield
        finally:
            self._loop.run_until_complete(self._disconnect())
            self._loop.run_until_complete(_cancel_all())
            self._loop.close()
            self._loop = None

    def do(self, act: Callable[[], Awaitable[T]]) -> T:
        """Run `act`; when the connection is lost meanwhile, connect again and start it over."""
        try:
            return persist(
                lambda: self._once(act),
                forget=self._forget,
                was_reached=lambda: self.work != "",
                pause=lambda seconds: self.wait_for(asyncio.sleep(seconds)),  # the loop puts the old connection away
            )
        except LostError as error:
            raise self._unreachable(str(error)) from error

    def _once(self, act: Callable[[], Awaitable[T]]) -> T:
        asyncssh = _library()
        try:
            self.wait_for(self._connect())
            return self.wait_for(act())
        except (asyncssh.Error, asyncssh.SFTPError, ConnectionError, asyncio.TimeoutError, EOFError) as error:
            lost = (asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost)
            if isinstance(error, asyncssh.SFTPError) and not isinstance(error, lost):
                raise DeviceError(f"{self.name} cannot give its files: {error}", "try again") from error
            raise LostError(str(error) or type(error).__name__) from error

    def _forget(self) -> None:
        self.wait_for(self._disconnect())

    def wait_for(self, awaitable: Awaitable[T]) -> T:
        """The result of `awaitable`, tried once, on the connection as it is."""
        if self._loop is None:
            raise RuntimeError("use the device within reserve()")
        return self._loop.run_until_complete(awaitable)

    async def sh(self, script: str, *arguments: str, given: str = "") -> str:
        """What a shell script printed. Raises DeviceError for a code other than 0."""
        command = shlex.join(["sh", "-c", script, "edgetf", *arguments])
        ended = await asyncio.wait_for(self._connection.run(command, input=given, errors=_INVALID), COMMAND_S)
        if ended.exit_status is None:
            raise ConnectionError("the connection was lost")
        if ended.exit_status != 0:
            reason = last_line(str(ended.stderr)) or f"exit code {ended.exit_status}"
            problem = f"{self.name} cannot do what it was asked: {reason}"
            raise DeviceError(problem, f"edgetf devices doctor {self.name}", Cause.UNFIT)
        return str(ended.stdout)

    def start(self, *command: str) -> Any:
        """A process there, as asyncssh's `create_process` gives it, which takes and prints bytes."""
        return self._connection.create_process(shlex.join(command), encoding=None)

    async def probe(self) -> Facts:
        """What the host is and has."""
        s = self._settings
        return parse(await self.sh(EVERYTHING, s.work_dir, s.python, ASK_PYTHON))

    # reaching it ------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        if self._connection is not None:
            if self._holder is None or self._holder.exit_status is None:
                return
            await self._disconnect()  # the lock was given up: edgetf was busy for too long
        self._connection = await self._log_in()
        lock = self._take_lock() if self._locked else asyncio.sleep(0)
        try:
            self.sftp, _, _ = await asyncio.gather(  # at once: each is a way there and back
                self._connection.start_sftp_client(), self._prepare(), lock
            )
        except BaseException:  # no partial connection: nothing may run without the lock
            await self._disconnect()
            raise

    async def _log_in(self) -> Any:
        asyncssh, s = _library(), self._settings
        options: dict[str, Any] = {"port": s.port, "keepalive_interval": 5, "keepalive_count_max": 3}
        if s.user:
            options["username"] = s.user
        if s.key:
            options["client_keys"] = [str(private_key(self.name, Path(s.key).expanduser()))]
        known = Path(s.known_hosts).expanduser()
        options["known_hosts"] = str(known) if known.is_file() else b""  # no file: no key is trusted
        assert s.host is not None
        try:
            reached = asyncssh.connect(s.host, connect_timeout=_CONNECT_S, login_timeout=_CONNECT_S, **options)
            return await asyncio.wait_for(reached, 2 * _CONNECT_S)
        except asyncssh.HostKeyNotVerifiable as error:
            raise await refuse_host_key(self.name, s) from error
        except asyncssh.PermissionDenied as error:
            hint = f"copy your key: ssh-copy-id -p {s.port} {address(self._settings)}"
            raise DeviceError(f"{self.name} refuses to let {s.user or 'you'} in", hint, Cause.UNFIT) from error
        except ValueError as error:  # asyncssh's KeyImportError and ConfigParseError are such
            raise DeviceError(
                f"the key or configuration for {self.name} cannot be used: {error}", _AGENT, Cause.UNFIT
            ) from error
        except OSError as error:
            raise ConnectionError(str(error)) from error

    async def _prepare(self) -> None:
        """Make the folders there. From then on the device counts as reached."""
        self.work = (await self.sh(scripts.PREPARE, self._settings.work_dir)).strip()

    async def _disconnect(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
        if self._connection is not None:
            self._connection.abort()
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self._connection.wait_closed(), 5)
        self._connection = self.sftp = self._holder = self._beating = None

    async def _take_lock(self) -> None:
        """Hold WORK/lock in a process that ends with the connection, or when it hears nothing for _HOLD_S seconds.

        If another run holds it, that process waits. After a lost connection, the device may not have noticed the loss:
        then the lock is free a little later, and even a run that does not wait for others waits until then.
        """
        s, waits = self._settings, self._on_event is not None
        how = "wait" if waits or self._held else "try"
        command = shlex.join([s.python, "-c", scripts.HOLD, s.work_dir, str(_HOLD_S), this_process(), how])
        holder = await self._connection.create_process(command, errors=_INVALID)
        self._beating = asyncio.ensure_future(_beat(holder))
        patience = None if waits else 2 * _HOLD_S if self._held else COMMAND_S
        state = await self._until_held(holder, patience, "" if how == "wait" else "taken")
        if state.startswith("held"):
            self._holder, self._held = holder, True
            return
        if state.startswith("taken"):
            raise refuse(in_use(self.name, state.partition(" ")[2]))
        errors = await asyncio.wait_for(holder.stderr.read(), COMMAND_S)
        await asyncio.wait_for(holder.wait_closed(), COMMAND_S)
        if not holder.exit_status:  # it ends by itself only when it hears nothing
            raise ConnectionError("the connection was lost")
        refuse_unready(self.name, lacks_python(await self.probe(), s.python))
        reason = last_line(str(errors)) or "it printed nothing"
        raise DeviceError(
            f"{self.name} cannot run {s.python}: {reason}", f"edgetf devices doctor {self.name}", Cause.UNFIT
        )

    async def _until_held(self, holder: Any, patience: float | None, last: str) -> str:
        """The line "held" of the process, or its last line when it ended or `patience` seconds were over.

        A line before its end counts only if it begins with `last`.
        """
        end, state = None if patience is None else monotonic() + patience, ""
        while True:
            try:
                left = None if end is None else max(end - monotonic(), 0.0)
                line = str(await asyncio.wait_for(holder.stdout.readline(), left))
            except asyncio.TimeoutError:
                return state
            if line.startswith("held"):
                return line
            if not line:
                return state if last and state.startswith(last) else ""
            held_by = line.strip().partition(" ")[2]
            is_news, state = bool(held_by) or not state, line  # between two holders, nobody is named
            if self._on_event is not None and not self._held and is_news:
                self._on_event(Note(waiting(in_use(self.name, held_by))))
                self._on_event(Phase(f"waiting for {self.name}"))

    def _unreachable(self, reason: str) -> UnreachableError:
        where = f"{self._settings.host}:{self._settings.port}"
        hint = f"is it on, and does this work? ssh -p {self._settings.port} {address(self._settings)}"
        return UnreachableError(f"{self.name} ({where}) cannot be reached: {reason}", hint)


def _library() -> Any:
    try:
        import asyncssh
    except ModuleNotFoundError as error:
        raise MissingExtraError("asyncssh", "ssh") from error
    return asyncssh


_AGENT = "a key with a passphrase goes into the agent: ssh-add; then leave key out of devices.toml"


async def _beat(holder: Any) -> None:
    """Tell the process that holds the lock, now and then, that the connection lives."""
    while True:
        await asyncio.sleep(_BEAT_S)
        with contextlib.suppress(BrokenPipeError):  # it has ended: the next command finds that out
            holder.stdin.write("\n")


async def _cancel_all() -> None:
    """End the processes that a lost connection left waiting."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
