"""Files that appear whole or not at all, their digests, and the versioned JSON documents of edgetf.

Every document carries `"schema": N`. A folder of results is built beside its place (in a hidden staging folder) and
moved there when it is complete, so that an interrupted command leaves nothing half-written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import cattrs

from edgetf.errors import EdgetfError, nearest

T = TypeVar("T")
_STAGING = ".edgetf-staging-"


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sha256_tree(folder: Path) -> str:
    """SHA-256, in hex, of a folder: every file's relative path and content, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256_file(path)}\n".encode())
    return digest.hexdigest()


# documents --------------------------------------------------------------------------------------------------------


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)
    # numbers and texts are taken as they are: a "3" where 3 is meant is a broken document, not a number
    for plain in (int, float, str, bool):
        converter.register_structure_hook(plain, _strictly)
    return converter


def _strictly(value: Any, kind: type[Any]) -> Any:
    if issubclass(kind, Enum):  # str enums come here as strings
        return kind(value)
    allowed = (int, float) if kind is float else (kind,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"expected {kind.__name__}, found {value!r}")
    return kind(value)


_CONVERTER = _converter()


def to_plain(document: Any) -> Any:
    """A frozen dataclass as dicts, lists, numbers and texts, ready for JSON."""
    return _CONVERTER.unstructure(document)


def from_plain(plain: Any, kind: type[T]) -> T:
    """The frozen dataclass that `to_plain` took apart. Raises what cattrs raises for what does not fit."""
    document: T = _CONVERTER.structure(plain, kind)
    return document


def to_text(document: Any) -> str:
    """A document as JSON text. NaN and infinity are refused: they are not JSON."""
    return json.dumps(to_plain(document), indent=1, allow_nan=False) + "\n"


def write_document(path: Path, document: Any) -> None:
    """Write a document beside its place, then rename it there."""
    write_whole(path, to_text(document).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file, the new one, and nothing between."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise EdgetfError(f"cannot write {path}: {error.strerror}", "choose another place with -o") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def find_document(place: Path, name: str) -> Path:
    """The document `name` (such as `benchmark.json`) at `place`: the file itself, or the folder that holds it."""
    path = place / name if place.is_dir() else place
    if not path.is_file():
        verb = {"conversion.json": "convert", "reference.json": "reference", "benchmark.json": "benchmark"}[name]
        raise EdgetfError(f"there is no {name} at {place}", f"make one with: edgetf {verb} ... -o {place}")
    return path


def read_document(path: Path, kind: type[T], schema: int) -> T:
    """Read a JSON document into the frozen dataclass `kind`.

    Raises EdgetfError for a file that is not JSON, another schema, or keys that do not belong (naming the nearest).
    """
    try:
        plain = json.loads(path.read_text())
        found = plain["schema"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise EdgetfError(
            f"{path} is not a document of edgetf", "make it again with the command that wrote it"
        ) from error
    if found != schema:
        old = isinstance(found, int) and found < schema
        raise EdgetfError(
            f"{path} has schema {found}, this edgetf reads schema {schema}",
            "it is too old: make it again with the command that wrote it" if old else "it is newer: upgrade edgetf",
        )
    try:
        return from_plain(plain, kind)
    except cattrs.ForbiddenExtraKeysError as error:
        wrong = sorted(error.extra_fields)[0]
        known = list(getattr(error.cl, "__dataclass_fields__", {}))
        raise EdgetfError(f"{path} has an unknown key {wrong!r}", nearest(wrong, known)) from error
    except Exception as error:  # cattrs raises whatever the constructor raised: all of it means a broken document
        raise EdgetfError(f"{path} is damaged: {error}", "make it again with the command that wrote it") from error


# folders of results -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def staged(out: Path, claims: Sequence[str], force: bool) -> Iterator[Path]:
    """Build a folder of results: yields a staging folder whose content is moved into `out` at the end.

    `claims` names the entries that this command writes and that say "there are results here": when one exists, the
    command refuses unless `force`; so it does when anything else that it made is in the way. The last claim is the
    document that vouches for the rest: an old one goes first, the new one comes last. When the work is interrupted,
    Ctrl-C included, `out` is as it was.
    """
    if out.exists() and not out.is_dir():
        raise EdgetfError(f"{out} is a file, and results need a folder", "give a folder with -o")
    _refuse_overwriting(out, claims, force)
    created = [p for p in (out, *out.parents) if not p.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        staging = Path(tempfile.mkdtemp(prefix=f"{_STAGING}{os.getpid()}-", dir=out))
    except OSError as error:
        raise EdgetfError(f"cannot write to {out}: {error.strerror}", "choose another place with -o") from error
    try:
        yield staging
        entries = sorted(staging.iterdir(), key=lambda p: p.name == claims[-1])
        _refuse_overwriting(out, [entry.name for entry in entries], force)
        if (out / claims[-1]).is_file():
            (out / claims[-1]).unlink()
        for entry in entries:
            _replace(entry, out / entry.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for folder in created:  # only those that are still empty: results keep them
            with contextlib.suppress(OSError):
                folder.rmdir()


def _refuse_overwriting(out: Path, names: Sequence[str], force: bool) -> None:
    held = [name for name in names if (out / name).exists()]
    if held and not force:
        raise EdgetfError(f"{out} already holds {held[0]}", "give another folder with -o, or --force to replace it")


def _replace(entry: Path, place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    entry.replace(place)


def _sweep(out: Path) -> None:
    """Remove staging folders of processes that were killed."""
    for left in out.glob(f"{_STAGING}*"):
        pid = left.name[len(_STAGING) :].split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)
