from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetf.device.runner import operations
from edgetf.device.runner.coverage import Graph, coverage_of, read_graph
from edgetf.device.runner.interpreter import JobError, Session, find_runtime
from edgetf.device.runner.isolate import run_children
from edgetf.device.runner.job import Job, LeftOperations, TimingPlan
from edgetf.device.runner.operations import time_operations
from edgetf.device.runner.run import run_job
from edgetf.flatbuffer import pack, unpack
from tests.attacks.kit import write_two_graphs
from tests.conftest import Small, ignore

SHORT = TimingPlan(max_warmup_s=0.01, min_runs=2, min_s=0.0, max_s=0.1)


class _Listed:
    """An interpreter that lists these nodes: (kind, inputs, outputs). Tensors are float32 of shape (1, 4), except for
    int8 ones; the first is the input, the last the output."""

    def __init__(self, nodes: list[tuple[str, list[int], list[int]]], int8: tuple[int, ...] = ()) -> None:
        self._nodes = nodes
        self._int8 = int8
        self._last = max(k for _, _, outputs in nodes for k in outputs)

    def _get_ops_details(self) -> list[dict[str, Any]]:
        return [
            {"index": k, "op_name": kind, "inputs": np.array(inputs), "outputs": np.array(outputs)}
            for k, (kind, inputs, outputs) in enumerate(self._nodes)
        ]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        dtypes = [np.int8 if k in self._int8 else np.float32 for k in range(self._last + 1)]
        return [
            {"index": k, "name": f"t{k}", "shape": np.array([1, 4]), "dtype": dtype} for k, dtype in enumerate(dtypes)
        ]

    def get_input_details(self) -> list[dict[str, Any]]:
        return self.get_tensor_details()[:1]

    def get_output_details(self) -> list[dict[str, Any]]:
        return self.get_tensor_details()[-1:]


# 0 is the input, 1 and 4 are constants of int8, 7 is the output
CHAIN = [
    ("CONV_2D", [0, 1, -1], [2]),
    ("RELU", [2], [3]),
    ("DEPTHWISE_CONV_2D", [3, 4], [5]),
    ("ADD", [5, 2], [6]),
    ("SOFTMAX", [6], [7]),
]


def _graph(*pieces: tuple[str, list[int], list[int]]) -> Graph:
    return read_graph(_Listed([*CHAIN, *pieces], int8=(1, 4)))


def test_operations_of_each_piece_and_bytes_that_cross_are_found_by_the_tensors() -> None:
    graph = _graph(("DELEGATE", [0, 1], [2, 3]), ("DELEGATE", [5, 2], [7]))
    assert graph.pieces == {5: (0, 1), 6: (3, 4)}
    coverage = coverage_of(graph, "XNNPACK")
    assert (coverage.operations, coverage.delegated, coverage.partitions) == (5, 4, 2)
    # 2 goes from one piece to the other, 3 to the operation that was left, and 5 back from it: 16 bytes each
    assert coverage.crossing_bytes == 3 * 16
    why = "XNNPACK took no DEPTHWISE_CONV_2D on float32 with int8 weights"
    assert coverage.left == [LeftOperations("DEPTHWISE_CONV_2D", 1, why)]


def test_a_graph_without_a_delegate_is_left_as_a_whole() -> None:
    coverage = coverage_of(_graph(), "")
    assert (coverage.delegated, coverage.partitions, coverage.crossing_bytes) == (0, 0, 0)
    assert {one.reason for one in coverage.left} == {"no delegate was asked for"}
    assert {one.reason for one in coverage_of(_graph(), "XNNPACK").left} == {"XNNPACK took no operation on float32"}


def test_reasons_are_what_the_rest_of_the_graph_shows() -> None:
    nodes = [
        ("ADD", [0], [1]),
        ("ADD", [1], [2]),
        ("WHILE", [2], [3]),
        ("FlexErf", [3], [4]),
        ("DELEGATE", [0], [1]),
    ]
    left = {one.kind: one.reason for one in coverage_of(read_graph(_Listed(nodes)), "XNNPACK").left}
    assert left == {
        "ADD": "shapes or options: XNNPACK took others on float32",
        "WHILE": "control flow, which TFLite itself runs",
        "FlexErf": "an operation of TensorFlow itself",
    }


class _ListedOtherwise(_Listed):
    def _get_ops_details(self) -> list[dict[str, Any]]:
        return [{"name": "of another form"}]


