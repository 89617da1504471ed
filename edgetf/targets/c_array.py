"""A variant as C++ source, for those who compile it into their firmware. In: its bytes. Out: a header and a source.

The array is aligned to 16 bytes, as TFLite for microcontrollers requires, and is constant, so that it stays in flash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgetf import files
from edgetf.errors import EdgetfError, clean
from edgetf.flatbuffer import Contents, TensorInfo, parse_contents

_A_LINE = 12  # bytes
_SUFFIXES = (".cc", ".cpp", ".cxx")
# of C++20; `main` is a function
_TAKEN = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class compl
    concept const consteval constexpr constinit const_cast continue co_await co_return co_yield decltype default delete
    do double dynamic_cast else enum explicit export extern false float for friend goto if inline int long main mutable
    namespace new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast
    requires return short signed sizeof static static_assert static_cast struct switch template this thread_local throw
    true try typedef typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq
"""


@dataclass(frozen=True)
class CArray:
    """A source and its header, and the name of the array in them."""

    source: Path
    header: Path
    name: str

    @classmethod
    def at(cls, path: Path) -> CArray:
        """The files for the source at `path`, such as `model.cc`. Raises EdgetfError for another suffix."""
        if path.suffix not in _SUFFIXES:
            raise EdgetfError(f"{path} is not a C++ source", f"give a file with the suffix {' or '.join(_SUFFIXES)}")
        name = re.sub(r"\W", "_", path.stem, flags=re.ASCII)
        usable = re.match("[A-Za-z]", name) and name not in _TAKEN.split() and "__" not in name
        return cls(path, path.with_suffix(".h"), name if usable else re.sub("_+", "_", f"model_{name}"))

    def refuse_output(self, force: bool) -> None:
        """Raise EdgetfError if one of the files cannot be written, or exists and is not to be replaced."""
        for path in (self.source, self.header):
            files.refuse_output(path, force)

    def write(self, content: bytes, remarks: Sequence[str]) -> None:
        """Write a variant's `content` with `remarks`, lines on where it comes from."""
        contents = parse_contents(self.source.name, content)
        files.write_whole(self.header, _header(self, contents, remarks).encode())
        files.write_whole(self.source, _source(self, content).encode())


def _header(array: CArray, contents: Contents, remarks: Sequence[str]) -> str:
    guard = f"EDGETF_{array.name.upper()}_H_"
    comments = [
        *remarks,
        f"sha256: {contents.sha256}",
        *(f"input  {_describe(one)}" for one in contents.inputs),
        *(f"output {_describe(one)}" for one in contents.outputs),
        f"operations: {', '.join(contents.counts())}",
    ]
    return "\n".join(
        [
            *(f"// {_comment(one)}" for one in comments),
            f"#ifndef {guard}",
            f"#define {guard}",
            "",
            f"extern const unsigned char {array.name}[];",
            f"extern const unsigned int {array.name}_len;",
            "",
            f"#endif  // {guard}",
            "",
        ]
    )


def _source(array: CArray, content: bytes) -> str:
    rows = (content[at : at + _A_LINE] for at in range(0, len(content), _A_LINE))
    numbers = "\n".join("    " + " ".join(f"0x{byte:02x}," for byte in row) for row in rows)
    return (
        f'#include "{array.header.name}"\n\n'
        f"alignas(16) const unsigned char {array.name}[] = {{\n{numbers}\n}};\n"
        f"const unsigned int {array.name}_len = {len(content)};\n"
    )


def _describe(tensor: TensorInfo) -> str:
    shape = ", ".join("any" if axis is None else str(axis) for axis in tensor.shape)
    described = f"{tensor.name}: {tensor.dtype} [{shape}]"
    q = tensor.quantization
    return described if q is None else f"{described}, value = {q.scale:.9g} * (stored - {q.zero_point})"


def _comment(text: str) -> str:
    """A line of a comment: nothing in it ends the line, or continues it."""
    return clean(text).encode("ascii", "replace").decode().replace("\\", "/").replace("??/", "?/")
