"""Paths in documents that travel between machines: what lay at one place lies at another there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.plans.facts import files_of
from edgetf.plans.fleet.messages import Root
from edgetf.plans.store import DOCUMENTS

_OF_VARIANTS = (".tflite", ".json")
_DOCUMENTS = {*DOCUMENTS.values(), "ranges.json"}


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
    """Paths may stand in a source: "folder:/a/b". The longest that fits counts."""
    for old in sorted(places, key=len, reverse=True):
        found = re.search(rf"(^|:){re.escape(old)}(?=$|/)", text)
        if found is not None:
            return text[: found.start() + len(found.group(1))] + places[old] + text[found.end() :]
    return text


def root_of(source: str) -> Root | None:
    """What has to be sent of a path or a source; None if it is not of files, such as a data set by name."""
    path = next((one for one in (source, source.partition(":")[2]) if one and os.path.exists(one)), None)  # noqa: PTH110
    if path is None:
        return None
    place = Path(path)
    if place.is_dir():
        found = {str(one.relative_to(place)): one for one in sorted(place.rglob("*")) if one.is_file()}
        if "conversion.json" in found:  # variants: what they were made of stays
            found = {name: one for name, one in found.items() if one.parent == place and one.suffix in _OF_VARIANTS}
        return Root(path, place.name, {name: files.sha256_file(one) for name, one in found.items()})
    shards = files_of(place)
    if shards == [place]:
        return Root(path, place.name, {".": files.sha256_file(place)})
    return Root(str(place.parent), place.parent.name, {one.name: files.sha256_file(one) for one in shards})


def file_of(root: Root, name: str) -> Path:
    """The path of one of its files at the driver."""
    return Path(root.path) if name == "." else Path(root.path, name)


def is_document(path: Path) -> bool:
    """Whether it is, by its name, a document of edgetf with paths in it."""
    return path.name in _DOCUMENTS
