"""LiteRT's GPU on a host, with SwiftShader in its place: what is missing is named, and what ran is in the log."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgetf.api.benchmark import benchmark
from edgetf.benchmarks.judging.check import check_one
from edgetf.benchmarks.judging.verdict import Budgets
from edgetf.device.local import LocalDevice
from edgetf.device.runner.gpu import lacks, read_log, why_not
from edgetf.device.runner.job import DELEGATE_PHASE, Job, LeftOperations
from edgetf.errors import EdgetfError
from edgetf.flatbuffer import pack, unpack
from edgetf.results import Verdict
from tests.attacks.kit import BRIEF, NONE, WEIGHTS, answers, inputs, write_model, write_reference, write_samples
from tests.conftest import ignore
from tests.device.ssh_devices import ssh_device
from tests.device.ssh_server import Server

CHROMIUM = Path("/usr/lib/chromium")  # Debian's, with SwiftShader and a Vulkan loader
SOFTWARE = {"VK_ICD_FILENAMES": str(CHROMIUM / "vk_swiftshader_icd.json"), "LD_LIBRARY_PATH": str(CHROMIUM)}
swiftshader = pytest.mark.skipif(
    not (CHROMIUM / "libvk_swiftshader.so").exists(), reason="Debian's chromium is not installed, which has SwiftShader"
)

# what LiteRT 2.3.0 printed
FIRST = """INFO: [compiled_model.cc:829] Flatbuffer model initialized directly from incoming litert model.
I0000 00:00:1795825132.304127   30301 environment.cc:532] Selected adapter: {adapter}
INFO: [delegate_webgpu.cc:363] Created a WebGPU environment.
"""
SWIFTSHADER = (
    "SwiftShader Device (Subzero), arch=swiftshader, vendor=google, backend=Vulkan, adapterType=CPU / Software"
)
NVIDIA = "NVIDIA H200, arch=hopper, vendor=nvidia, backend=Vulkan, adapterType=Discrete GPU"
PARTLY = """ERROR: Following operations are not supported by GPU delegate:
CONV_2D: Tensor type(INT16) is not supported. serving_default_image:0_int16
DEQUANTIZE: Unsupported dequantization type.
FULLY_CONNECTED: Tensor type(INT16) is not supported. sequential_1/dense_1/MatMul;sequential_1/dense_1/Relu
FULLY_CONNECTED: Tensor type(INT16) is not supported. sequential_1/flatten_1/Reshape
4 operations will run on the GPU, and the remaining 4 operations will run on the CPU.
I0000 00:00:1795825188.926505     916 delegate_kernel.cc:984] Initializing WebGPU-based API from graph.
"""
AGAIN = "INFO: [compiled_model.cc:829] Flatbuffer model initialized directly from incoming litert model.\n"
NO_LOADER = """Warning: Couldn't load Vulkan: libvulkan.so.1: cannot open shared object file: No such file or directory
ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: No adapters found
"""
NO_DRIVER = """Warning: vkCreateInstance: Found no drivers!
Warning: vkCreateInstance failed with VK_ERROR_INCOMPATIBLE_DRIVER
ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: No adapters found
"""
NO_ADAPTER = "ERROR: [delegate_webgpu.cc:359] Failed to initialize WebGPU environment: INTERNAL: No adapters found\n"
DYNAMIC = (
    "WARNING: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
    "dynamic-sized tensors (tensor#7 is a dynamic-sized tensor).\n"
)


def test_the_log_has_the_adapter_what_the_gpu_took_and_why_the_rest_stayed() -> None:
    """Both attempts print what the GPU lacks; only the last one counts."""
    found = read_log(FIRST.format(adapter=SWIFTSHADER) + PARTLY + AGAIN + PARTLY)
    assert (found.adapter, found.software) == ("SwiftShader Device (Subzero)", True)
    assert (found.on_gpu, found.on_cpu, found.pieces) == (4, 4, 1)
    assert found.left[0] == LeftOperations("FULLY_CONNECTED", 2, "Tensor type(INT16) is not supported")
    assert found.left[2] == LeftOperations("DEQUANTIZE", 1, "Unsupported dequantization type")
    more = read_log(PARTLY.replace("remaining 4", "remaining 5"))
    assert (more.on_cpu, more.left, more.software) == (5, (), None)  # which five is not in the log


def test_a_gpu_is_not_software() -> None:
    found = read_log(FIRST.format(adapter=NVIDIA))
    assert (found.adapter, found.software) == ("NVIDIA H200", False)
    assert read_log(FIRST.format(adapter="llvmpipe (LLVM 15), arch=x, adapterType=Unknown")).software


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (NO_LOADER, "there is no Vulkan loader: install Debian's libvulkan1"),
        (NO_DRIVER, "Vulkan has no driver for a GPU here: install the GPU's"),
        (NO_ADAPTER, "LiteRT found no GPU that it can use"),
        (DYNAMIC, "the GPU needs fixed shapes"),
        ("ERROR: [a.cc:1] Out of memory\nERROR: [b.cc:1] Failed to initialize Dispatch API: no\n", "Out of memory"),
        ("", "Failed to modify graph with delegate"),
    ],
)
def test_what_is_missing_is_named(log: str, reason: str) -> None:
    raised = "ERROR: [./litert/cc/litert_compiled_model.h:1961]\n└ Failed to modify graph with delegate"
    assert why_not(raised, log).startswith(reason)
    assert bool(lacks(log)) is (log in (NO_LOADER, NO_DRIVER, NO_ADAPTER))  # for whatever variant


@pytest.fixture
def job(tmp_path: Path) -> Job:
    model = write_model(tmp_path / "mine.tflite", WEIGHTS, NONE)
    np.save(tmp_path / "x.npy", inputs(4))
    return Job(str(model), {"x": str(tmp_path / "x.npy")}, delegate="gpu", timing=None)


def test_without_a_gpu_nothing_runs_on_the_cpu_instead(job: Job, tmp_path: Path) -> None:
    nothing = {"VK_ICD_FILENAMES": "/none", "VK_DRIVER_FILES": "/none"}
    measurement = LocalDevice(env=nothing).run(job, tmp_path / "out", ignore)
    assert measurement.error is not None
    assert measurement.error.startswith("it does not run on the GPU: ")
    assert measurement.error_phase == DELEGATE_PHASE
    older = LocalDevice().run(replace(job, runtime="tflite-runtime"), tmp_path / "older", ignore)
    assert older.error == "tflite-runtime has no delegate 'gpu'; it has: xnnpack, none"
    assert older.error_phase == DELEGATE_PHASE


def test_a_gpu_that_is_missing_is_one_line_and_no_result(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command runs again once it is there."""
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.setenv(name, "/none")
    other = shutil.copy(job.model, tmp_path / "other.tflite")
    for _ in range(2):
        with pytest.raises(EdgetfError, match=r"^local: it does not run on the GPU: .*Vulkan") as caught:
            benchmark([job.model, other], tmp_path / "bench", delegate="gpu")
        assert caught.value.hint == "or take another --delegate"
        assert not (tmp_path / "bench").exists()


