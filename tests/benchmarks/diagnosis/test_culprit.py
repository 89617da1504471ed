"""The first operation that differs on a delegate, found with a delegate whose softmax is wrong."""

from __future__ import annotations

import copy
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgetf.api.benchmark import benchmark
from edgetf.benchmarks.diagnosis.culprit import cut, first_different, usable_rows
from edgetf.benchmarks.judging.covered import culprits_in_words
from edgetf.benchmarks.report.render import render
from edgetf.flatbuffer import pack, unpack
from edgetf.results import Verdict, read_benchmark
from tests.attacks.kit import NONE, WEIGHTS, answers, inputs, write_model, write_reference, write_samples
from tests.device.test_external import COMPILER, SOURCE


@pytest.fixture
def longer(tmp_path: Path) -> Path:
    """FULLY_CONNECTED, SOFTMAX, and two more that leave the answers as they are."""
    path = write_model(tmp_path / "mine.tflite", WEIGHTS, NONE)
    model, _ = unpack(path.read_bytes())
    graph = model.subgraphs[0]
    made = schema.BufferT()
    made.data = np.frombuffer(np.eye(4, dtype=np.float32).tobytes(), np.uint8)
    model.buffers.append(made)
    weights = copy.copy(graph.tensors[3])
    weights.name, weights.shape, weights.buffer = b"eye", [4, 4], len(model.buffers) - 1
    graph.tensors.append(weights)
    eye, last = len(graph.tensors) - 1, int(graph.outputs[0])
    output = copy.copy(graph.tensors[last])
    graph.tensors[last].name = b"softmax"
    for name in (b"first", output.name):
        graph.tensors.append(copy.copy(output))
        graph.tensors[-1].name = name
        operator = copy.copy(graph.operators[0])
        operator.inputs, operator.outputs = [last, eye, 4], [len(graph.tensors) - 1]
        graph.operators.append(operator)
        last = len(graph.tensors) - 1
    graph.outputs = [last]
    for one in model.signatureDefs or []:
        one.outputs[0].tensorIndex = last
    path.write_bytes(pack(model))
    return path


def test_a_cut_is_the_graph_up_to_an_operation(longer: Path) -> None:
    found = []
    for operation in range(4):
        run = Interpreter(model_content=cut(longer.read_bytes(), operation)).get_signature_runner()
        found += run(x=inputs(1)).values()
    np.testing.assert_allclose(found[0], inputs(1) @ WEIGHTS, rtol=1e-5)
    for values in found[1:]:
        np.testing.assert_allclose(values, answers(inputs(1), WEIGHTS, NONE), rtol=1e-5)


def branches(tmp_path: Path, joined: bool, softmax: int = 0) -> bytes:
    """Five branches of FULLY_CONNECTED, the one of that number with a SOFTMAX; all are outputs, or joined by ADD_N."""
    model, _ = unpack(write_model(tmp_path / "branches.tflite", WEIGHTS, NONE).read_bytes())
    graph = model.subgraphs[0]
    dense, soft = graph.operators
    graph.operators, ends = [], []

    def add(operator: schema.OperatorT, name: str, inputs: list[int]) -> int:
        graph.tensors.append(copy.copy(graph.tensors[1]))
        graph.tensors[-1].name = name.encode()
        made = copy.copy(operator)
        made.inputs, made.outputs = inputs, [len(graph.tensors) - 1]
        graph.operators.append(made)
        return len(graph.tensors) - 1

    for k in range(5):
        ends.append(add(dense, f"dense-{k}", [0, 3, 4]))
        ends[-1:] = [add(soft, "softmax", ends[-1:])] if k == softmax else ends[-1:]
    graph.outputs = ends
    if joined:
        model.operatorCodes.append(schema.OperatorCodeT())
        number = schema.BuiltinOperator.ADD_N
        model.operatorCodes[-1].builtinCode = model.operatorCodes[-1].deprecatedBuiltinCode = number
        operator = schema.OperatorT()
        operator.opcodeIndex = len(model.operatorCodes) - 1
        graph.outputs = [add(operator, "sum", ends)]
    return bytes(pack(model))


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("softmax", range(5))
def test_an_operation_is_found_in_any_branch_of_a_graph(tmp_path: Path, joined: bool, softmax: int) -> None:
    content = branches(tmp_path, joined, softmax)

    def decibels(operation: int) -> float:
        model, _ = unpack(cut(content, operation))
        graph = model.subgraphs[0]
        return 1.0 if any(graph.tensors[one.outputs[0]].name == b"softmax" for one in graph.operators) else 200.0

    model, _ = unpack(content)
    assert first_different(model, decibels, 100.0) == (softmax + 1, 1.0)
    assert first_different(model, decibels, 0.5) is None


def test_an_operation_without_a_result_and_one_of_a_truth_value_are_no_cuts(longer: Path) -> None:
    model, _ = unpack(longer.read_bytes())
    graph = model.subgraphs[0]
    graph.operators.insert(1, copy.copy(graph.operators[0]))
    graph.operators[1].outputs = []
    graph.tensors[int(graph.operators[2].outputs[0])].type = schema.TensorType.BOOL
    decibels = {0: 1.0, 3: 0.0, 4: 0.0}
    assert first_different(model, decibels.__getitem__, 1.0) == (3, 0.0)


@pytest.mark.parametrize(("batch", "rows"), [(1, 16), (-1, 16), (4, 16), (10, 10), (32, 32)])
def test_samples_fill_the_batches_of_the_model(longer: Path, batch: int, rows: int) -> None:
    model, _ = unpack(cut(longer.read_bytes(), 1))
    model.subgraphs[0].tensors[int(model.subgraphs[0].inputs[0])].shapeSignature = [batch, 16]
    assert usable_rows(model, []) == rows
    assert usable_rows(model, ["x"]) == 16


@pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc): the delegate of the tests is not built")
def test_the_first_operation_that_differs_is_named_and_not_those_after_it(longer: Path, tmp_path: Path) -> None:
    library = tmp_path / "libfake.so"
    subprocess.run([str(COMPILER), "-shared", "-fPIC", str(SOURCE), "-o", str(library), "-lm"], check=True)
    x = inputs(200)
    outputs = answers(x, WEIGHTS, NONE)
    samples = write_samples(tmp_path / "samples.npz", x, outputs.argmax(axis=1))
    reference = write_reference(tmp_path / "ref", samples, outputs)
    options = {"factor": "-1"}
    bench = benchmark(
        longer, tmp_path / "b", reference=reference, delegate=str(library), delegate_option=options, blocks=2
    )
    found = bench["mine"].record
    assert found.parity is not None
    assert found.parity.verdict is Verdict.FAIL
    assert found.culprit is not None
    assert (found.culprit.kind, found.culprit.position, found.culprit.operations) == ("SOFTMAX", 2, 4)
    assert found.culprit.db < 0
    document = read_benchmark(tmp_path / "b")
    [words] = culprits_in_words(document.results)
    assert words.startswith("mine: libfake.so differs from TFLite's kernels first in SOFTMAX (operation 2 of 4, layer")
    assert "first in SOFTMAX" in render(document, tmp_path / "b")
