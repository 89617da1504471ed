"""Layers that are kept in float in a quantized variant."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetf.conversion.convert import ConvertOptions, convert
from edgetf.conversion.engine import Made
from edgetf.conversion.keep import keep_float
from edgetf.conversion.request import Engine
from edgetf.conversion.skeleton import BASE
from edgetf.conversion.splice import Splicer
from edgetf.errors import EdgetfError
from edgetf.results import read_conversion
from edgetf.schemes import SCHEMES
from tests.conftest import Small, ignore


@pytest.fixture
def files(converted: Path) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in converted.glob("*.tflite")}


def _made(content: bytes) -> Made:
    return Made(content, Engine.FAST, None, ())


def test_matching_layers_are_those_of_float32_and_the_others_are_unchanged(
    files: dict[str, bytes], converted: Path
) -> None:
    names = read_conversion(converted).layers
    kept = keep_float(_made(files["int8"]), files[BASE], SCHEMES["int8"], ["dense*"], names)
    assert kept.notes == ("kept in float32: dense and dense_1",)
    splicer = Splicer({BASE: files[BASE], "int8": files["int8"], "kept": kept.content})
    for k, operation in enumerate(splicer.operations):
        like = BASE if operation.kind in ("FULLY_CONNECTED", "SOFTMAX") else "int8"
        assert splicer.same("kept", like, k), operation


def test_a_name_that_no_layer_has_is_refused_with_the_nearest(files: dict[str, bytes], converted: Path) -> None:
    names = read_conversion(converted).layers
    with pytest.raises(EdgetfError, match="no layer 'dens'") as raised:
        keep_float(_made(files["int8"]), files[BASE], SCHEMES["int8"], ["dens"], names)
    assert "did you mean 'dense'" in raised.value.hint


def test_a_conversion_with_a_name_that_no_layer_has_ends_with_the_nearest(small: Small, tmp_path: Path) -> None:
    options = ConvertOptions(schemes=("int8",), samples=small.samples, keep_float=("dens",))
    with pytest.raises(EdgetfError, match="no layer 'dens'") as raised:
        convert(small.saved_model, tmp_path / "out", options, ignore)
    assert "did you mean 'dense'" in raised.value.hint
    assert not (tmp_path / "out").exists()


def test_float_schemes_are_unchanged_and_integer_inputs_are_refused(files: dict[str, bytes]) -> None:
    made = _made(files["float16"])
    assert keep_float(made, files[BASE], SCHEMES["float16"], ["dense"], {}) is made
    with pytest.raises(EdgetfError, match="integer inputs and outputs"):
        keep_float(_made(files["int8-io"]), files[BASE], SCHEMES["int8-io"], ["dense"], {})


def test_a_layer_that_is_equalized_with_others_stays_in_float_with_them(equalized: Path) -> None:
    names = read_conversion(equalized).layers
    content, exact = ((equalized / f"{name}.tflite").read_bytes() for name in ("int8", BASE))
    kept = keep_float(_made(content), exact, SCHEMES["int8"], ["second"], names)
    [note] = kept.notes
    assert note.startswith("kept in float32: second, with what is equalized with them: first, ")
    splicer = Splicer({BASE: exact, "int8": content, "kept": kept.content})
    [group] = splicer.groups["int8"]
    assert splicer.groups["kept"] == ()
    assert all(splicer.same("kept", BASE if k in group else "int8", k) for k in range(len(splicer.operations)))
