"""A phone over the `adb` program: scripts run there, files are sent and fetched.

The real client and server do the work, in processes with a time limit. Every script prints a last line, which
distinguishes an answer of the phone from a lost connection. Every step may run twice: if an answer is lost, it is
unknown whether the script ended.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from edgetf.device.reconnect import COMMAND_S, SLOWEST, LostError, persist
from edgetf.errors import Cause, DeviceError, EdgetfError, UnreachableError
from edgetf.process import Answered, HungError, ask
from edgetf.texts import last_line

T = TypeVar("T")
_SETTLE_S = 15.0  # for a phone on the network to become ready after it was reconnected
_SETTLE_POLL_S = 0.3
_END = "edgetf-exit-code "


class Adb:
    """A phone. `serial` None means the only connected one. Every method reconnects after a lost connection."""

    def __init__(self, name: str, program: str, serial: str | None) -> None:
        self._name, self._program, self._serial = name, program, serial
        self._reached = False  # ever
        self._connected = False  # as far as is known
        self._lost = False  # since it was last connected

    @property
    def serial(self) -> str:
        """The phone's serial. Raises DeviceError when it is not connected, not authorised, or one of several."""
        if self._serial is None:
            try:
                self._serial = self._only_one()
            except LostError as error:  # adb's own server does not answer
                raise self._unreachable(str(error)) from error
        return self._serial

    def sh(self, script: str, *arguments: str, given: str = "") -> str:
        """What a shell script printed, `given` a text on standard input. Raises DeviceError for a code other than 0."""
        return self._again(lambda: self._sh(script, *arguments, given=given))

    def push(self, path: Path, place: str) -> None:
        """Copy a file to `place` on the phone."""
        seconds = COMMAND_S + path.stat().st_size / SLOWEST
        self._again(lambda: self._files("push", str(path.resolve()), place, seconds))

    def pull(self, place: str, path: Path) -> None:
        """Copy a file or folder of the phone to `path`."""
        self._again(lambda: self._files("pull", place, str(path.resolve()), 10 * COMMAND_S))

    # one try ----------------------------------------------------------------------------------------------------

    def _again(self, act: Callable[[], T]) -> T:
        """Run `act`; if the connection is lost, connect again and start over."""

        def once() -> T:
            self._connect()
            return act()

        try:
            return persist(once, forget=self._forget, was_reached=lambda: self._reached)
        except LostError as error:
            raise self._unreachable(str(error)) from error

    def _forget(self) -> None:
        self._connected, self._lost = False, True

    def _connect(self) -> None:
        """See that the phone answers; one on the network (such as 192.168.1.7:5555) is connected to.

        After an outage adb's server holds such a phone `offline`, says "already connected" and does nothing: it has to
        be disconnected first.
        """
        if self._connected:
            return
        problem = self._problem()
        if _is_remote(self.serial) and (problem or self._lost):
            self._adb(["disconnect", self.serial], COMMAND_S)
            connected = self._adb(["connect", self.serial], COMMAND_S)
            if "connected to" not in connected.stdout:
                raise LostError(_reason(connected.stdout + connected.stderr))
            end = monotonic() + _SETTLE_S
            while (problem := self._problem()) and "unauthorized" not in problem and monotonic() < end:
                sleep(_SETTLE_POLL_S)
        if problem:
            raise LostError(problem)
        self._reached = self._connected = True
        self._lost = False

    def _problem(self) -> str:
        """Why the phone is not ready, as adb reports it; empty if it is ready."""
        ended = self._adb(["-s", self.serial, "get-state"], COMMAND_S)
        state = ended.stdout.strip()
        return "" if state == "device" else _reason(ended.stderr) or f"its state is {state!r}"

    def _sh(self, script: str, *arguments: str, given: str = "") -> str:
        command = shlex.join(["sh", "-c", script, "edgetf", *arguments])
        ended = self._adb(["-s", self.serial, "shell", f'{command}; echo "{_END}$?"'], COMMAND_S, given)
        printed, mark, code = ended.stdout.rpartition(_END)
        if not mark:
            raise LostError(_reason(ended.stderr) or "the connection was lost")
        if code.strip() != "0":
            reason = _reason(ended.stderr) or f"exit code {code.strip()}"
            raise DeviceError(f"{self._name} cannot do what it was asked: {reason}", self._doctor(), Cause.UNFIT)
        return printed

    def _files(self, verb: str, source: str, place: str, seconds: float) -> None:
        ended = self._adb(["-s", self.serial, verb, source, place], seconds)
        if ended.code == 0:
            return
        reason = _error_in(ended.stderr + ended.stdout)
        if self._adb(["-s", self.serial, "get-state"], COMMAND_S).stdout.strip() != "device" or _is_lost(reason):
            raise LostError(reason)
        if verb == "pull" and "No space left" in reason:
            problem = f"there is no room here for what {self._name} gave: {reason}"
            raise EdgetfError(problem, "free some space, or give another folder with -o")
        hint = "free some space there, or set work_dir to a folder that adb's shell may write"
        what = "take" if verb == "push" else "give"
        raise DeviceError(f"{self._name} did not {what} {posixpath.basename(source)}: {reason}", hint, Cause.UNFIT)

    def _adb(self, arguments: Sequence[str], seconds: float, given: str = "") -> Answered:
        try:
            return ask([self._program, *arguments], given=given, seconds=seconds)
        except FileNotFoundError as error:
            hint = "install it (Debian: sudo apt install adb), or set adb in devices.toml to where it is"
            raise DeviceError(f"{self._program} is not installed", hint, Cause.UNFIT) from error
        except OSError as error:
            raise DeviceError(
                f"{self._program} cannot be run", "set adb in devices.toml to the program", Cause.UNFIT
            ) from error
        except HungError as error:
            raise LostError(str(error)) from error

    # what is wrong ----------------------------------------------------------------------------------------------

    def _only_one(self) -> str:
        phones: dict[str, str] = dict(
            re.findall(r"^(\S+)\t(\w+)", self._adb(["devices"], COMMAND_S).stdout, re.MULTILINE)
        )
        if not phones:
            raise self._unreachable("no phone is connected")
        if len(phones) > 1:
            known = ", ".join(sorted(phones))
            raise DeviceError(
                f"several phones are connected: {known}", f"set serial in devices.toml for {self._name}", Cause.UNFIT
            )
        return next(iter(phones))

    def _unreachable(self, reason: str) -> UnreachableError:
        if "unauthorized" in reason or "failed to authenticate" in reason:
            hint = "unlock its screen, and accept this computer's key in the dialog there; then try again"
            return UnreachableError(f"{self._name} does not trust this computer yet", hint)
        if "no permissions" in reason:
            hint = "install Debian's android-sdk-platform-tools-common, and plug it in again"
            return UnreachableError(f"{self._name} may not be used over USB: {reason}", hint)
        hint = "is USB debugging on, and is it in the list? adb devices -l"
        if _is_remote(self._serial or ""):
            hint = f"plug it in once: adb tcpip 5555; then unplug it: adb connect {self._serial}"
        return UnreachableError(f"{self._name} cannot be reached: {reason}", hint)

    def _doctor(self) -> str:
        return f"edgetf devices doctor {self._name}"


def _is_remote(serial: str) -> bool:
    """Whether it is an address (HOST:PORT), or the name of a phone that Android's wireless debugging gives."""
    return ":" in serial or "._adb" in serial


def _error_in(text: str) -> str:
    """The line with the error, among others that count files."""
    lines = [line.strip() for line in text.splitlines()]
    errors = [line for line in lines if "error" in line]
    return errors[-1] if errors else last_line("\n".join(line for line in lines if not line.startswith("[")))


def _is_lost(reason: str) -> bool:
    return any(word in reason for word in ("not found", "offline", "closed", "no devices", "protocol fault", "reset"))


def _reason(text: str) -> str:
    """The last line; if the phone has not accepted this computer, the first line, which reports that."""
    first = text.strip().partition("\n")[0]
    return first.strip() if "unauthorized" in first else last_line(text)
