"""Sending a job's files to a device compared with `scp` of the same bytes, over a link with delay.

`python -m tests.performance.push`. The device is the emulated Raspberry Pi (tests/e2e/emulated_pi.sh up), whose sshd
is the real one. Prints both times, their ratio, and the bytes that a second run of the same job sends.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from edgetf.device.runner.job import Job
from edgetf.device.settings import DeviceSettings, Kind
from edgetf.device.ssh import SshDevice
from tests.device.ssh_server import Link

PI = Path.home() / ".cache" / "edgetf" / "emulated-pi"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=500, help="float32 images of 224x224x3")
    parser.add_argument("--delay-ms", type=float, default=20.0, help="added each way")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    link = Link(2222)
    link.delay_s = options.delay_ms / 1000
    settings = DeviceSettings(
        Kind.SSH, "127.0.0.1", "pi", link.port, str(PI / "id_ed25519"), python="/home/pi/venv/bin/python"
    )
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder, "known_hosts")
        known.write_text((PI / "known_hosts").read_text().replace("]:2222", f"]:{link.port}"))
        settings = replace(settings, known_hosts=str(known))
        ratios = []
        for _ in range(options.pairs):
            model, samples = Path(folder, "model.tflite"), Path(folder, "samples.npy")
            model.write_bytes(os.urandom(14_000_000))
            random = np.random.default_rng()  # what no earlier run has sent
            np.save(samples, random.random((options.samples, 224, 224, 3), np.float32))
            ours, theirs = (
                _push(settings, Job(str(model), {"x": str(samples)})),
                _scp(link.port, known, [model, samples]),
            )
            ratios.append(ours / theirs)
            sys.stdout.write(f"edgetf {ours:.2f} s, scp {theirs:.2f} s, ratio {ours / theirs:.2f}\n")
        before = link.sent
        _push(settings, Job(str(model), {"x": str(samples)}))
        size = model.stat().st_size + samples.stat().st_size
        sys.stdout.write(f"median ratio {np.median(ratios):.2f}; {size:,} bytes, sent again {link.sent - before:,}\n")
    link.close()


def _push(settings: DeviceSettings, job: Job) -> float:
    """Seconds until all files are complete on the device, including connecting and locking."""
    device, begin = SshDevice("pi", settings), perf_counter()
    with device.reserve():
        device.push(job)
        return perf_counter() - begin


def _scp(port: int, known: Path, files: list[Path]) -> float:
    options = [
        "-q",
        "-P",
        str(port),
        "-i",
        str(PI / "id_ed25519"),
        "-o",
        f"UserKnownHostsFile={known}",
        "-o",
        "BatchMode=yes",
    ]
    begin = perf_counter()
    subprocess.run(["scp", *options, *map(str, files), "pi@127.0.0.1:/tmp/"], check=True)
    return perf_counter() - begin


if __name__ == "__main__":
    main()
