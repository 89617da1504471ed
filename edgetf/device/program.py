"""A file that is to be a program for a phone: what it is, by its first bytes, and why it would not run there.

In: `benchmark_model` as the user downloaded it. Its page lists an app (.apk) first, and a browser saves a page if a
link has moved.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

_HEAD = 4096
_RUNS = {  # by `uname -m`: what a system of that kind runs; "armv8l" is a 64-bit kernel with a 32-bit system
    "aarch64": ("aarch64", "arm"),
    "arm64": ("aarch64", "arm"),
    "armv8l": ("arm",),
    "armv7l": ("arm",),
    "arm": ("arm",),
    "x86_64": ("x86_64", "i386"),
    "i686": ("i386",),
    "i386": ("i386",),
    "riscv64": ("riscv64",),
}
# e_machine and EI_CLASS of the ELF format
_MACHINES = {
    (0x03, 1): "i386",
    (0x28, 1): "arm",
    (0x3E, 2): "x86_64",
    (0xB7, 2): "aarch64",
    (0xF3, 2): "riscv64",
    (0x3E, 1): "x32",
}
_ABIS = {  # the names that Android has for them
    "arm": {"armeabi", "armeabi-v7a"},
    "aarch64": {"arm64-v8a"},
    "i386": {"x86"},
    "x86_64": {"x86_64"},
    "riscv64": {"riscv64"},
}
_EXECUTABLE, _SHARED = 2, 3  # e_type: a program, or a program that is loaded anywhere (or a library)
_MAGIC = {
    b"\x1f\x8b": "a gzip archive: unpack it",
    b"BZh": "a bzip2 archive: unpack it",
    b"\xfd7zXZ": "an xz archive: unpack it",
    b"MZ": "a program for Windows",
    b"\xcf\xfa\xed\xfe": "a program for macOS",
    b"\xce\xfa\xed\xfe": "a program for macOS",
    b"\xca\xfe\xba\xbe": "a program for macOS, or Java's",
    b"dex\n": "Android bytecode",
    b"!<arch>": "a static library",
    b"%PDF": "a PDF",
    b"version https://git-lfs": "a pointer of Git LFS: git lfs pull",
}


def why_not(path: Path, architecture: str, abis: str = "") -> str:
    """Why the file is not a program that a phone of this architecture (`uname -m`, may be empty) runs, or "".

    `abis` is the list that Android reports (`ro.product.cpu.abilist`): new phones do not run 32-bit programs, and some
    with a 64-bit kernel run nothing else.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        size = path.stat().st_size
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if head[:2] == b"#!":
        return ""
    if head[:4] == b"\x7fELF":
        return _why_not_elf(head, size, architecture, abis)
    return f"is {_describe(path, head)}, not a program for Android"


def _why_not_elf(head: bytes, size: int, architecture: str, abis: str) -> str:
    wide, order = head[4:5] == b"\x02", head[5:6]
    form = "HHIQQQIHHHHH" if wide else "HHIIIIIHHHHH"
    if order == b"\x02":
        return "is built for a big-endian processor, which no phone has"
    if len(head) < 16 + struct.calcsize("<" + form):
        return "is cut short: download it again"
    kind, machine, _, entry, programs, sections, _, _, program_size, count, section_size, section_count = (
        struct.unpack_from("<" + form, head, 16)
    )
    if max(programs + program_size * count, sections + section_size * section_count) > size:
        return "is cut short: download it again"
    if kind not in (_EXECUTABLE, _SHARED) or entry == 0:
        return "is a library or an object file, not a program"
    built_for = _MACHINES.get((machine, 2 if wide else 1), f"machine {machine} of the ELF format")
    runs = _RUNS.get(architecture)
    if runs is not None and built_for not in runs:
        return f"is built for {built_for}, the phone is {architecture}"
    listed = {abi.strip() for abi in abis.split(",")}
    known = {abi for names in _ABIS.values() for abi in names} & listed
    if known and known.isdisjoint(_ABIS.get(built_for, known)):
        name = "32-bit arm" if built_for == "arm" else built_for
        return f"is built for {name}, which this phone does not run ({abis})"
    return ""


def _describe(path: Path, head: bytes) -> str:
    if not head:
        return "an empty file"
    if head[:2] == b"PK":
        return "an Android app (.apk)" if _is_app(path) else "a zip archive: unpack it"
    known = next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None)
    if known is not None:
        return known
    if head[4:8] == b"TFL3":
        return "a TFLite model"
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return "a web page (HTML), saved in the place of the file"
    if text.startswith(b"<"):
        return "an XML file"
    try:
        head[: head.rfind(b"\n") + 1 or None].decode()
    except UnicodeDecodeError:
        return "a file of a kind that is not known"
    return "a file of a kind that is not known" if b"\0" in head else "a text file without #!"


def _is_app(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "AndroidManifest.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return path.suffix == ".apk"
