"""The user's cache: it gives objects without a path a file or folder named by the digest of their content.

It is `$EDGETF_CACHE`, or `edgetf` in `$XDG_CACHE_HOME` or `~/.cache`. Everything in it can be deleted.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgetf import __version__
from edgetf.files import sha256_file, sha256_tree
from edgetf.owned import cache_home, owned, sweep
from edgetf.system import explained, naming

_NEW = ".edgetf-new-"
_DIGITS = 16  # digits of a digest in a name
_DECISIVE = ("tensorflow", "ai-edge-litert")  # packages whose version affects results


def key_of(*facts: Any) -> str:
    """A short digest of facts that JSON can hold (others by their `str`), and of versions that affect results."""
    versions = [__version__, *map(version_of, _DECISIVE)]
    text = json.dumps([versions, *facts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def facts(options: Any, **more: Any) -> dict[str, Any]:
    """The facts that affect results: the options except `force`, and `more`. Paths are replaced by content digests."""
    plain = {field.name: getattr(options, field.name) for field in fields(options) if field.name != "force"} | more
    return {name: _content(value) for name, value in plain.items()}


def _content(value: Any) -> Any:
    path = Path(value) if isinstance(value, (str, Path)) and str(value) else None
    try:
        if path is not None and path.exists():
            return digest_of(path)
    except OSError:  # a text that cannot be a file name
        pass
    return value


def digest_of(path: Path) -> str:
    """The digest of a file's content, or of all files in a folder."""
    return sha256_tree(path) if path.is_dir() else sha256_file(path)


def folder_for(verb: str, *facts: Any) -> Path:
    """The folder for results of `verb` (such as "convert") on `facts`, the same for the same facts."""
    return cache_home() / verb / key_of(*facts)


def is_settled(source: Any) -> bool:
    """Whether `facts` can include a source's content: not for a function, a data set, or a folder with options."""
    return source is None or os.path.exists(source)  # noqa: PTH110  # False for a text that cannot be a file name


def store(kind: str, name: str, write: Callable[[Path], None], digest: Callable[[Path], str]) -> Path:
    """The path `kind/DIGEST/name` in the cache; `write` creates it, and `digest` computes the digest of its content.

    An existing file or folder with that content is kept, and remains of killed processes are removed. Raises
    EdgetfError if the cache cannot be written.
    """
    home = cache_home() / kind
    with explained(), naming(home):
        home.mkdir(parents=True, exist_ok=True)
        sweep(home, _NEW)
        with owned(home, _NEW) as work:
            made = work / "made"
            made.mkdir()
            write(made / name)
            place = home / digest(made / name)[:_DIGITS]
            if not (place / name).exists():
                shutil.rmtree(place, ignore_errors=True)
                made.replace(place)
            return place / name


@functools.cache
def version_of(package: str) -> str:
    """The version of an installed package; empty if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # imports the package email

    try:
        return version(package)
    except PackageNotFoundError:
        return ""
