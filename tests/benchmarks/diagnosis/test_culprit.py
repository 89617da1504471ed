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
from edgetf.benchmarks.diagnosis.culprit import cut
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
