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
from collections.abc import Iterator, Sequence
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
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder, "known_hosts")
        known.write_text((PI / "known_hosts").read_text().replace("]:2222", f"]:{link.port}"))
        host = (Kind.SSH, "127.0.0.1", "pi", link.port, str(PI / "id_ed25519"))
        settings = DeviceSettings(*host, known_hosts=str(known), python="/home/pi/venv/bin/python")
        ratios = []
        for ours, theirs in compare(settings, options.samples, options.pairs):
            ratios.append(ours / theirs)
            sys.stdout.write(f"edgetf {ours:.2f} s, scp {theirs:.2f} s, ratio {ours / theirs:.2f}\n")
        size, again = send_again(settings, options.samples, link)
        sys.stdout.write(f"median ratio {np.median(ratios):.2f}; {size:,} bytes, sent again {again:,}\n")
    link.close()


def compare(
    settings: DeviceSettings, samples: int, pairs: int, scp: Sequence[str] = ("scp",)
) -> Iterator[tuple[float, float]]:
    """The seconds of edgetf and of `scp`, for a model and so many images that were not sent before, in pairs."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(pairs):
            job = _job(Path(folder), samples)
            yield _push(settings, job), _scp(settings, scp, [job.model, *job.inputs.values()])


def send_again(settings: DeviceSettings, samples: int, link: Link) -> tuple[int, int]:
    """The bytes of the files of a job, and those that go through the link if it is sent again."""
    with tempfile.TemporaryDirectory() as folder:
        job = _job(Path(folder), samples)
        _push(settings, job)
        before = link.sent
        _push(settings, job)
        return sum(Path(file).stat().st_size for file in (job.model, *job.inputs.values())), link.sent - before


def _job(folder: Path, samples: int) -> Job:
    """A job whose files are random: no earlier run has sent them."""
    model, images = folder / "model.tflite", folder / "samples.npy"
    model.write_bytes(os.urandom(28_000 * samples))
    np.save(images, np.random.default_rng().random((samples, 224, 224, 3), np.float32))
    return Job(str(model), {"x": str(images)})


def _push(settings: DeviceSettings, job: Job) -> float:
    """Seconds until all files are complete on the device, including connecting and locking."""
    device, begin = SshDevice("pi", settings), perf_counter()
    with device.reserve():
        device.push(job)
        return perf_counter() - begin


def _scp(settings: DeviceSettings, scp: Sequence[str], files: list[str]) -> float:
    options = ["-q", "-P", str(settings.port), "-i", str(settings.key)]
    options += ["-o", f"UserKnownHostsFile={settings.known_hosts}", "-o", "BatchMode=yes"]
    begin = perf_counter()
    subprocess.run([*scp, *options, *files, f"{settings.user}@{settings.host}:{settings.work_dir}/"], check=True)
    return perf_counter() - begin


if __name__ == "__main__":
    main()
