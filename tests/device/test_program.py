"""Files that a user may have downloaded instead of benchmark_model, and the doctor's messages on them."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

from edgetf.device.doctor import diagnose
from edgetf.device.facts import Facts
from edgetf.device.lacking import refuse_unready
from edgetf.device.program import why_not
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.errors import Cause
from tests.device.failing import failing

ARM, X86_64, ARM64, I386, RISCV = 0x28, 0x3E, 0xB7, 0x03, 0xF3


def _elf(machine: int, wide: bool = True, kind: int = 3, entry: int = 0x1000, order: int = 1) -> bytes:
    """An ELF file that is nothing but its header and one program header."""
    ident = b"\x7fELF" + bytes([2 if wide else 1, order, 1]) + bytes(9)
    head, each = (64, 56) if wide else (52, 32)
    form = "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH"
    return ident + struct.pack(form, kind, machine, 1, entry, head, 0, 0, head, each, 1, 0, 0, 0) + bytes(each)


def _zip(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


WRONG = {
    "app": (_zip("AndroidManifest.xml", "classes.dex"), "an Android app (.apk), not a program"),
    "zip": (_zip("benchmark_model"), "a zip archive: unpack it"),
    "page": (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html>", "a web page (HTML), saved in the place of the file"),
    "upper page": (b"  <HTML><HEAD>", "a web page (HTML)"),
    "answer": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "an XML file"),
    "empty": (b"", "an empty file"),
    "text": ("Übersicht: not found\n".encode(), "a text file without #!"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), "a gzip archive"),
    "tar": (b"benchmark_model".ljust(257, b"\0") + b"ustar\x0000" + bytes(300), "a tar archive"),
    "windows": (b"MZ\x90\0" + bytes(60), "a program for Windows"),
    "mac": (b"\xcf\xfa\xed\xfe" + bytes(60), "a program for macOS"),
    "model": (b"\x1c\0\0\0TFL3" + bytes(60), "a TFLite model"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "noise": (bytes(range(128, 256)) * 4, "a file of a kind that is not known"),
    "for x86-64": (_elf(X86_64), "built for x86_64, the phone is aarch64"),
    "for x86": (_elf(I386, wide=False), "built for i386, the phone is aarch64"),
    "for x32": (_elf(X86_64, wide=False), "built for x32, the phone is aarch64"),
    "for RISC-V": (_elf(RISCV), "built for riscv64, the phone is aarch64"),
    "for something else": (_elf(0x2A), "built for machine 42 of the ELF format"),
    "big-endian": (_elf(ARM64, order=2), "big-endian"),
    "library": (_elf(ARM64, entry=0), "a library or an object file"),
    "object file": (_elf(ARM64, kind=1), "a library or an object file"),
    "half a head": (_elf(ARM64)[:30], "cut short"),
    "half a file": (_elf(ARM64)[:70], "cut short"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_a_program_for_the_phone_blocks_and_is_named(what: str, tmp_path: Path) -> None:
    content, problem = WRONG[what]
    file = tmp_path / "android_aarch64_benchmark_model"
    file.write_bytes(content)
    settings = DeviceSettings(Kind.ADB, benchmark_model=str(file))
    [finding] = diagnose(Facts(architecture="aarch64"), settings)
    assert finding.blocks
    assert problem in finding.problem
    assert finding.problem.startswith("android_aarch64_benchmark_model is ")
    with failing(Cause.UNFIT, match="phone cannot run variants: android_aarch64_benchmark_model is "):
        refuse_unready("phone", [finding])


@pytest.mark.parametrize(
    ("content", "architecture"),
    [
        (_elf(ARM64), "aarch64"),
        (_elf(ARM64, kind=2), "aarch64"),
        (_elf(ARM, wide=False), "aarch64"),
        (_elf(ARM, wide=False), "armv7l"),
        (_elf(ARM, wide=False), "armv8l"),
        (_elf(X86_64), "x86_64"),
        (_elf(I386, wide=False), "x86_64"),
        (_elf(RISCV), "riscv64"),
        (_elf(ARM64), ""),  # a phone that is not there
        (_elf(ARM64), "unheard-of"),
        (b"#!/system/bin/sh\n", "aarch64"),
    ],
)
def test_a_program_for_the_phone_is_accepted(content: bytes, architecture: str, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(content)
    assert why_not(tmp_path / "tool", architecture) == ""


def test_a_phone_without_32_bit_programs_is_recognized_by_its_abis(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(_elf(ARM, wide=False))
    assert why_not(tmp_path / "tool", "aarch64", "arm64-v8a,armeabi-v7a,armeabi") == ""
    assert "32-bit arm, which this phone does not run (arm64-v8a)" in why_not(tmp_path / "tool", "aarch64", "arm64-v8a")


def test_a_64_bit_program_is_not_for_a_32_bit_system_on_a_64_bit_kernel(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(_elf(ARM64))
    assert why_not(tmp_path / "tool", "armv8l") == "is built for aarch64, the phone is armv8l"
    abis = "armeabi-v7a,armeabi"  # the kernel reports what it is itself
    assert (
        why_not(tmp_path / "tool", "aarch64", abis) == f"is built for aarch64, which this phone does not run ({abis})"
    )
    assert why_not(tmp_path / "tool", "aarch64", "arm64-v8a") == ""
    assert why_not(tmp_path / "tool", "aarch64", "an ABI that is not known") == ""


def test_a_path_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    assert why_not(tmp_path, "aarch64").startswith("cannot be read: ")