@swiftshader
def test_the_cpu_takes_what_the_gpu_lacks(job: Job, tmp_path: Path) -> None:
    """Between the two operations, values become int16 and float32 again."""
    model, _ = unpack(Path(job.model).read_bytes())
    graph, kinds = model.subgraphs[0], schema.BuiltinOperator
    logits = int(graph.operators[0].outputs[0])
    for name, dtype in ((b"stored", schema.TensorType.INT16), (b"back", schema.TensorType.FLOAT32)):
        graph.tensors.append(copy.copy(graph.tensors[logits]))
        graph.tensors[-1].name, graph.tensors[-1].type = name, dtype
    stored, back = len(graph.tensors) - 2, len(graph.tensors) - 1
    graph.tensors[stored].quantization = schema.QuantizationParametersT()
    graph.tensors[stored].quantization.scale = np.array([1e-3], np.float32)
    graph.tensors[stored].quantization.zeroPoint = np.array([0])
    between = []
    for kind, given, made in ((kinds.QUANTIZE, logits, stored), (kinds.DEQUANTIZE, stored, back)):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 2
        model.operatorCodes.append(code)
        operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes) - 1, [given], [made]
        between.append(operator)
    graph.operators[1].inputs = [back]
    graph.operators = [graph.operators[0], *between, graph.operators[1]]
    Path(job.model).write_bytes(pack(model))
    measurement = LocalDevice(env=SOFTWARE).run(job, tmp_path / "out", ignore)
    assert measurement.error is None
    coverage = measurement.coverage
    assert coverage is not None
    # LiteRT's GPU takes one piece, and does not print what it could have taken besides
    assert (coverage.operations, coverage.delegated, coverage.partitions, coverage.left) == (4, 1, 1, [])
    np.testing.assert_allclose(np.load(tmp_path / "out" / "output-0.npy"), answers(inputs(4), WEIGHTS, NONE), atol=1e-3)


@swiftshader
def test_a_host_over_ssh_has_its_own_gpu(
    job: Job, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SOFTWARE.items():
        monkeypatch.setenv(name, value)  # the server's programs get them
    device = ssh_device(server, tmp_path)
    with device.reserve():
        measurement = device.run(replace(job, delegate_options={"precision": "float32"}), tmp_path / "out", ignore)
    assert measurement.error is None
    assert measurement.coverage is not None
    assert measurement.coverage.accelerator.startswith("the GPU (SwiftShader")
    np.testing.assert_allclose(np.load(tmp_path / "out" / "output-0.npy"), answers(inputs(4), WEIGHTS, NONE), atol=1e-5)


@swiftshader
def test_in_software_there_is_parity_and_no_verdict_on_time(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SOFTWARE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("edgetf.benchmarks.benchmark.BenchmarkOptions.timing", BRIEF)
    x = inputs(500)
    outputs = answers(x, WEIGHTS, NONE)
    samples = write_samples(tmp_path / "samples.npz", x, outputs.argmax(axis=1))
    reference = write_reference(tmp_path / "ref", samples, outputs)
    bench = benchmark(job.model, tmp_path / "bench", reference=reference, delegate="gpu", blocks=2)
    found = bench["mine"].record
    assert found.error is None
    assert found.emulated
    assert found.delegate_options == {"precision": "default"}
    assert found.coverage is not None
    assert (found.coverage.delegated, found.coverage.operations, found.coverage.partitions) == (2, 2, 1)
    assert (found.coverage.software, found.coverage.source) == (True, "log")
    assert found.coverage.accelerator.startswith("the GPU (SwiftShader")
    assert found.parity is not None
    assert found.parity.verdict is Verdict.PASS
    assert found.parity.outputs[0].max_abs < 1e-5
    checked = check_one(found, Budgets(max_latency_ms=1e6), explicit_drop=False, compared=False)
    assert checked.verdict is Verdict.INCONCLUSIVE
    assert found.latency_ms is not None
    assert found.end_to_end_ms is not None
    assert found.latency_ms.median > 0.3 * found.end_to_end_ms.median  # it waits until the GPU is done
