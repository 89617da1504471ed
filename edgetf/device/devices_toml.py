"""`devices.toml`: what devices there are, and how to reach them.

    [pi]
    kind = "ssh"
    host = "raspberrypi.local"
    user = "pi"
    python = "/home/pi/edgetf/bin/python"

    [phone]
    kind = "adb"
    benchmark_model = "~/Downloads/android_aarch64_benchmark_model"

It is read from the given path, otherwise from the current folder, otherwise from the user's configuration.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

from edgetf import files
from edgetf.device.kinds import COMMON_KEYS, KINDS
from edgetf.device.runner.delegates import DEFAULT_DELEGATE, DELEGATES, RUNTIME_CHOICES, fault_of_options, find_delegate
from edgetf.device.settings import Bounds, DeviceSettings, Kind, expand
from edgetf.errors import EdgetfError, clean, nearest
from edgetf.limits import fault_of_text

NAME = "devices.toml"
_EXAMPLES = "docs/raspberry-pi.md and docs/android.md have examples"


def load_settings(given: Path | None) -> dict[str, DeviceSettings]:
    """The devices by name; `local` and `micro` are always among them.

    Raises EdgetfError for a file that is missing or not right.
    """
    found = {"local": _made(Kind.LOCAL, {}), "micro": _made(Kind.MICRO, {})}
    place = given or find_file()
    if place is None:
        return found
    tables = files.read_toml(place, _EXAMPLES)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise EdgetfError(
                f"{place}: {name} stands outside of a device", f"put it under [name-of-a-device]: {name} = ..."
            )
        found[name] = _settings(place, name, table)
    return found


def find_file() -> Path | None:
    """The file that is read if none is given: in the current folder, or else in the user's configuration."""
    places = [Path(NAME)]
    with contextlib.suppress(RuntimeError):  # a user without a home has no file there
        configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        places.append(configuration / "edgetf" / NAME)
    return next((place for place in places if place.is_file()), None)


def _settings(place: Path, name: str, table: dict[str, object]) -> DeviceSettings:
    where = f"{place}, [{name}]"
    for key in table:
        if key not in TYPES:
            raise EdgetfError(f"{where}: unknown key {key!r}", nearest(key, TYPES))
    if "kind" not in table:
        raise EdgetfError(f"{where}: it has no kind", f"add one of: {', '.join(kind.value for kind in Kind)}")
    if table.get("kind") not in [kind.value for kind in Kind]:
        raise EdgetfError(f"{where}: kind is {table.get('kind')!r}", f"known: {', '.join(kind.value for kind in Kind)}")
    for key, value in table.items():
        wanted = TYPES[key]
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise EdgetfError(f"{where}: {key} = {value!r} is not {_ARTICLES[wanted]}", _EXAMPLES)
    _check_texts(where, name, table)
    for key, (least, most) in BOUNDS.items():
        if not least <= int(str(table.get(key, least))) <= most:
            raise EdgetfError(f"{where}: {key} = {table[key]!r} is out of bounds", f"give {least} to {most}")
    _check_meaning(where, table)
    return _made(Kind(str(table["kind"])), {**table, **_paths(place.resolve().parent, table)})


def _made(kind: Kind, table: Mapping[str, object]) -> DeviceSettings:
    return DeviceSettings(**{**KINDS[kind].own, **table, "kind": kind})  # type: ignore[arg-type]  # checked


def _check_texts(where: str, name: str, table: dict[str, object]) -> None:
    """Raise EdgetfError for a text that no program takes as an argument, and for an `env` of anything but texts."""
    texts = [("its name", name), *table.items()]
    for named, form in (("env", r"[A-Za-z_]\w*"), ("delegate_options", r"[^\s=]+")):
        given = table.get(named, {})
        assert isinstance(given, dict)
        for key, value in given.items():
            if not isinstance(value, str) or not re.fullmatch(form, key):
                what = "variable" if named == "env" else "option"
                raise EdgetfError(
                    f"{where}: {named}.{key} = {value!r} is no {what}", f'write {named} = {{ NAME = "text" }}'
                )
            texts += [(f"{named}.{key}", value), (f"a name in {named}", key)]
    for key, text in texts:
        if isinstance(text, str) and (clean(text) != text or fault_of_text(text, is_file=True)):
            raise EdgetfError(f"{where}: {key} cannot be {text[:80]!r}", "give a shorter text of printable characters")


def _paths(folder: Path, table: dict[str, object]) -> dict[str, str]:
    """The paths on this machine, from the folder of `devices.toml`; a program's bare name is looked for in PATH."""
    kind = KINDS[Kind(str(table["kind"]))]
    here = {key: str(table[key]) for key in kind.paths | kind.programs if key in table}
    return {key: str(folder / expand(value)) for key, value in here.items() if key in kind.paths or "/" in value}


def _check_meaning(where: str, table: dict[str, object]) -> None:
    """Values that are known, and keys that mean something for the kind."""
    for key, allowed in _CHOICES.items():
        if table.get(key, allowed[0]) not in allowed:
            raise EdgetfError(f"{where}: {key} is {table[key]!r}", f"known: {', '.join(allowed)}")
    try:
        delegate = find_delegate(str(table.get("delegate", DEFAULT_DELEGATE)))
    except KeyError:
        raise EdgetfError(
            f"{where}: delegate is {table['delegate']!r}", f"known: {', '.join(DELEGATES)}; or a library, *.so"
        ) from None
    options = table.get("delegate_options", {})
    assert isinstance(options, dict)
    if fault := fault_of_options(delegate, options):
        raise EdgetfError(f"{where}: {fault[0]}", fault[1])
    kind = KINDS[Kind(str(table["kind"]))]
    for key, hint in kind.required.items():
        if not table.get(key):
            raise EdgetfError(f"{where}: it has no {key}", hint)
    for key in sorted(set(table) - kind.keys - COMMON_KEYS):
        raise EdgetfError(f"{where}: {key} means nothing for kind = {table['kind']!r}", "remove it, or change kind")


def _type_of(hint: object) -> type:
    """The type of a key in the file, of the annotation of its field; what is no other is written as a text."""
    parts = (get_origin(hint), hint, *get_args(hint))
    return next((part for part in parts if part in _ARTICLES), str)


_CHOICES = {"runtime": RUNTIME_CHOICES}
_ARTICLES: dict[type, str] = {int: "a whole number", bool: "true or false", str: "a text", dict: "a table of texts"}
TYPES = {key: _type_of(hint) for key, hint in get_type_hints(DeviceSettings).items()}
BOUNDS: dict[str, Bounds] = {
    key: bounds
    for key, hint in get_type_hints(DeviceSettings, include_extras=True).items()
    for bounds in getattr(hint, "__metadata__", ())
}
