"""Files that appear complete or not at all, digests, and the versioned JSON documents of edgetf.

Every document carries `"schema": N`. A folder of results is built beside its place (in a hidden staging folder) and
moved there when it is complete, so that an interrupted command leaves nothing half-written.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import cattrs

from edgetf.errors import EdgetfError, clean, nearest, one_line
from edgetf.limits import find_fault
from edgetf.owned import abandoned, hold, new_name, owned, sweep
from edgetf.reading import fault_of, parsing
from edgetf.system import explained, naming

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]
_STAGING, _PART = ".edgetf-staging-", ".edgetf-part-"
_NEW, _OLD, _MOVES = "new", "old", "moves.json"  # in a staging folder: new files, replaced files, the list of moves
_LARGEST_DOCUMENT = 256 << 20  # bytes: documents of real runs have less than a hundredth
_LARGEST_TOML = 1 << 20
_LONGEST_LINE = 100  # characters of a line of a file in a message
_GIVE_FILE = "give a file: pipes and devices are not read"
_LONGEST_NAME = 255  # bytes of the name of an entry, on all usual file systems
_AGAIN = "make it again with the command that wrote it"
_NEWER = "it is newer: upgrade edgetf"


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@contextlib.contextmanager
def open_plain(path: Path, hint: str = _GIVE_FILE) -> Iterator[BinaryIO]:
    """Open a file for reading that has an end: a pipe, a device, or a file below /proc may have none.

    Raises EdgetfError with `hint` for one of these, and OSError for a file that cannot be opened.
    """
    # O_NONBLOCK: a pipe without a writer is opened at once; it has no effect on a plain file
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or (found.st_size == 0 and file.read(1)):
            raise EdgetfError(f"{path} is not a plain file", hint)
        yield file


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex. Raises EdgetfError and OSError as `open_plain` does."""
    digest = hashlib.sha256()
    with open_plain(path) as file:
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
    # no conversion between numbers and strings: a "3" in place of 3 is a broken document
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


def _reader() -> cattrs.Converter:
    """Like `_converter`, for untrusted documents: each string becomes one printable line."""
    reader = _converter()
    reader.register_structure_hook(str, lambda value, kind: clean(_strictly(value, kind)))
    return reader


_READER = _reader()


def read_plain(plain: Any, kind: type[T]) -> T:
    """The frozen dataclass of an untrusted document, with all values checked.

    Raises ValueError for an impossible value, and the errors of cattrs for a document of another form.
    """
    document: T = _READER.structure(plain, kind)
    if fault := find_fault(document):
        raise ValueError(fault)
    return document


def parse_document(path: Path) -> dict[str, Any]:
    """The JSON object in a file, with unchecked values. Raises EdgetfError."""
    content = read_bytes(path, _AGAIN, _LARGEST_DOCUMENT)
    with parsing(path, "a document of edgetf", _AGAIN):
        plain = json.loads(content.decode())
        if not isinstance(plain, dict):
            raise ValueError("it is not a JSON object")
        return plain


def read_toml(path: Path, hint: str) -> dict[str, Any]:
    """The tables of a TOML file that users write. Raises EdgetfError."""
    content = read_bytes(path, hint, _LARGEST_TOML).replace(b"\r\n", b"\n")
    try:
        return tomllib.loads(content.decode())
    except Exception as error:  # a fault of the file: the library can raise any exception
        raise EdgetfError(f"cannot read {path}: {fault_of(error)}{_line_of(content, error)}", hint) from error


def _line_of(content: bytes, error: Exception) -> str:
    """The line of a TOML file that an error of its parser names, to follow the message; empty if it names none."""
    named = re.search(r"\(at line (\d{1,9}), column \d+\)", str(error))
    lines = content.decode(errors="replace").split("\n")
    found = lines[int(named[1]) - 1].strip() if named and 0 < int(named[1]) <= len(lines) else ""
    return f": {one_line(found, _LONGEST_LINE)}" if found else ""


def to_plain(document: Any) -> Any:
    """A frozen dataclass as dicts, lists, numbers and strings, ready for JSON."""
    return _CONVERTER.unstructure(document)


def from_plain(plain: Any, kind: type[T]) -> T:
    """The inverse of `to_plain`. Raises the errors of cattrs for a value of another form."""
    document: T = _CONVERTER.structure(plain, kind)
    return document


def to_text(document: Any) -> str:
    """A document as JSON text. NaN and infinity are rejected: they are not JSON."""
    return json.dumps(to_plain(document), indent=1, allow_nan=False) + "\n"


