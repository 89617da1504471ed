"""A delegate that is a library of its own, as Edge TPU's: from its name to a delegate that the interpreter takes.

In: the file on this machine, or the name under which the loader finds it, and the options of the delegate. Out: the
delegate, and which file it is. What the loader and the delegate report is turned into one line that says what to do.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .answers import in_one_line
from .job import DelegateError

_ENTRY = "tflite_plugin_create_delegate"  # of tensorflow/lite/delegates/external/external_delegate_interface.h
_HEAD = 64  # bytes: the head of the ELF format, which is followed by more
_MACHINES = {0x03: "i386", 0x28: "32-bit arm", 0x3E: "x86_64", 0xB7: "aarch64", 0xF3: "riscv64"}  # e_machine
_NAMESPACE = 2  # RTLD_DI_LINKMAP of dlinfo(3)

# failures, with what was half made: the runtime would have the library destroy what it did not make, and may crash
_FAILED: list[Exception] = []


class _LinkMap(ctypes.Structure):
    """`link_map` of link.h, as far as the file's name."""

    _fields_ = [("address", ctypes.c_void_p), ("name", ctypes.c_char_p)]


def load_delegate(runtime: Any, name: str, options: Mapping[str, str]) -> Any:
    """The delegate of the library `name` for an interpreter of the module `runtime`.

    Raises DelegateError for what `check` does, and if the library made no delegate.
    """
    check(name)
    try:
        return runtime.load_delegate(name, dict(options))
    except (ValueError, RuntimeError) as error:
        _FAILED.append(error)
        reason = in_one_line(str(error).removeprefix(f"Failed to load delegate from {name}"))
        given = ", ".join(f"{key}={value}" for key, value in options.items()) or "none"
        why = reason or "it gave no reason; is its hardware there?"
        raise DelegateError(f"{name} made no delegate: {why} (--delegate-option: {given})") from error


def check(name: str) -> None:
    """Raise DelegateError if the library is missing, cut off, for another processor or not a delegate."""
    if "/" in name:
        _check_file(Path(name))
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        hint = "" if "/" in name else "; give its path, or install it where the loader looks"
        raise DelegateError(f"the delegate cannot be loaded: {in_one_line(str(error))}{hint}") from error
    if not hasattr(library, _ENTRY):
        raise DelegateError(f"{name} is not a delegate of TFLite: it lacks {_ENTRY}; give the library of the delegate")


def digest_of(name: str) -> str | None:
    """The SHA-256 of the library's file, once it is loaded; None if it cannot be read."""
    try:
        return hashlib.sha256(Path(_loaded_from(name)).read_bytes()).hexdigest()
    except (OSError, AttributeError, ValueError):  # a system without dlinfo
        return None


def _loaded_from(name: str) -> str:
    """The file of a loaded library, which the loader found."""
    if "/" in name:
        return name
    found = ctypes.POINTER(_LinkMap)()
    dlinfo = ctypes.CDLL(None).dlinfo
    dlinfo.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    if dlinfo(ctypes.CDLL(name)._handle, _NAMESPACE, ctypes.byref(found)) or not found:
        raise OSError(f"the loader does not report where {name} is")
    return str((found.contents.name or b"").decode())


def _check_file(path: Path) -> None:
    """Raise DelegateError for a file that this process cannot load, as far as its first bytes show it."""
    try:
        with path.open("rb") as file:
            head, size = file.read(_HEAD), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise DelegateError(f"there is no {path} on this device: give the delegate's path there") from error
    except OSError as error:
        raise DelegateError(f"the delegate {path} cannot be read: {error.strerror}") from error
    own = _own_head()
    if own is None:
        return
    if head[:4] != b"\x7fELF" or len(head) < _HEAD:
        raise DelegateError(f"{path} is not a library (ELF): is it the delegate's .so file, and whole?")
    built_for, needed = _processor(head), _processor(own)
    if built_for != needed:
        raise DelegateError(f"{path} is built for {built_for}, Python here is {needed}: get the library for {needed}")
    if size < _end_of(head):  # the loader would die of it
        raise DelegateError(f"{path} is cut off: it has {size:,} of at least {_end_of(head):,} bytes; copy it again")


def _own_head() -> bytes | None:
    """The first bytes of this process's program: a 64-bit system may run a 32-bit Python. None if it is not ELF."""
    try:
        with open(sys.executable, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    return head if head[:4] == b"\x7fELF" and len(head) == _HEAD else None


def _end_of(head: bytes) -> int:
    """Where the table of sections ends, which linkers write last, in a file of the ELF format."""
    order = ">" if head[5] == 2 else "<"
    at, form, numbers = (0x28, "Q", 0x3A) if head[4] == 2 else (0x20, "I", 0x2E)
    (begin,) = struct.unpack_from(f"{order}{form}", head, at)
    size, count = struct.unpack_from(f"{order}2H", head, numbers)
    return int(begin + size * count)


def _processor(head: bytes) -> str:
    """What a file of the ELF format is built for."""
    order = ">" if head[5] == 2 else "<"
    (machine,) = struct.unpack_from(f"{order}H", head, 18)
    name = _MACHINES.get(machine, f"machine {machine} of the ELF format")
    bits = f"{32 * head[4]}-bit " if machine == 0x3E and head[4] == 1 else ""
    return f"{bits}{'big-endian ' if head[5] == 2 else ''}{name}"
