"""Rows of the table of schemes that are not there yet, made both ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgetf.conversion.engine import Engines, Observed
from edgetf.conversion.ranges import Floats
from edgetf.conversion.request import Engine
from edgetf.conversion.savedmodel import fix_shapes, read_source, save_with_shapes
from edgetf.flatbuffer import builtin_code, names_of, unpack
from edgetf.results import Calibration
from edgetf.samples import Array, load_samples
from edgetf.schemes import SCHEMES, Scheme
from tests.conftest import Small

CALIBRATED = [row for row in SCHEMES.values() if row.needs_samples and row.io == "float32"]


@pytest.fixture
def engines(small: Small, tmp_path: Path) -> Engines:
    source = fix_shapes(read_source(small.saved_model, None), {})
    samples = load_samples(small.samples, source.inputs)
    observed = Observed(samples, Calibration(samples.used(), len(samples), 0))
    return Engines(save_with_shapes(source, tmp_path / "fixed"), source, observed, False, lambda done, of: None)


@pytest.mark.parametrize("why_official", [None, "the test asks for it"])
@pytest.mark.parametrize("row", CALIBRATED, ids=[row.name for row in CALIBRATED])
def test_inputs_and_outputs_may_have_the_dtype_of_the_activations(
    row: Scheme, why_official: str | None, engines: Engines, small: Small
) -> None:
    new = replace(row, name="new", io=row.activations)
    assert engines.why_official(new) is None
    made, known = (engines.make(scheme, why_official) for scheme in (new, row))
    assert made.engine is (Engine.FAST if why_official is None else Engine.OFFICIAL)
    images = np.load(small.samples)["image"]
    (found, dtypes, step), (expected, floats, _) = (_run(one.content, images) for one in (made, known))
    assert dtypes == (new.io, new.io)
    assert floats == ("float32", "float32")
    assert np.abs(found - expected).max() <= 2.01 * step  # the rounding of an input may move a sum across a step


def test_uint8_io_is_what_the_official_converter_makes_and_int8_with_other_ends(engines: Engines, small: Small) -> None:
    row = SCHEMES["uint8-io"]
    made, official = (engines.make(row, why) for why in (None, "the test asks for it"))
    int8 = engines.make(SCHEMES["int8-io"], None)
    assert _operations(made.content) == _operations(official.content)
    assert _operations(made.content)[0] == ("QUANTIZE", 1, "UINT8", "INT8")
    assert _operations(made.content)[-1] == ("QUANTIZE", 1, "INT8", "UINT8")
    images = np.load(small.samples)["image"]
    (found, dtypes, step), (expected, _, _) = (_run(one.content, images) for one in (made, official))
    assert dtypes == ("uint8", "uint8")
    assert np.abs(found - expected).max() <= 1.01 * step  # its ranges are chosen, those of the official one min-max
    np.testing.assert_array_equal(found, _run(int8.content, images)[0])  # 128 more on both sides


def _operations(content: bytes) -> list[tuple[str, int, str, str]]:
    """Kind, version, and the dtypes of the first input and output of each operation."""
    model, schema = unpack(content)
    kinds, types = names_of(schema.BuiltinOperator), names_of(schema.TensorType)
    graph = model.subgraphs[0]

    def dtype(k: int) -> str:
        return types[graph.tensors[k].type]

    return [
        (
            kinds[builtin_code(model, op)],
            model.operatorCodes[op.opcodeIndex].version,
            dtype(op.inputs[0]),
            dtype(op.outputs[0]),
        )
        for op in graph.operators
    ]


def _run(content: bytes, images: Array) -> tuple[Floats, tuple[str, str], float]:
    """The outputs in floats, the dtypes of input and output, and the step of the output."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    [given], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero), (step, middle) = given["quantization"], result["quantization"]

    def outputs() -> Iterator[Array]:
        for image in images:
            stored = image[None]
            if scale:
                limits = np.iinfo(given["dtype"])
                stored = np.clip(np.rint(stored / scale) + zero, limits.min, limits.max).astype(given["dtype"])
            interpreter.set_tensor(given["index"], stored)
            interpreter.invoke()
            value = interpreter.get_tensor(result["index"])
            yield (value.astype(np.float32) - middle) * step if step else value

    return np.stack(list(outputs())), (given["dtype"].__name__, result["dtype"].__name__), step