def write_document(path: Path, document: Any) -> None:
    """Write a document to a temporary file, then rename it."""
    write_whole(path, to_text(document).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically: a reader sees either the old file or the new one.

    Links are followed; a device or a pipe, such as /dev/stdout, is written directly. Raises EdgetfError if that fails.
    """
    place = Path(os.path.realpath(path))
    with explained(), naming(place.parent, path):
        if place.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        if is_stream(path):  # a pipe may have no real path: /proc/1/fd/pipe:[2]
            with naming(path), path.open("wb") as file:
                file.write(content)
            return
        sweep(place.parent, _PART)
        part = new_name(place.parent, _PART)
        try:
            with part.open("xb") as file:
                hold(file.fileno())
                file.write(content)
                file.flush()
                part.replace(place)
        except OSError as error:
            if error.filename is not None:
                error.filename, error.filename2 = str(path), None
            raise
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def is_stream(path: Path) -> bool:
    """Whether `path` is a device, a pipe or a name of an open file, such as /dev/stdout: nothing there is a result."""
    is_open = str(path.absolute().parent) in ("/dev", "/dev/fd", "/proc/self/fd")
    return is_open or (path.exists() and not path.is_file() and not path.is_dir())


def refuse_existing(out: Path, force: bool) -> None:
    """Raise EdgetfError if the file `out` exists, unless `force`."""
    if not force and not is_stream(out) and out.exists():
        raise EdgetfError(f"{out} already exists", "give another name, or --force to replace it")


def refuse_output(out: Path, force: bool) -> None:
    """Raise EdgetfError, before the work, if its file `out` cannot be written.

    It exists (unless `force`), is a folder, or would be in a folder that does not exist.
    """
    if out.is_dir():
        raise EdgetfError(f"{out} is a folder", f"give a file to write, such as {out / 'result'}")
    refuse_existing(out, force)
    if not out.parent.is_dir():
        message = f"cannot write {out}: there is no folder {out.parent}"
        raise EdgetfError(message, "create it, or give another file")


_VERBS = {
    "conversion.json": "convert",
    "reference.json": "reference",
    "benchmark.json": "benchmark",
    "tuning.json": "tune",
}


def find_document(place: Path, name: str) -> Path:
    """The document `name` (such as `benchmark.json`) at `place`, which is the file or its folder."""
    path = place / name if place.is_dir() else place
    if not path.is_file():
        with contextlib.suppress(OSError):  # a killed process may have left the move unfinished
            recover(path.parent)
    if not path.is_file():
        inside = sorted(child.parent for child in place.glob(f"*/{name}")) if place.is_dir() else []
        if inside:  # as in a benchmark of several devices
            raise EdgetfError(f"there are several {name} at {place}", f"give one of: {', '.join(map(str, inside))}")
        if near := _nearest(place, name):
            raise EdgetfError(f"there is no {name} at {place}", f"there is one at {near}: use that")
        verb = _VERBS[name]
        raise EdgetfError(f"there is no {name} at {place}", f"make one with: edgetf {verb} ... -o {place}")
    return path


def _nearest(place: Path, name: str) -> Path | None:
    """The folder with a document `name` that the user probably meant: a parent, or the only one beside `place`."""
    around = [folder for folder in (place.parent, place.parent.parent) if (folder / name).is_file()]
    siblings = sorted(found.parent for found in place.parent.glob(f"*/{name}"))
    return around[0] if around else siblings[0] if len(siblings) == 1 else None


def read_document(path: Path, kind: type[T], schema: int, upgrade: Upgrade | None = None) -> T:
    """Read a JSON document into the frozen dataclass `kind`.

    `upgrade` gets the unchecked document, and returns it in this schema if it knows that of the document. Raises
    EdgetfError for a file that is not JSON, another schema, or unknown keys (with the nearest known key).
    """
    plain = parse_document(path)
    if upgrade is not None:
        plain = upgrade(plain)
    found = plain.get("schema")
    if found != schema or not isinstance(found, int):
        if not isinstance(found, int) or isinstance(found, bool):
            raise EdgetfError(f"{path} is not a document of edgetf: it has no schema", _AGAIN)
        hint = "it is too old: make it again with the command that wrote it" if found < schema else _NEWER
        raise EdgetfError(f"{path} has schema {found}, this edgetf reads schema {schema}", hint)
    try:
        return read_plain(plain, kind)
    except cattrs.ForbiddenExtraKeysError as error:
        wrong = sorted(error.extra_fields)[0]
        known = list(getattr(error.cl, "__dataclass_fields__", {}))
        raise EdgetfError(f"{path} has an unknown key {wrong!r}", nearest(wrong, known)) from error
    except Exception as error:  # cattrs passes on any exception of a constructor
        raise EdgetfError(f"{path} is damaged: {fault_of(error)}", _AGAIN) from error


def read_bytes(path: Path, hint: str, most: int) -> bytes:
    """The content of a file of at most `most` bytes. Raises EdgetfError for one that cannot be read."""
    with parsing(path, "a plain file", hint), open_plain(path, hint) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise EdgetfError(f"{path} has more than {most:,} bytes", hint)
        return file.read(size)


def read_text(path: Path, hint: str, most: int) -> str:
    """The text in a UTF-8 file of at most `most` bytes. Raises EdgetfError for one that cannot be read."""
    content = read_bytes(path, hint, most)
    with parsing(path, "a text file", hint):
        return content.decode()


# folders of results -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def staged(out: Path, claims: Sequence[str], force: bool, taken: Mapping[str, Path] | None = None) -> Iterator[Path]:
    """Build a folder of results: yields a staging folder, whose content is moved to `out` at the end.

    `claims` names the entries that mark existing results. If one of them exists, or any other new file would replace an
    existing one, EdgetfError is raised unless `force`. The last claim is the document that is moved last. After an
    interruption, including Ctrl-C and `kill -9`, `out` is unchanged (after `kill -9`, once anything reads or writes
    there). `taken` are entries that are moved from other places in `out`, if they exist at the end; on failure they are
    moved back.
    """
    with explained():
        _refuse_place(out)
        created = [p for p in (out, *out.parents) if not p.exists()]
    try:
        with naming(out), contextlib.ExitStack() as stack:
            with explained():
                out.mkdir(parents=True, exist_ok=True)
                recover(out)
                _refuse_overwriting(out, claims, force)
                root = stack.enter_context(owned(out, _STAGING))
                (root / _NEW).mkdir()
            yield root / _NEW
            _publish(root, claims[-1], force, taken or {})
    finally:
        for folder in created:  # only those that are still empty
            with contextlib.suppress(OSError):
                folder.rmdir()


def refuse_results(out: Path, claims: Sequence[str], force: bool) -> None:
    """Raise EdgetfError for a place that `staged` would refuse: before work whose results are to go there."""
    with explained(), naming(out):
        _refuse_place(out)
        if out.exists():
            recover(out)
            _refuse_overwriting(out, claims, force)


def recover(out: Path) -> None:
    """Remove the staging folders of killed processes in `out`, and restore what they were about to replace."""
    for root in abandoned(out, _STAGING):
        _undo(root)
        shutil.rmtree(root, ignore_errors=True)


def _refuse_place(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise EdgetfError(f"{out} is a file, and results need a folder", "give a folder with -o")
    if out.is_symlink() and not out.exists():
        message = f"{out} is a broken link to {out.readlink()}"
        raise EdgetfError(message, "remove it, or give another folder with -o")


def _refuse_overwriting(out: Path, names: Iterable[str], force: bool) -> None:
    held = [name for name in names if os.path.lexists(out / name)]
    if held and not force:
        raise EdgetfError(f"{out} already holds {held[0]}", "give another name, or --force to replace it")


def _publish(root: Path, document: str, force: bool, taken: Mapping[str, Path]) -> None:
    """Move all new files to their destination, `document` last; all of them, or none.

    Replaced files are moved away first, and a list records all moves, so that any process can undo them.
    """
    out = root.parent
    sources = {entry.name: entry for entry in (root / _NEW).iterdir()}
    sources |= {name: place for name, place in taken.items() if place.exists()}
    names = sorted(sources, key=lambda name: name == document)
    _refuse_overwriting(out, names, force)
    (root / _OLD).mkdir()
    moves = [(name, os.path.relpath(sources[name], out)) for name in names]
    write_whole(root / _MOVES, json.dumps(moves).encode())
    try:
        for name in [document, *names]:
            if os.path.lexists(out / name):
                (out / name).rename(root / _OLD / name)
        for name in names:
            sources[name].rename(out / name)
    except BaseException:
        _undo(root)
        raise


def _undo(root: Path) -> None:
    """Undo the moves of `_publish`, unless it was complete."""
    out, moves = root.parent, _read_moves(root)
    if moves and os.path.lexists(out / moves[-1][0]) and not os.path.lexists(out / moves[-1][1]):
        return
    for name, source in moves:
        if os.path.lexists(out / name) and not os.path.lexists(out / source):
            (out / name).rename(out / source)
    for old in (root / _OLD).iterdir() if (root / _OLD).is_dir() else ():
        if not os.path.lexists(out / old.name):
            old.rename(out / old.name)


def _read_moves(root: Path) -> list[tuple[str, str]]:
    """The moves that `_publish` recorded; none if the list is damaged."""
    out = root.parent.resolve()
    try:
        moves = [(str(name), str(source)) for name, source in json.loads((root / _MOVES).read_text())]
        return moves if all(_is_move(out, name, source) for name, source in moves) else []
    except (OSError, ValueError, TypeError, RecursionError, RuntimeError):
        return []


def _is_move(out: Path, name: str, source: str) -> bool:
    """Whether it is from a folder in `out` to an entry of `out`. Raises ValueError for names that no file has."""
    place = (out / source).parent.resolve()
    for one in (name, Path(source).name):
        if one in ("", "..") or Path(one).name != one or "\0" in one or len(os.fsencode(one)) > _LONGEST_NAME:
            return False
    return place.is_dir() and place.is_relative_to(out) and not place.is_relative_to(out / name)
