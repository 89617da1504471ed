from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgetf.errors import EdgetfError
from edgetf.models.hardware import Hardware, StrategyName, configure, leads
from edgetf.models.run import Run as Training
from edgetf.models.zoo import find_zoo_model

ALIKE = 2e-5  # weights are about 1: sums in another order, over 21 steps of Adam


def _start(out: Path, hardware: dict[str, object], cluster: dict[str, object] | None = None) -> subprocess.Popen[str]:
    env = {**os.environ, **({"TF_CONFIG": json.dumps(cluster)} if cluster else {})}
    command = [sys.executable, "-m", "tests.models.worker", str(out), json.dumps(hardware)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-2000:]
    return out.strip()


@pytest.fixture(scope="module")
def one_device(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    out = tmp_path_factory.mktemp("one") / "one.npz"
    assert _finish(_start(out, {})) == "on the CPU"
    return dict(np.load(out))


def _assert_alike(out: Path, one: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    other = np.load(out)
    assert int(other["devices"]) == 2
    for name in one:
        if name != "devices":
            np.testing.assert_allclose(other[name], one[name], atol=ALIKE)


@pytest.mark.slow
def test_two_mirrored_devices_reach_the_weights_of_one(one_device: dict[str, np.ndarray], tmp_path: Path) -> None:  # type: ignore[type-arg]
    out = tmp_path / "two.npz"
    reported = _finish(_start(out, {"strategy": "mirrored", "logical_devices": 2}))
    assert reported == "on the CPU, split into 2 logical devices, mirrored strategy with 2 devices"
    _assert_alike(out, one_device)


@pytest.mark.slow
def test_two_workers_over_the_network_reach_the_weights_of_one(
    one_device: dict[str, np.ndarray],  # type: ignore[type-arg]
    tmp_path: Path,
) -> None:
    with socket.socket() as a, socket.socket() as b:
        a.bind(("localhost", 0))
        b.bind(("localhost", 0))
        workers = [f"localhost:{s.getsockname()[1]}" for s in (a, b)]
    started = [
        _start(
            tmp_path / f"{k}.npz",
            {"strategy": "multiworker"},
            {"cluster": {"worker": workers}, "task": {"type": "worker", "index": k}},
        )
        for k in range(2)
    ]
    for k, process in enumerate(started):
        assert _finish(process) == "on the CPU, multiworker strategy with 2 devices"
        _assert_alike(tmp_path / f"{k}.npz", one_device)


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        (Hardware(gpu=99), "there is no GPU 99"),
        (Hardware(memory_growth=True, memory_limit_mb=100), "memory that grows has no limit"),
        (Hardware(logical_devices=0), "0 logical devices"),
        (Hardware(strategy=StrategyName.MULTIWORKER), "TF_CONFIG does not name the workers"),
    ],
)
def test_impossible_hardware_options_are_refused(hardware: Hardware, message: str) -> None:
    with pytest.raises(EdgetfError, match=message):
        configure(hardware)


class _OneGpu:
    """The part of `tf` that `configure` uses, for a machine with a GPU."""

    class config:  # noqa: N801
        @staticmethod
        def list_physical_devices(kind: str) -> list[str]:
            return [kind]


@pytest.mark.parametrize(
    ("hardware", "message", "hint"),
    [
        (Hardware(logical_devices=2), "no limit is given", "--memory-limit MB"),
        (Hardware(logical_devices=2, memory_growth=True), "memory that is limited", "--memory-growth"),
    ],
)
def test_a_gpu_is_split_only_by_memory(
    hardware: Hardware, message: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgetf.models.hardware.load_tensorflow", lambda: _OneGpu)
    with pytest.raises(EdgetfError, match=message) as caught:
        configure(hardware)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("cluster", "task", "expected"),
    [
        (["chief", "worker"], ("chief", 0), True),
        (["chief", "worker"], ("worker", 0), False),
        (["worker"], ("worker", 0), True),
        (["worker"], ("worker", 1), False),
    ],
)
def test_one_process_of_a_cluster_leads(
    cluster: list[str], task: tuple[str, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"cluster": {kind: ["a:1", "b:1"] for kind in cluster}, "task": {"type": task[0], "index": task[1]}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    assert leads() is expected


@pytest.mark.parametrize("run", [Training(strategy=object()), Training(profile=True)])
def test_a_model_with_a_custom_loop_refuses_a_strategy_and_a_profile(run: Training) -> None:
    module = find_zoo_model("linear").load()
    with pytest.raises(EdgetfError, match="runs on one device and has no profile"):
        module.train(module.load_data(), run)


def test_a_missing_tpu_is_reported(tmp_path: Path) -> None:
    process = _start(tmp_path / "tpu.npz", {"strategy": "tpu"})
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "EdgetfError: there is no TPU" in err
