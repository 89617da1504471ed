"""LiteRT's CompiledModel: what it reports is not believed, its log is. OpenVINO has a device for CPUs."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgetf.api.benchmark import benchmark
from edgetf.device.local import LocalDevice
from edgetf.device.runner.compiled import NPU, OPENVINO_CPU, Interpreter, why_not
from edgetf.device.runner.interpreter import JobError
from edgetf.device.runner.job import Job
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import pack, unpack
from edgetf.results import Status, Verdict
from tests.attacks.kit import NONE, WEIGHTS, answers, inputs, write_model, write_reference, write_samples
from tests.conftest import ignore

OPENVINO = find_spec("openvino") is not None
PARTITIONED = "Partitioned subgraph<0>, selected 55 ops, from a total of 65 ops. resulted in 11 partitions.\n"
APPLIED = "INFO: [compiled_model.cc:1397] 1 compiler plugins were applied successfully: IntelOpenVINO\n"
# what LiteRT 2.3 printed on a host without an NPU, for which it then said that everything was accelerated
FELL_BACK = (
    "INFO: [compiler_plugin.cc:742] "
    + PARTITIONED
    + "ERROR: [openvino_compiler_plugin.cc:714] Exception in compilation\n"
    "INFO: [compiled_model.cc:1397] 0 compiler plugins were applied successfully: \n"
    "ERROR: [compiled_model.cc:1400] Plugin errs: no NPU\nINFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "mine.tflite", WEIGHTS, NONE)


def _ran(log: str, precompiled: bool = False) -> Any:
    """An interpreter of which only its log is known."""
    made = object.__new__(Interpreter)
    made._log, made._precompiled = log, precompiled
    return made


def test_a_fall_back_to_the_cpu_is_an_error_and_not_a_measurement() -> None:
    with pytest.raises(JobError, match="nothing of it runs on the accelerator: Plugin errs: no NPU"):
        _ran(FELL_BACK)._refuse_other_device(NPU)
    with pytest.raises(JobError, match="nothing of it runs on the accelerator"):
        _ran(APPLIED)._refuse_other_device(NPU)
    missing = "libopenvino.so.2631: cannot open shared object file: no"
    for log, is_of_delegate in ((missing, True), (missing + APPLIED, False), (FELL_BACK, False)):
        with pytest.raises(JobError) as caught:
            _ran(log)._refuse_other_device(NPU)
        assert caught.value.is_of_delegate is is_of_delegate  # no variant can run without it
    with pytest.raises(JobError, match="nothing of it runs on the accelerator"):
        _ran(PARTITIONED)._refuse_other_device(NPU)
    _ran(PARTITIONED + APPLIED)._refuse_other_device(NPU)


@pytest.mark.parametrize(("asked", "other"), [(NPU, "CPU"), (OPENVINO_CPU, "NPU")])
def test_a_file_for_another_device_is_refused_with_the_delegate_to_ask_for(asked: str, other: str) -> None:
    log = f"INFO: [invocation_context.cc:293] Using Intel OpenVINO device: {other}\n"
    with pytest.raises(JobError, match=rf"it runs on OpenVINO's device {other}: ask for it with --delegate"):
        _ran(log, precompiled=True)._refuse_other_device(asked)
    right = "CPU" if asked == OPENVINO_CPU else "NPU"
    _ran(log.replace(other, right), precompiled=True)._refuse_other_device(asked)


def test_the_log_has_what_the_accelerator_took() -> None:
    found = _ran(PARTITIONED + APPLIED).coverage("the NPU")
    assert (found.operations, found.delegated, found.partitions, found.source) == (65, 55, 11, "log")
    with pytest.raises(JobError, match="it was compiled ahead of time"):
        _ran("", precompiled=True).coverage("the NPU")


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "└ Could not load shared library /a/x.so: libopenvino.so.2631: cannot open shared object file: no",
            "libopenvino.so.2631 is missing: pip install openvino==2026.3.1",
        ),
        ("libQnnHtp.so: cannot open shared object file: No such file or directory.", "libQnnHtp.so is missing"),
        ("ERROR: [neuron.cc:65] Failed to load it\nERROR: [a.cc:1] ERROR: [b.cc:2]\n", "Failed to load it"),
        ("└ Could not load shared library /a/b.so: /a/b.so: undefined symbol", "b.so: b.so: undefined symbol"),
        ("", "raised"),
    ],
)
def test_the_reason_is_one_line_and_names_what_is_missing(log: str, reason: str) -> None:
    assert why_not("raised", log).endswith(reason)


def _run(model: Path, delegate: str, tmp_path: Path) -> Any:
    np.save(tmp_path / "x.npy", inputs(4))
    job = Job(str(model), {"x": str(tmp_path / "x.npy")}, delegate=delegate, timing=None)
    return LocalDevice().run(job, tmp_path / delegate, ignore)


def test_without_its_library_a_variant_does_not_run_on_the_cpu_instead(model: Path, tmp_path: Path) -> None:
    error = _run(model, NPU, tmp_path).error  # no machine that runs these tests has Intel's NPU
    assert error is not None
    assert error.startswith("nothing of it runs on the accelerator: ")


def test_a_variant_that_keeps_a_state_is_refused(model: Path, tmp_path: Path) -> None:
    made, _ = unpack(model.read_bytes())
    state = schema.TensorT()
    state.name, state.shape, state.type, state.isVariable = b"state", [1], schema.TensorType.FLOAT32, True
    made.subgraphs[0].tensors.append(state)
    model.write_bytes(pack(made))
    assert "it keeps a state" in _run(model, OPENVINO_CPU, tmp_path).error


def test_an_older_runtime_has_no_accelerators(model: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgetfError):
        benchmark(model, tmp_path / "b", device="micro", delegate="npu")


@pytest.mark.skipif(not OPENVINO, reason="openvino is not installed: the tests have it on x86-64 Linux")
def test_openvinos_cpu_device_computes_the_same(model: Path, tmp_path: Path) -> None:
    x = inputs(100)
    outputs = answers(x, WEIGHTS, NONE)
    samples = write_samples(tmp_path / "samples.npz", x, outputs.argmax(axis=1))
    reference = write_reference(tmp_path / "ref", samples, outputs)
    bench = benchmark(model, tmp_path / "bench", reference=reference, delegate=OPENVINO_CPU, blocks=2)
    found = bench["mine"].record
    assert found.status is Status.OK
    assert found.parity is not None
    assert found.parity.outputs[0].accuracy is not None
    assert found.parity.outputs[0].agreement is not None or found.parity.verdict is not Verdict.FAIL
    assert found.coverage is not None
    assert (found.coverage.delegated, found.coverage.operations) == (2, 2)
