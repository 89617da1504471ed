"""The keys of both ends of an SSH connection. In: files and refusals. Out: the problem, and a hint."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from edgetf.device.settings import DeviceSettings
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.files import open_plain

_PUBLIC = (b"ssh-", b"ecdsa-", b"sk-", b"---- BEGIN SSH2 PUBLIC KEY")
_CONNECT_S = 15.0


def address(settings: DeviceSettings) -> str:
    """USER@HOST, as ssh takes it."""
    return f"{settings.user}@{settings.host}" if settings.user else str(settings.host)


def private_key(name: str, path: Path) -> Path:
    """Return `path`. Raises DeviceError if it is not the private key that the device `name` needs."""
    leave = "or leave key out of devices.toml: then the agent and the files in ~/.ssh are tried"
    try:
        with open_plain(path) as file:
            begin = file.read(64).lstrip()
    except EdgetfError as error:
        problem = f"the key {error.message}, which devices.toml names for {name}"
        raise DeviceError(problem, f"correct it there, {leave}", Cause.UNFIT) from error
    except OSError as error:
        problem = f"there is no key at {path}" if not path.exists() else f"cannot read the key {path}: {error.strerror}"
        raise DeviceError(
            f"{problem}, which devices.toml names for {name}", f"correct it there, {leave}", Cause.UNFIT
        ) from error
    if begin.startswith(_PUBLIC):
        private = path.with_suffix("") if path.suffix == ".pub" else None
        instead = f"give the private one, {private}" if private and private.is_file() else "give the private one"
        raise DeviceError(
            f"{path}, which devices.toml names for {name}, is a public key", f"{instead}, {leave}", Cause.UNFIT
        )
    return path


async def refuse_host_key(name: str, settings: DeviceSettings) -> DeviceError:
    """Why the device's own key is not trusted: nobody has accepted one yet, or it is another one than was accepted."""
    import asyncssh

    s, place = settings, Path(settings.known_hosts).expanduser()
    shown, accepted = await _fingerprint(s), _accepted(asyncssh, place, s)
    if accepted:
        host = s.host if s.port == 22 else f"[{s.host}]:{s.port}"
        problem = f"THE HOST KEY OF {name} ({s.host}) HAS CHANGED: it is {shown}, {place} has {', '.join(accepted)}"
        hint = "another machine may answer in its place: connect only if you know why it changed, such as a new system"
        return DeviceError(problem, f"{hint}; then remove the old key: ssh-keygen -f {place} -R '{host}'", Cause.UNFIT)
    login = f"ssh -p {s.port} -o UserKnownHostsFile={place} {address(s)}"
    own = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
    hint = f"compare it with what the device itself prints ({own}), then accept it once: {login}"
    return DeviceError(f"the host key of {name} ({s.host}), {shown}, is not known in {place}", hint, Cause.UNFIT)


def _accepted(asyncssh: Any, place: Path, settings: DeviceSettings) -> list[str]:
    """Fingerprints of the keys that `place` has for the host, as far as it can be read."""
    if not place.is_file():  # a pipe may have no end
        return []
    try:
        keys = asyncssh.read_known_hosts(str(place)).match(settings.host, "", settings.port)[0]
        return [key.get_fingerprint() for key in keys]
    except (OSError, ValueError):
        return []


async def _fingerprint(settings: DeviceSettings) -> str:
    """That of the key that the host shows."""
    import asyncssh

    try:
        asked = asyncssh.get_server_host_key(settings.host, settings.port, config=None)
        key = await asyncio.wait_for(asked, _CONNECT_S)
        return key.get_fingerprint() if key is not None else "of no kind that is known"
    except (OSError, asyncssh.Error, asyncio.TimeoutError):
        return "which it did not show again"
