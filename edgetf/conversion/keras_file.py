"""A `.keras` or `.h5` file before it is loaded: which Keras generation it needs, and whether it contains code.

Keras 3 and Keras 2 (`tf_keras`) cannot share a process: TF_USE_LEGACY_KERAS must be set before TensorFlow is
imported. Files are read in a child process (`keras_config`); `keras_export` loads and exports them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgetf.conversion.keras_config import RESAVE, Header
from edgetf.conversion.keras_findings import Finding
from edgetf.conversion.keras_inputs import InputLayer
from edgetf.errors import EdgetfError
from edgetf.events import Answer, ignore
from edgetf.process import HungError, run_child

SUFFIXES = (".keras", ".h5", ".hdf5")
_IDLE_S = 30.0
_TRUST = "if you trust its source, give --trust; the code can do whatever you can"


def is_keras_file(path: Path) -> bool:
    """Whether the path names a Keras file rather than a SavedModel."""
    return path.suffix in SUFFIXES and not path.is_dir()


def read_header(path: Path) -> Header:
    """The file's Header, read in a child process.

    Raises EdgetfError for a file that is missing or damaged, or holds weights only.
    """
    fields = _read("header", path)["header"]
    findings = tuple(Finding(**finding) for finding in fields["findings"])
    inputs = tuple(InputLayer(name, tuple(shape), dtype) for name, shape, dtype in fields["inputs"])
    return Header(**{**fields, "findings": findings, "inputs": inputs})


def read_digest(path: Path) -> str:
    """A digest of the file's content, which changes with the model. Raises as `read_header` does."""
    return str(_read("digest", path)["digest"])


def _read(what: str, path: Path) -> Mapping[str, Any]:
    """The answer that the child process sends: `what` is "header" or "digest"."""
    if not path.is_file():
        raise EdgetfError(f"{path} does not exist", "give a SavedModel folder, a .keras or an .h5 file")
    stat = path.stat()
    return _read_once(what, path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _read_once(what: str, path: Path, mtime_ns: int, size: int) -> Mapping[str, Any]:
    found: list[Answer] = []

    try:
        command = [sys.executable, "-m", "edgetf.conversion.keras_config", what, str(path)]
        ended = run_child(command, ignore, on_answer=found.append, idle_s=_IDLE_S + size / 20e6)
    except HungError as error:
        raise EdgetfError(f"{path} is damaged: reading it did not end", RESAVE) from error
    if not found:
        raise EdgetfError(f"{path} is damaged: reading it {ended.how}", ended.last_line or RESAVE)
    return found[0].fields


def keras_generation(path: Path) -> int:
    """2 or 3: the Keras generation that wrote the file. Raises EdgetfError as `read_header` does."""
    return read_header(path).generation


def is_trained_for_int8(path: Path) -> bool:
    """Whether the file holds tfmot's wrappers for quantization-aware training (which load from `.h5` only)."""
    return path.suffix != ".keras" and read_header(path).int8


def environment(generation: int) -> dict[str, str]:
    """Environment variables for a process that loads a file of this generation."""
    # a user may have configured Keras 3 for JAX or PyTorch, in the environment or in ~/.keras/keras.json
    return {"TF_USE_LEGACY_KERAS": "1" if generation == 2 else "0", "KERAS_BACKEND": "tensorflow"}


def refuse_code(path: Path, header: Header, trust: bool, classes: Sequence[str] = ()) -> None:
    """Raise EdgetfError for a file that contains code, or imports modules that are neither Keras's nor `classes`."""
    for finding in () if trust else header.findings:
        if not finding.module or finding.module not in classes:
            raise EdgetfError(f"{path} contains {finding.what}, which loading it would run", _TRUST)
