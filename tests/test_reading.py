"""What a user reads about a damaged file: no message that a library has for its programmers."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from edgetf.errors import EdgetfError
from edgetf.reading import parsing


def _nested() -> object:
    return json.loads(100_000 * "[")


@pytest.mark.parametrize(
    ("parse", "reason"),
    [
        (lambda: struct.unpack_from("<I", b"12", 4), "a part of it is missing"),
        (lambda: b""[0], "a part of it is missing"),
        (lambda: next(iter(())), "a part of it is missing"),
        (lambda: int(None), "a value in it is impossible there"),  # type: ignore[call-overload]
        (lambda: None.name, "a value in it is impossible there"),  # type: ignore[attr-defined]
        (lambda: int(float("inf")), "a value in it is impossible there"),
        (lambda: b"\xff".decode(), "a text in it is not UTF-8"),
        (lambda: zlib.decompress(b"none"), "its compressed data is damaged"),
        (_nested, "it is nested too deeply"),
        (lambda: dict[str, str]()["x"], "'x' is missing"),
        (lambda: json.loads("{"), "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (lambda: np.frombuffer(b"1", np.float32, 4), "buffer is smaller than requested size"),
    ],
)
def test_the_reason_is_for_the_user_of_the_file(parse: Callable[[], object], reason: str) -> None:
    with pytest.raises(EdgetfError) as caught, parsing("it.bin", "a file", "hint"):
        parse()
    assert caught.value.message == f"it.bin is not a file, or is damaged: {reason}"
