"""Devices that tests reach over SSH and over adb, and jobs for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgetf.device.runner.job import Job
from tests.conftest import SHORT, Small
from tests.device.adb_server import AdbServer
from tests.device.phones import ROWS, Phone
from tests.device.ssh_devices import Bench
from tests.device.ssh_server import Server

_PROGRAMS = {
    "getprop": 'case "$1" in ro.build.version.release) echo 14;; ro.product.model) echo "Pixel 8";; *) echo x;; esac',
    "dumpsys": "cat <<'END'\nThermal Status: 0\nCached temperatures:\n"
    " Temperature{mValue=99.0, mType=0, mName=CPU0, mStatus=0}\nCurrent temperatures from HAL:\n"
    " Temperature{mValue=41.5, mType=0, mName=CPU0, mStatus=0}\n"
    " Temperature{mValue=43.0, mType=0, mName=CPU1, mStatus=0}\n"
    " Temperature{mValue=31.0, mType=2, mName=battery, mStatus=0}\nCurrent cooling devices from HAL:\nEND",
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    yield server
    server.close()


@pytest.fixture
def bench(converted: Path, small: Small, tmp_path: Path) -> Bench:
    images = np.load(small.samples)["image"]
    np.save(tmp_path / "image.npy", images)
    job = Job(str(converted / "float32.tflite"), {"image": str(tmp_path / "image.npy")}, timing=SHORT)
    return Bench(job, tmp_path / "out", images)


@pytest.fixture(scope="module")
def own_adb_server() -> Iterator[None]:
    """A private adb server for this test, which does not know other phones."""
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(20_000 + os.getpid() % 10_000)
    yield
    subprocess.run(["adb", "kill-server"], capture_output=True, check=False)
    del os.environ["ANDROID_ADB_SERVER_PORT"]


@pytest.fixture
def phone(own_adb_server: None, tmp_path: Path) -> Iterator[Phone]:
    folder = tmp_path / "phone with 'odd\" $(name)"
    (folder / "bin").mkdir(parents=True)
    program = folder / "benchmark_model"
    stand_in = Path(__file__).parent / "benchmark_model.py"
    program.write_text(f"#!{sys.executable}\n{stand_in.read_text()}")
    server = AdbServer(folder / "bin")
    phone = Phone(server, folder, program)
    for name, script in _PROGRAMS.items():
        phone.install(name, script)
    yield phone
    subprocess.run(["adb", "disconnect", server.serial], capture_output=True, check=False)
    server.close()


@pytest.fixture
def job(converted: Path, small: Small, tmp_path: Path) -> Callable[[str], Job]:
    np.save(tmp_path / "image.npy", np.load(small.samples)["image"][:ROWS])
    inputs = {"image": str(tmp_path / "image.npy")}
    return lambda scheme: Job(str(converted / f"{scheme}.tflite"), inputs, signature="serving_default", timing=None)