@pytest.mark.parametrize("listed", [object(), _ListedOtherwise([("ADD", [0], [1])])])
def test_a_runtime_that_does_not_list_its_nodes_has_no_graph(listed: Any) -> None:
    with pytest.raises(JobError, match="the runtime does not list the nodes of its graph"):
        read_graph(listed)


@pytest.fixture(scope="session")
def job(converted: Path, small: Small, tmp_path_factory: pytest.TempPathFactory) -> Job:
    with np.load(small.samples) as samples:
        image = samples["image"][:4]
    file = tmp_path_factory.mktemp("inputs") / "image.npy"
    np.save(file, image)
    return Job(str(converted / "int8.tflite"), {"image": str(file)}, timing=SHORT, outputs=False, operations=True)


@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_a_measurement_has_its_coverage_and_the_time_of_every_operation(scheme: str, job: Job, tmp_path: Path) -> None:
    measurement = run_job(replace(job, model=job.model.replace("int8", scheme)), tmp_path, ignore)
    assert (measurement.error, measurement.unknown) == (None, {})
    written = json.loads((tmp_path / "measurement.json").read_text())
    coverage, ops = written["coverage"], written["ops"]
    left = sum(one["count"] for one in coverage["left"])
    assert len(ops) == coverage["operations"] == coverage["delegated"] + left
    assert sum(one["share"] for one in ops) == pytest.approx(1)
    assert all(one["mean_ms"] > 0 for one in ops if not one["delegated"])
    assert [one["mean_ms"] for one in ops] == sorted((one["mean_ms"] for one in ops), reverse=True)
    share = sum(one["time_share"] for one in coverage["left"])
    assert share == pytest.approx(sum(one["share"] for one in ops if not one["delegated"]))
    if scheme == "float32":
        assert (coverage["delegated"], coverage["partitions"]) == (coverage["operations"], 1)
        assert all(one["estimated"] for one in ops)
    else:
        assert [(one["kind"], one["count"]) for one in coverage["left"]] == [("SOFTMAX", 1)]


def test_what_is_timed_is_what_ran_without_it(job: Job) -> None:
    """Timing changes nodes of the real graph: the delegate still takes the same operations of it."""

    def compare(send: Any) -> dict[str, Any]:
        _, coverage = time_operations(job)
        plain = coverage_of(Session(find_runtime("litert"), job, 1, {"image": (8, 8, 1)}).graph(), "XNNPACK")
        return {"same": replace(coverage, left=[]) == replace(plain, left=[]), "delegated": coverage.delegated}

    [found] = run_children([compare], ignore)
    assert found["same"]
    assert found["delegated"] > 0


@pytest.mark.parametrize("larger_first", [True, False])
def test_other_graphs_of_a_file_are_not_timed_in_the_place_of_the_first(tmp_path: Path, larger_first: bool) -> None:
    """The runtime has a delegate look at all graphs, those of loops and branches too."""
    path = write_two_graphs(tmp_path / "two.tflite", {})
    if larger_first:
        model, _ = unpack(path.read_bytes())
        model.subgraphs.reverse()
        path.write_bytes(pack(model))
    np.save(tmp_path / "x.npy", np.ones((1, 16), np.float32))
    asked = Job(str(path), {"x": str(tmp_path / "x.npy")}, timing=None, outputs=False, operations=True)
    measurement = run_job(asked, tmp_path / "out", ignore)
    assert measurement.unknown == {}
    ops = json.loads((tmp_path / "out" / "measurement.json").read_text())["ops"]
    expected = {"FULLY_CONNECTED", "SOFTMAX"} if larger_first else {"FULLY_CONNECTED"}
    assert {one["kind"] for one in ops} == expected
    assert all(one["mean_ms"] > 0 for one in ops)


def test_a_crash_while_operations_are_timed_costs_nothing_else(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(tap: operations.Tap, graph: Graph) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(operations.Tap, "time_kernels", crash)
    measurement = run_job(job, tmp_path, ignore)
    assert measurement.error is None
    assert measurement.timings is not None
    assert measurement.ops is None
    assert measurement.coverage is not None
    assert measurement.unknown.keys() == {"ops"}
    assert "SIGKILL" in measurement.unknown["ops"]


def test_structures_of_an_unknown_runtime_are_refused() -> None:
    tap = operations.Tap()
    with pytest.raises(JobError, match="did not prepare a delegate"):
        tap.time_kernels(_graph())
