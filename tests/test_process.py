from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgetf.process import Event, HungError, run_child


def _python(code: str, **options: object) -> tuple[list[Event], int, str]:
    events: list[Event] = []
    ended = run_child([sys.executable, "-c", code], events.append, idle_s=20, **options)  # type: ignore[arg-type]
    return events, ended.code, ended.stderr


def test_json_lines_are_events_and_other_lines_are_passed_over() -> None:
    events, code, stderr = _python(
        'import sys; print(\'{"a": 1}\'); print("noise"); print("[1]"); print(\'{"b": 2}\'); sys.stderr.write("oh")'
    )
    assert (events, code, stderr) == ([{"a": 1}, {"b": 2}], 0, "oh")


def test_the_request_and_the_environment_reach_the_child() -> None:
    code = "import json, os, sys; print(json.dumps({'in': sys.stdin.read(), 'env': os.environ['EDGETF_TEST']}))"
    events, _, _ = _python(code, request="hello", env={"EDGETF_TEST": "yes"})
    assert events == [{"in": "hello", "env": "yes"}]


def test_a_signal_is_named() -> None:
    ended = run_child(
        [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"], lambda e: None, idle_s=20, request="x" * 100_000
    )
    assert ended.how == "died of SIGSEGV"


def test_a_child_that_says_nothing_is_ended() -> None:
    with pytest.raises(HungError, match="no answer for 0 s"):
        run_child([sys.executable, "-c", "import time; time.sleep(60)"], lambda e: None, idle_s=0.3)


def test_grandchildren_do_not_outlive_an_interruption(tmp_path: Path) -> None:
    marker = f"edgetf-test-{tmp_path.name}-{time.perf_counter_ns()}"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', {marker!r}])\n"
        "print('{}', flush=True)\n"
        "time.sleep(60)\n"
    )

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child([sys.executable, "-c", code, marker], interrupt, idle_s=20)
    time.sleep(0.2)
    listing = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert marker not in listing
