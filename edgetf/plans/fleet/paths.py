"""Paths in documents that travel between machines: what lay at one place lies at another there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.errors import EdgetfError
from edgetf.plans.fleet.messages import Root
from edgetf.plans.store import DOCUMENTS
from edgetf.samples.formats import RECORDS
from edgetf.samples.records import find_shards
from edgetf.samples.source import FOLDER, PATH, parse_source

_OF_VARIANTS = (".tflite", ".json")
_DOCUMENTS = {*DOCUMENTS.values(), "ranges.json"}
_MODULES = 1000  # of the user, beside a metric


def relocated(value: Any, places: Mapping[str, str]) -> Any:
    """The same plain value with each path that is, or begins with, a key of `places` at its new place."""
    if isinstance(value, str):
        return _moved(value, places)
    if isinstance(value, Mapping):
        return {name: relocated(one, places) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [relocated(one, places) for one in value]
    return value


def _moved(text: str, places: Mapping[str, str]) -> str:
    """Paths may stand in a source: "folder:/a/b?scale=1/255". The longest that fits counts."""
    for old in sorted(places, key=len, reverse=True):
        found = re.match(rf"({FOLDER.prefix})?{re.escape(old)}(?=$|[/?*])", text)
        if found is not None:
            return f"{found.group(1) or ''}{places[old]}{text[found.end() :]}"
    return text


@lru_cache(maxsize=100_000)
def _known_digest(path: Path, inode: int, size: int, mtime_ns: int, ctime_ns: int) -> str:
    return files.sha256_file(path)


def _digest_of(path: Path) -> str:
    """The digest of a file, which is read again only if it has changed: most steps of a plan have the same roots."""
    found = path.stat()
    return _known_digest(path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


# what is sent --------------------------------------------------------------------------------------------------------


def root_of(source: str) -> Root | None:
    """What has to be sent of a path or a source; None if it is not of files, such as a data set by name."""
    parts = parse_source(source)
    if not parts.rest or parts.kind not in (PATH, FOLDER):
        return None
    place = Path(parts.rest).absolute()
    if place.is_dir():
        found = _files_below(place)
        return Root(str(place), place.name, {name: _digest_of(one) for name, one in found.items()})
    shards = _shards(place) if place.name.endswith(RECORDS) else []
    if shards and shards != [place]:
        return Root(str(place.parent), place.parent.name, {one.name: _digest_of(one) for one in shards})
    return Root(str(place), place.name, {".": _digest_of(place)}) if place.is_file() else None


def root_of_links(folder: Path) -> Root:
    """The same of a folder with links to folders, such as a copy of a model's graph with links to its variables."""
    found = [Path(top, name) for top, _, names in os.walk(folder, followlinks=True) for name in names]
    return Root(str(folder), folder.name, {str(one.relative_to(folder)): _digest_of(one) for one in found})


def roots_of(sources: Iterable[str]) -> tuple[Root, ...]:
    """What has to be sent of several sources, each path once."""
    return merged(root for one in dict.fromkeys(sources) if (root := root_of(one)) is not None)


def merged(roots: Iterable[Root]) -> tuple[Root, ...]:
    """The same with one root for each path, which has the files of all: two sets of shards may be in one folder."""
    found: dict[str, Root] = {}
    for root in roots:
        known = found.setdefault(root.path, root)
        found[root.path] = replace(known, files=known.files | root.files)
    return tuple(found.values())


def modules_of(folder: Path) -> Root:
    """The user's modules in a folder, and in the packages below it."""
    top = folder.absolute()
    found = islice(_modules(top), _MODULES)
    return Root(str(top), "modules", {str(one.relative_to(top)): _digest_of(one) for one in found})


def _modules(top: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(top):
        folders[:] = sorted(one for one in folders if _is_package(Path(place, one)))
        yield from (path for name in sorted(names) if name.endswith(".py") and (path := Path(place, name)).is_file())


def _is_package(folder: Path) -> bool:
    """Whether modules can be imported from it: it is not hidden, not a folder of data, nor an environment."""
    return folder.name.isidentifier() and folder.name != "__pycache__" and not (folder / "pyvenv.cfg").exists()


def _files_below(place: Path) -> dict[str, Path]:
    found = {str(one.relative_to(place)): one for one in sorted(place.rglob("*")) if one.is_file()}
    if "conversion.json" in found:  # variants: what they were made of stays
        return {name: one for name, one in found.items() if one.parent == place and one.suffix in _OF_VARIANTS}
    return found


def _shards(place: Path) -> list[Path]:
    """The files of a set of TFRecords, and its description; none if it is not complete, which its reader reports."""
    try:
        shards = find_shards(place).files
    except EdgetfError:
        return []
    beside = {place.parent / f"{_set_of(one.name)}.json" for one in shards}
    return [*shards, *sorted(one for one in beside if one.is_file())]


def _set_of(shard: str) -> str:
    return re.sub(r"-\d{5}-of-\d{5}(?=\.tfrecord)", "", shard)


def file_of(root: Root, name: str) -> Path:
    """The path of one of its files at the driver."""
    return Path(root.path) if name == "." else Path(root.path, name)


def is_document(path: Path) -> bool:
    """Whether it is, by its name, a document of edgetf with paths in it."""
    return path.name in _DOCUMENTS
