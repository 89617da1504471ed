"""A variant as a C++ array: what the compiler makes of it is the file, byte for byte."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgetf.errors import EdgetfError
from edgetf.files import sha256_file
from edgetf.targets.c_array import CArray
from tests.targets.made import write_int8

MAIN = """
#include <cstdint>
#include <cstdio>
#include "{header}"
int main() {{
  if ((std::uintptr_t){name} % 16) return 1;
  return std::fwrite({name}, 1, {name}_len, stdout) == {name}_len ? 0 : 2;
}}
"""


def test_the_compiled_array_is_the_file_and_its_header_says_where_it_is_from(tmp_path: Path) -> None:
    variant = write_int8(tmp_path / "int8.tflite")
    array = CArray.at(tmp_path / "my-model.cc")
    array.write(variant.read_bytes(), ["int8, pass: a reason that ends with a backslash \\", "new\nline??/"])
    header = array.header.read_text()
    assert f"// sha256: {sha256_file(variant)}" in header
    assert "// input  x: int8 [1, 16], value = 0.0500000007 * (stored - 0)" in header
    assert "// output p: int8 [1, 4], value = 0.00390625 * (stored - -128)" in header
    assert array.name == "my_model"
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    (tmp_path / "main.cc").write_text(MAIN.format(header=array.header.name, name=array.name))
    strict = [compiler, "-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror", "main.cc", "my-model.cc", "-o", "it"]
    built = subprocess.run(strict, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert subprocess.run(["./it"], cwd=tmp_path, capture_output=True, check=True).stdout == variant.read_bytes()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        *(("model.cc", "model"), ("8bit.cc", "model_8bit"), ("int.cpp", "model_int"), ("ü.cc", "model_")),
        *(("main.cc", "model_main"), ("nullptr.cc", "model_nullptr"), ("a___b.cc", "model_a_b")),
    ],
)
def test_the_array_has_a_name_that_c_takes(file: str, name: str) -> None:
    assert CArray.at(Path(file)).name == name


def test_what_is_no_source_or_would_be_lost_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="is not a C\\+\\+ source"):
        CArray.at(Path("model.h"))
    (tmp_path / "model.h").write_text("mine")
    with pytest.raises(EdgetfError, match="already exists"):
        CArray.at(tmp_path / "model.cc").refuse_output(False)
    with pytest.raises(EdgetfError, match="there is no folder") as caught:
        CArray.at(tmp_path / "missing" / "model.cc").refuse_output(False)
    assert "model.cc" in caught.value.message  # the file that was asked for, and not its header
