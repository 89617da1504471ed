"""The scripts for devices, run by this machine's shell: once, twice, and twice at the same time."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

import pytest

from edgetf.device import scripts

CONTENT = b"a model" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def _sh(script: str, *arguments: object, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["sh", "-c", script, "edgetf", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, check=False, timeout=20)


def _wait_for(path: Path) -> None:
    for _ in range(200):
        if path.exists():
            return
        time.sleep(0.02)
    pytest.fail(f"{path} did not appear")


def test_a_job_that_is_started_twice_at_once_runs_once(tmp_path: Path) -> None:
    inside = scripts.INSIDE.format("sh job.json > events 2> errors < /dev/null")
    job, text = tmp_path / "job", b"echo ran >> ran; sleep 0.3; exit 7"
    command = ["sh", "-c", scripts.START, "edgetf", str(job), inside, str(len(text))]
    both = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for one in both:
        assert one.stdin is not None
        one.stdin.write(text)
        one.stdin.close()
    assert [one.wait(20) for one in both] == [0] * 4
    _wait_for(job / "code")
    assert _sh(scripts.START, job, inside, len(text), given=text).returncode == 0  # and after its end
    assert (job / "ran").read_text() == "ran\n"
    assert (job / "code").read_text() == "7\n"
    assert not (job / "ballast").exists()


def test_an_incomplete_job_is_not_started(tmp_path: Path) -> None:
    ended = _sh(scripts.START, tmp_path / "job", "touch ran", 100, given=b"touch")
    assert (ended.returncode, ended.stderr) == (1, b"the job is not whole\n")
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["out"]


def test_a_file_that_was_stored_already_is_stored(tmp_path: Path) -> None:
    (tmp_path / f".{DIGEST}").write_bytes(CONTENT)
    for _ in range(2):
        assert _sh(scripts.STORED, tmp_path, DIGEST, f".{DIGEST}").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [DIGEST]
    (tmp_path / f".{DIGEST}").write_bytes(b"another try, half of it")
    ended = _sh(scripts.STORED, tmp_path, DIGEST, f".{DIGEST}")
    assert ended.returncode == 1
    assert b"its digest is " in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == [DIGEST]  # which was correct, and still exists


def test_a_missing_or_damaged_file_is_not_stored(tmp_path: Path) -> None:
    ended = _sh(scripts.STORED, tmp_path, DIGEST, f".{DIGEST}")
    assert (ended.returncode, ended.stderr) == (1, b"the file did not arrive\n")
    (tmp_path / DIGEST).write_bytes(b"rotten")
    assert _sh(scripts.STORED, tmp_path, DIGEST, f".{DIGEST}").returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_received_twice_at_once_is_complete(tmp_path: Path) -> None:
    command = ["sh", "-c", scripts.RECEIVE, "edgetf", str(tmp_path), DIGEST]
    cut = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert cut.stdin is not None
    cut.stdin.write(CONTENT[:50])
    cut.stdin.flush()
    for _ in range(2):
        assert _sh(scripts.RECEIVE, tmp_path, DIGEST, given=CONTENT).returncode == 0
    cut.stdin.write(b"what the first sent was still on its way")
    cut.stdin.close()
    assert cut.wait(20) == 1
    assert (tmp_path / DIGEST).read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == [DIGEST]


def test_the_end_and_the_cleanup_of_jobs_may_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    job = tmp_path / "jobs" / "one"
    text = b"sleep 60"
    inside = scripts.INSIDE.format("sh job.json")
    assert _sh(scripts.START, job, inside, len(text), given=text).returncode == 0
    pid = int((job / "pid").read_text().split()[0])
    for script, place in ((scripts.KILL + 'end "$1"', job), (scripts.SWEEP, tmp_path)):
        for _ in range(2):
            assert _sh(script, place, 30).returncode == 0
    assert not job.exists()
    ended = subprocess.run(["ps", "-o", "stat=", "-g", str(pid)], capture_output=True, text=True, check=False)
    assert all(state.startswith("Z") for state in ended.stdout.split())


def test_the_free_space_of_a_disk_is_a_number(tmp_path: Path) -> None:
    assert int(_sh(scripts.FREE, tmp_path / "not" / "yet").stdout) > 0
