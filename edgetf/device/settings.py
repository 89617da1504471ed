"""`devices.toml`: what devices there are, and how to reach them.

    [pi]
    kind = "ssh"
    host = "raspberrypi.local"
    user = "pi"
    python = "/home/pi/edgetf/bin/python"

    [phone]
    kind = "adb"
    benchmark_model = "~/Downloads/android_aarch64_benchmark_model"

Looked for at the place that was given, else in the current folder, else in the user's configuration.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path

from edgetf.errors import EdgetfError, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME = "devices.toml"


class Kind(str, Enum):
    LOCAL = "local"
    SSH = "ssh"
    ADB = "adb"


@dataclass(frozen=True)
class DeviceSettings:
    """One table of `devices.toml`.

    `python` runs the runner: it has numpy and one interpreter. `work_dir` is relative to the home folder there.
    `known_hosts` verifies the host key, `key` is a private key file; without it, the SSH agent and the usual files
    are tried. `env` is for the runner. `runtime`, `delegate` ("xnnpack", "none" or, on a phone, "gpu") and `threads`
    are what jobs use unless they say otherwise. `emulated` says that its times are not those of the hardware: they
    get no verdict. Of a phone: `serial` tells it from others, `adb` is the program, `benchmark_model` is TFLite's
    program for it, on this machine; `work_dir` is then /data/local/tmp/edgetf.
    """

    kind: Kind
    host: str | None = None
    user: str | None = None
    port: int = 22
    key: str | None = None
    known_hosts: str = "~/.ssh/known_hosts"
    python: str = "python3"
    work_dir: str = ".cache/edgetf"
    runtime: str = "auto"
    delegate: str = "xnnpack"
    threads: int = 1
    env: dict[str, str] = field(default_factory=dict)
    emulated: bool = False
    serial: str | None = None
    adb: str = "adb"
    benchmark_model: str | None = None


def load_settings(given: Path | None) -> dict[str, DeviceSettings]:
    """The devices by name; `local` is always among them. Raises EdgetfError for a file that is missing or not right."""
    found = {"local": DeviceSettings(Kind.LOCAL)}
    place = given or _find()
    if place is None:
        return found
    try:
        tables = tomllib.loads(place.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EdgetfError(f"cannot read {place}: {reason}", "see the README for an example") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise EdgetfError(
                f"{place}: {name} stands outside of a device", f"put it under [name-of-a-device]: {name} = ..."
            )
        found[name] = _settings(place, name, table)
    return found


def _find() -> Path | None:
    configuration = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config"))
    places = (Path(NAME), configuration / "edgetf" / NAME)
    return next((place for place in places if place.is_file()), None)


def _settings(place: Path, name: str, table: dict[str, object]) -> DeviceSettings:
    where = f"{place}, [{name}]"
    known = {field.name: field for field in fields(DeviceSettings)}
    for key in table:
        if key not in known:
            raise EdgetfError(f"{where}: unknown key {key!r}", nearest(key, known))
    if "kind" not in table:
        raise EdgetfError(f"{where}: it has no kind", f"add one of: {', '.join(kind.value for kind in Kind)}")
    if table.get("kind") not in [kind.value for kind in Kind]:
        raise EdgetfError(f"{where}: kind is {table.get('kind')!r}", f"known: {', '.join(kind.value for kind in Kind)}")
    types = {"port": int, "threads": int, "emulated": bool, "env": dict}
    for key, value in table.items():
        wanted = types.get(key, str)
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise EdgetfError(f"{where}: {key} = {value!r} is not {_ARTICLES[wanted]}", "see the README for an example")
    _check_meaning(where, table)
    return DeviceSettings(**{**table, "kind": Kind(table["kind"])})  # type: ignore[arg-type]  # checked above


def _check_meaning(where: str, table: dict[str, object]) -> None:
    """Values that are known, and keys that mean something for the kind."""
    for key, allowed in _CHOICES.items():
        if table.get(key, allowed[0]) not in allowed:
            raise EdgetfError(f"{where}: {key} is {table[key]!r}", f"known: {', '.join(allowed)}")
    if table["kind"] == Kind.SSH and not table.get("host"):
        raise EdgetfError(f"{where}: it has no host", 'add host = "raspberrypi.local", or its address')
    for key in sorted(set(table) & _FOREIGN[str(table["kind"])]):
        raise EdgetfError(f"{where}: {key} means nothing for kind = {table['kind']!r}", "remove it, or change kind")


_CHOICES = {"runtime": ("auto", "litert", "tflite-runtime"), "delegate": ("xnnpack", "none", "gpu")}
_OF_SSH = {"host", "user", "port", "key", "known_hosts"}
_OF_ADB = {"serial", "adb", "benchmark_model"}
_FOREIGN = {"local": _OF_SSH | _OF_ADB, "ssh": _OF_ADB, "adb": _OF_SSH | {"python", "env", "runtime"}}  # keys of others
_ARTICLES: dict[type, str] = {int: "a whole number", bool: "true or false", str: "a text", dict: "a table of texts"}
