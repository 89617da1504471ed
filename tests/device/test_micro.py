"""The interpreter for microcontrollers as a device, without TensorFlow: models and references are made by hand."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgetf.api.benchmark import benchmark
from edgetf.api.share import report as write_report
from edgetf.benchmarks.judging.check import check
from edgetf.benchmarks.judging.gate import judge_gate, load_gate
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.device.facts import Facts
from edgetf.device.lacking import lacks_micro
from edgetf.device.micro import MicroDevice
from edgetf.device.runner.interpreter import find_runtime
from edgetf.device.runner.isolate import ChildError, Send, run_children
from edgetf.device.runner.job import Job, TimingPlan
from edgetf.errors import DeviceError, EdgetfError
from edgetf.events import Event, Note
from edgetf.flatbuffer import pack, unpack
from edgetf.results import Status, Verdict
from tests.attacks.kit import (
    NONE,
    WEIGHTS,
    answers,
    inputs,
    write_model,
    write_reference,
    write_samples,
    write_two_graphs,
)
from tests.conftest import Run, ignore

pytest.importorskip("tflite_micro")
from edgetf.device.runner import micro


def _here(task: Any) -> dict[str, Any]:
    """What a function returns in a process of its own: the interpreter prints to standard error."""

    def run(send: Send) -> dict[str, Any]:
        return {"it": task()}

    return run_children([run], lambda event: None)[0]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "mine.tflite", WEIGHTS, NONE)


@pytest.fixture
def refused(tmp_path: Path) -> Path:
    """A file that LiteRT runs, and microcontrollers do not: float16 weights that are converted in the graph."""
    made, _ = unpack(write_model(tmp_path / "half.tflite", WEIGHTS, NONE).read_bytes())
    graph = made.subgraphs[0]
    half = schema.TensorT()
    weights = graph.tensors[graph.operators[0].inputs[1]]
    half.name, half.shape, half.type, half.buffer = b"half", weights.shape, schema.TensorType.FLOAT16, weights.buffer
    buffer = made.buffers[weights.buffer]
    buffer.data = np.frombuffer(WEIGHTS.T.astype(np.float16).tobytes(), np.uint8)
    weights.buffer = 0
    graph.tensors.append(half)
    code, convert = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version, convert.opcodeIndex = 3, len(made.operatorCodes)
    convert.inputs, convert.outputs = [len(graph.tensors) - 1], [graph.operators[0].inputs[1]]
    made.operatorCodes.append(code)
    graph.operators.insert(0, convert)
    (tmp_path / "half.tflite").write_bytes(pack(made))
    return tmp_path / "half.tflite"


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    x = inputs(100)
    outputs = answers(x, WEIGHTS, NONE)
    samples = write_samples(tmp_path / "samples.npz", x, outputs.argmax(axis=1))
    return write_reference(tmp_path / "ref", samples, outputs)


def test_it_is_an_ordinary_device_with_parity_and_an_arena_and_without_times(
    model: Path, refused: Path, reference: Path, tmp_path: Path
) -> None:
    bench = benchmark([model, refused], tmp_path / "bench", reference=reference, device="micro")
    mine, half = bench["mine"].record, bench["half"].record
    assert mine.status is Status.OK
    assert mine.runtime.startswith("tflite-micro ")
    assert mine.parity is not None
    assert mine.parity.n == 100
    assert mine.parity.outputs[0].max_abs < 1e-5
    assert mine.arena_bytes is not None
    assert half.status is Status.FAILED
    assert half.error is not None
    assert "DEQUANTIZE takes int8, int16 and uint8, but no float16" in half.error.message
    for found in (mine, half):
        times = (found.latency_ms, found.end_to_end_ms, found.load_ms, found.first_ms, found.samples_per_second)
        assert times == (None,) * 5
        assert (found.blocks, found.peak_rss_bytes, found.added_rss_bytes) == ((), None, None)
    assert bench.document.warnings == ()  # those on times mean nothing
    assert "B arena" in str(bench)
    assert "parity and memory, no times" in str(bench)
    [report] = write_report(bench, tmp_path / "report.html", reference=reference)
    page = report.read_text()
    assert "Memory is the arena" in page
    for of_times in ("thread", "The median is", "peak of its process", "latencies"):
        assert of_times not in page


def test_threads_that_a_microcontroller_lacks_are_noted_and_random_inputs_are_not_for_latency(
    model: Path, tmp_path: Path
) -> None:
    notes: list[Event] = []
    bench = benchmark(model, tmp_path / "bench", device="micro", threads=2, on_event=notes.append)
    noted = [event.text for event in notes if isinstance(event, Note)]
    assert noted == ["micro: one thread, not 2: microcontrollers have no others"]
    assert bench.document.inputs.startswith("random numbers, seeded: for memory only")


def test_a_budget_on_its_latency_is_never_decided_and_that_on_memory_is_for_the_arena(
    model: Path, reference: Path, tmp_path: Path
) -> None:
    bench = benchmark(model, tmp_path / "bench", reference=reference, device="micro")
    arena = bench["mine"].record.arena_bytes
    assert arena is not None
    judged = check(bench.document, Budgets(max_latency_ms=1e9, max_memory_bytes=arena), explicit_drop=False)[0]
    assert judged.parts["latency"].verdict is Verdict.INCONCLUSIVE
    assert judged.parts["memory"].verdict is Verdict.PASS
    assert judged.verdict is Verdict.INCONCLUSIVE
    (tmp_path / "budget.toml").write_text(
        f"[budgets]\nmax_memory_bytes = {arena - 1}\nmax_latency_ms = {{ micro = 1000 }}\n"
    )
    [gated] = judge_gate(load_gate(tmp_path / "budget.toml"), [bench.document])
    assert gated.parts["latency"].verdict is Verdict.INCONCLUSIVE
    assert gated.parts["memory"].verdict is Verdict.FAIL


def test_no_time_is_measured_even_if_the_job_asks_for_it(model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", inputs(4))
    job = Job(
        str(model), {"x": str(tmp_path / "x.npy")}, delegate="none", timing=TimingPlan(), sustained_s=1.0, energy_s=1.0
    )
    found = MicroDevice().run(job, tmp_path / "out", ignore)
    assert found.error is None
    assert (found.timings, found.load_ns, found.first_ns, found.peak_rss_bytes) == (None,) * 4
    assert found.sustained is None
    assert found.samples is not None


def test_the_arena_is_the_smallest_in_which_the_variant_is_loaded(model: Path) -> None:
    def look() -> list[int]:
        content = model.read_bytes()
        arena = micro.find_arena(content)
        micro.open_model(content, arena.total)
        with pytest.raises(RuntimeError):
            micro.open_model(content, arena.total - 16)
        return [arena.total, arena.head + arena.tail]

    total, used = _here(look)["it"]
    assert used <= total <= used + 1024  # while memory is planned, a little more may be needed than is used then


def test_inputs_and_outputs_have_the_names_of_the_signature(tmp_path: Path) -> None:
    file = write_two_graphs(tmp_path / "two.tflite", {"first": 0, "second": 1})
    run = find_runtime("tflite-micro").module.Interpreter

    def names() -> list[object]:
        runner = run(str(file)).get_signature_runner("first")
        return [*runner.get_input_details(), *runner.get_output_details(), *run(str(file)).get_signature_list()]

    assert _here(names)["it"] == ["x", "y", "first", "second"]
    np.save(tmp_path / "x.npy", inputs(2))
    job = Job(str(file), {"x": str(tmp_path / "x.npy")}, "second", delegate="none")
    error = MicroDevice().run(job, tmp_path / "out", ignore).error
    assert error == "signature 'second' is not the variant's first; convert it by itself"


def test_samples_of_another_shape_are_refused_for_the_memory_is_planned_once(model: Path, tmp_path: Path) -> None:
    made, _ = unpack(model.read_bytes())
    tensors, graph = made.subgraphs[0].tensors, made.subgraphs[0]
    tensors[graph.inputs[0]].shapeSignature = [1, -1]
    model.write_bytes(pack(made))
    np.save(tmp_path / "x.npy", np.zeros((2, 8), np.float32))
    job = Job(str(model), {"x": str(tmp_path / "x.npy")}, delegate="none")
    error = MicroDevice().run(job, tmp_path / "out", ignore).error
    assert error == "input 'x' has the shape [1, 16] for microcontrollers, the samples need [1, 8]"


def test_a_file_that_kills_the_interpreter_is_an_error_of_the_variant(model: Path, tmp_path: Path) -> None:
    content = model.read_bytes()
    (tmp_path / "cut.tflite").write_bytes(content[: len(content) // 2])
    np.save(tmp_path / "x.npy", inputs(2))
    job = Job(str(tmp_path / "cut.tflite"), {"x": str(tmp_path / "x.npy")}, delegate="none")
    error = MicroDevice().run(job, tmp_path / "out", ignore).error
    assert error
    assert "delegate" not in error
    with pytest.raises(ChildError):
        _here(lambda: micro.Interpreter(str(tmp_path / "cut.tflite")))


def test_what_it_does_not_have_is_one_line_with_a_hint(
    model: Path, reference: Path, edgetf_here: Run, tmp_path: Path
) -> None:
    def refuse(*options: str) -> str:
        ended = edgetf_here("benchmark", model, "--device", "micro", "--reference", reference, *options, "-o", "b")
        assert ended.returncode != 0
        return ended.stderr

    assert "micro devices measure no times" in refuse("--sustained", "5")
    assert "tflite-micro cannot use XNNPACK" in refuse("--delegate", "xnnpack")
    assert "micro runs tflite-micro, not litert" in refuse("--runtime", "litert")


@pytest.mark.parametrize(
    ("changed", "problem", "hint"),
    [
        ({}, "tflite-micro is not installed", "python -m pip install tflite-micro"),
        ({"architecture": "aarch64"}, "no wheel for this machine: none for aarch64", "x86-64"),
        ({"python": "3.9.2"}, "none for Python 3.9", "Python 3.10"),
        ({"libc": "glibc 2.27"}, "too old", "x86-64"),
        ({"python": ""}, "python does not run", "devices.toml"),
    ],
)
def test_what_keeps_it_from_running_comes_with_what_to_install(
    changed: dict[str, str], problem: str, hint: str
) -> None:
    facts = Facts(architecture="x86_64", libc="glibc 2.36", python="3.11.7", numpy="1.26.4")
    [found] = lacks_micro(replace(facts, **changed), "python")
    assert found.blocks
    assert problem in found.problem
    assert hint in found.hint
    assert lacks_micro(replace(facts, tflite_micro="0.dev1"), "python") == []


def test_without_the_package_the_device_says_what_to_install(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec "{sys.executable}" -I -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(DeviceError, match="micro cannot run variants: tflite-micro is not installed") as caught:
        MicroDevice("micro", str(python)).examine("auto")
    assert caught.value.hint == f"{python} -m pip install tflite-micro"
    with pytest.raises(EdgetfError, match="not litert"):
        MicroDevice().examine("litert")


def test_conversions_are_not_made_for_a_runtime_whose_operations_no_table_has(edgetf_here: Run, tmp_path: Path) -> None:
    ended = edgetf_here("tune", tmp_path, "--reference", tmp_path, "--device", "micro", "-o", "tuned")
    assert ended.returncode == 1
    assert "edgetf inspect OUT --for micro" in ended.stderr


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        (
            "tensorflow/lite/micro/kernels/conv_common.cc Hybrid models are not supported on TFLite Micro.\r\n"
            "Node CONV_2D (number 2) failed to prepare with status 1\r\n",
            "there are no kernels for int8 weights with float activations; Hybrid models are not supported on TFLite "
            "Micro; Node CONV_2D (number 2) failed to prepare with status 1",
        ),
        ("a/b.cc:7 It is empty.\r\n\r\nIt is empty.\n", "It is empty"),
        ("", "TFLM failed to allocate tensors"),
    ],
)
def test_the_reason_is_what_the_kernel_printed_in_one_line(printed: str, found: str) -> None:
    assert micro.reason("TFLM failed to allocate tensors", printed) == found


def test_the_doctor_finds_nothing_about_times(edgetf_here: Run) -> None:
    assert json.loads(edgetf_here("devices", "doctor", "micro", "--json").stdout) == []
