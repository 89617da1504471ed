"""The `adb` program as a way to a phone: scripts run there, files go there and come back.

The real client and server do the work, in processes that are ended after a while. What a phone's own answer is and
what a lost connection is are told apart by a last line that every script prints.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep
from typing import TypeVar

from edgetf.errors import DeviceError

T = TypeVar("T")
_COMMAND_S = 60.0
_SLOWEST = 50_000  # bytes a second, below which a link counts as dead
_ATTEMPTS = 5  # of coming back after the connection was lost, with pauses of 1, 2, 4, ... seconds
_END = "edgetf-exit-code "


class LostError(Exception):
    """The phone cannot be reached just now; the message is adb's."""


class Adb:
    """A phone. `serial` None is the only one that is connected. Every verb comes back after a lost connection."""

    def __init__(self, name: str, program: str, serial: str | None) -> None:
        self._name, self._program, self._serial = name, program, serial
        self._reached = False  # ever
        self._connected = False  # as far as is known

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
        seconds = _COMMAND_S + path.stat().st_size / _SLOWEST
        self._again(lambda: self._files("push", str(path.resolve()), place, seconds))

    def pull(self, place: str, path: Path) -> None:
        """Copy a file or folder of the phone to `path`."""
        self._again(lambda: self._files("pull", place, str(path.resolve()), 10 * _COMMAND_S))

    # one try ----------------------------------------------------------------------------------------------------

    def _again(self, act: Callable[[], T]) -> T:
        """Run `act`; when the connection is lost meanwhile, connect again and start it over."""
        attempt = 0
        while True:
            try:
                self._connect()
                return act()
            except LostError as error:
                self._connected = False
                attempt += 1
                if not self._reached or attempt >= _ATTEMPTS:  # never reached: waiting would not help
                    raise self._unreachable(str(error)) from error
                sleep(2 ** (attempt - 1))

    def _connect(self) -> None:
        """See that the phone answers; one at an address (such as 192.168.1.7:5555) is connected to."""
        if self._connected:
            return
        if ":" in self.serial:
            told = self._adb(["connect", self.serial], _COMMAND_S)
            if "connected to" not in told.stdout:
                raise LostError(_last_line(told.stdout + told.stderr))
        ended = self._adb(["-s", self.serial, "get-state"], _COMMAND_S)
        if ended.stdout.strip() != "device":
            raise LostError(_last_line(ended.stderr) or f"its state is {ended.stdout.strip()!r}")
        self._reached = self._connected = True

    def _sh(self, script: str, *arguments: str, given: str = "") -> str:
        command = shlex.join(["sh", "-c", script, "edgetf", *arguments])
        ended = self._adb(["-s", self.serial, "shell", f'{command}; echo "{_END}$?"'], _COMMAND_S, given)
        told, mark, code = ended.stdout.rpartition(_END)
        if not mark:
            raise LostError(_last_line(ended.stderr) or "the connection was lost")
        if code.strip() != "0":
            reason = _last_line(ended.stderr) or f"exit code {code.strip()}"
            raise DeviceError(f"{self._name} cannot do what it was asked: {reason}", self._doctor())
        return told

    def _files(self, verb: str, source: str, place: str, seconds: float) -> None:
        ended = self._adb(["-s", self.serial, verb, source, place], seconds)
        if ended.returncode == 0:
            return
        reason = _error_in(ended.stderr + ended.stdout)
        if self._adb(["-s", self.serial, "get-state"], _COMMAND_S).stdout.strip() != "device" or _is_lost(reason):
            raise LostError(reason)
        hint = "make room there, or set work_dir to a folder that adb's shell may write"
        raise DeviceError(f"{self._name} did not {verb} {Path(source).name}: {reason}", hint)

    def _adb(self, arguments: Sequence[str], seconds: float, given: str = "") -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self._program, *arguments],
                input=given,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds,
                check=False,
            )
        except FileNotFoundError as error:
            hint = "install it (Debian: sudo apt install adb), or set adb in devices.toml to where it is"
            raise DeviceError(f"{self._program} is not installed", hint) from error
        except PermissionError as error:
            raise DeviceError(f"{self._program} cannot be run", "set adb in devices.toml to the program") from error
        except subprocess.TimeoutExpired as error:
            raise LostError(f"no answer for {seconds:.0f} s") from error

    # what is wrong ----------------------------------------------------------------------------------------------

    def _only_one(self) -> str:
        phones: dict[str, str] = dict(
            re.findall(r"^(\S+)\t(\w+)", self._adb(["devices"], _COMMAND_S).stdout, re.MULTILINE)
        )
        if not phones:
            raise self._unreachable("no phone is connected")
        if len(phones) > 1:
            known = ", ".join(sorted(phones))
            raise DeviceError(f"several phones are connected: {known}", f"set serial in devices.toml for {self._name}")
        return next(iter(phones))

    def _unreachable(self, reason: str) -> DeviceError:
        if "unauthorized" in reason or "failed to authenticate" in reason:
            hint = "unlock its screen, and accept this computer's key in the dialog there; then try again"
            return DeviceError(f"{self._name} does not trust this computer yet", hint)
        if "no permissions" in reason:
            hint = "install Debian's android-sdk-platform-tools-common, and plug it in again"
            return DeviceError(f"{self._name} may not be used over USB: {reason}", hint)
        hint = "is USB debugging on, and is it in the list? adb devices -l"
        if ":" in (self._serial or ""):
            hint = f"plug it in once: adb tcpip 5555; then unplug it: adb connect {self._serial}"
        return DeviceError(f"{self._name} cannot be reached: {reason}", hint)

    def _doctor(self) -> str:
        return f"edgetf devices doctor {self._name}"


def _error_in(text: str) -> str:
    """The line that says what went wrong, among others that count files."""
    errors = [line.strip() for line in text.splitlines() if "error" in line]
    return errors[-1] if errors else _last_line(text)


def _is_lost(reason: str) -> bool:
    return any(word in reason for word in ("not found", "offline", "closed", "no devices", "protocol fault", "reset"))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if any("unauthorized" in line for line in lines[:1]) else lines[-1] if lines else ""
