"""The `pip install` command for an extra. It uses the source that edgetf was installed from.

In: the name of an extra. Out: a command for the shell. For an editable install, a folder, a repository or an archive,
the command repeats the source with the extra (PEP 610: `direct_url.json`). If the source is unknown or gone, the
command names the packages of the extra, from the metadata of the distribution.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from edgetf.texts import without_secrets

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_NAME = "edgetf"
# `PACKAGE[EXTRAS]VERSIONS; (OTHER CONDITIONS) and extra == "NAME"`, as build tools write it
_REQUIREMENT = re.compile(
    r'(?P<what>[^;]+?)\s*;\s*(?:(?P<when>.+?)\s+and\s+)?\(?extra\s*==\s*["\'](?P<extra>[^"\']+)["\']'
)


def how_to_install(extra: str, package: str) -> str:
    """The command that installs `extra`; if the extra is unknown, the command for `package` only."""
    from importlib.metadata import PackageNotFoundError, distribution  # only needed for an error

    try:
        found = distribution(_NAME)
    except PackageNotFoundError:  # a checkout on the path
        return f"pip install {_quoted(package)}"
    origin = _origin(found, extra)
    return f"pip install {origin}" if origin else _packages_command(found, extra, package)


def _origin(found: Distribution, extra: str) -> str | None:
    """The source that edgetf was installed from, with the extra, as an argument of pip; None if it is not available."""
    from pathlib import Path

    try:
        direct = json.loads(found.read_text("direct_url.json") or "{}")
        url, parts = str(direct["url"]), urlsplit(str(direct["url"]))
    except (ValueError, TypeError, KeyError):
        return None
    path = Path(unquote(parts.path))
    if parts.scheme == "file" and not path.exists():
        return None
    if _part(direct, "dir_info").get("editable") is True:
        return f"-e {_quoted(f'{path}[{extra}]')}"
    if version_control := _part(direct, "vcs_info"):
        commit = version_control.get("commit_id")
        url = f"{version_control.get('vcs', 'git')}+{url}{f'@{commit}' if commit else ''}"
    if subdirectory := direct.get("subdirectory"):
        url = f"{url}#subdirectory={subdirectory}"
    # messages hide users and passwords, so that the printed command would not work
    return _quoted(f"{_NAME}[{extra}] @ {url}") if without_secrets(url) == url else None


def _part(direct: dict[str, Any], name: str) -> dict[str, Any]:
    part = direct.get(name)
    return part if isinstance(part, dict) else {}


def _packages_command(found: Distribution, extra: str, package: str) -> str:
    """The command for the missing packages of the extra, or for all of them if a package is installed but broken."""
    needed = list(dict.fromkeys(_packages(found.requires or [], extra)))
    missing = [one for one in needed if not _is_installed(one)] or needed or [package]
    return "pip install " + " ".join(map(_quoted, missing))


def _quoted(argument: str) -> str:
    """An argument for the shell: bare, or in double quotes if these suffice."""
    if re.fullmatch(r"[\w.-]+", argument):
        return argument
    return shlex.quote(argument) if re.search(r'["$`\\!]', argument) else f'"{argument}"'


def _packages(requirements: list[str], extra: str) -> Iterator[str]:
    """The requirements of an extra, including those of extras that it names."""
    for line in requirements:
        parts = _REQUIREMENT.match(line)
        if parts is None or parts["extra"].replace("_", "-") != extra:
            continue
        own = re.fullmatch(rf"{_NAME}\[(.+)\]", parts["what"])
        if own is None:
            when = (parts["when"] or "").replace('"', "'")  # the argument will be in double quotes
            yield f"{parts['what']}; {when}" if when else parts["what"]
            continue
        for other in own[1].split(","):
            yield from _packages(requirements, other.strip())


def _is_installed(requirement: str) -> bool:
    from importlib.metadata import PackageNotFoundError, version

    if "[" in requirement:  # the version does not show whether its extras are installed
        return False
    name = re.match(r"[\w.-]+", requirement)
    try:
        version(name[0] if name else requirement)
    except PackageNotFoundError:
        return False
    return True
