from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgetf.device.runner.interpreter import JobError
from edgetf.device.runner.isolate import ChildError, Send, run_children
from edgetf.device.runner.job import DelegateError


def test_results_are_in_order_and_events_arrive_during_the_run() -> None:
    events: list[dict[str, Any]] = []

    def task(number: int, pause: float) -> Any:
        def run(send: Send) -> dict[str, Any]:
            time.sleep(pause)
            send({"event": number})
            return {"number": number, "pid": os.getpid()}

        return run

    results = run_children([task(1, 0.2), task(2, 0.0)], events.append)
    assert [r["number"] for r in results] == [1, 2]
    assert {r["pid"] for r in results}.isdisjoint({os.getpid()})
    assert sorted(e["event"] for e in events) == [1, 2]


def _killed(send: Send) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def _refused(send: Send) -> dict[str, Any]:
    raise JobError("no such\n   input")


def _lacks_an_instruction(send: Send) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGILL)
    return {}


def _no_delegate(send: Send) -> dict[str, Any]:
    raise DelegateError("there is no GPU")


def _bug(send: Send) -> dict[str, Any]:
    raise ZeroDivisionError


def _silent(send: Send) -> dict[str, Any]:
    os._exit(3)


def _sleeps(send: Send) -> dict[str, Any]:
    time.sleep(60)
    return {}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (_killed, "the interpreter died of SIGKILL"),
        (_lacks_an_instruction, "died of SIGILL: it has instructions that this processor lacks"),
        (_refused, "no such input"),
        (_bug, "ZeroDivisionError"),
        (_silent, "ended without a result"),
    ],
)
def test_the_end_of_a_child_is_reported(task: Any, message: str) -> None:
    with pytest.raises(ChildError, match=message):
        run_children([task], lambda e: None)


@pytest.mark.parametrize(("task", "is_of_delegate"), [(_no_delegate, True), (_refused, False), (_killed, False)])
def test_what_no_variant_can_do_is_known_to_the_parent(task: Any, is_of_delegate: bool) -> None:
    with pytest.raises(ChildError) as caught:
        run_children([task], lambda e: None)
    assert caught.value.is_of_delegate is is_of_delegate


def test_if_one_task_fails_the_others_are_ended() -> None:
    before = psutil.Process().children()
    started = time.perf_counter()
    with pytest.raises(ChildError, match="SIGKILL"):
        run_children([_sleeps, _killed], lambda e: None)
    assert time.perf_counter() - started < 10
    assert psutil.Process().children() == before


_INTERRUPTED = """
import os, signal, sys
from edgetf.device.runner.isolate import run_children
main = os.getpid()

def interrupt():  # what modules register runs at each fork, and errors in it are only printed
    os.kill(main, signal.SIGINT)
    for _ in range(1000):
        pass

os.register_at_fork(after_in_parent=interrupt)
before = signal.getsignal(signal.SIGINT)
try:
    run_children([lambda send: {}], print)
except KeyboardInterrupt:
    sys.exit(7 if signal.getsignal(signal.SIGINT) is before else 8)
"""


def test_ctrl_c_during_a_fork_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (7, "")


def test_large_results_pass_through_the_pipe() -> None:
    [result] = run_children([lambda send: {"text": "x" * 1_000_000}], lambda e: None)
    assert len(result["text"]) == 1_000_000


def test_a_child_ends_with_its_parent() -> None:
    def child(send: Send) -> dict[str, Any]:
        send({"pid": os.getpid()})
        time.sleep(60)
        return {}

    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        run_children([child], lambda event: os._exit(os.write(write, b"%d\n" % event["pid"]) and 9))
    os.waitpid(parent, 0)
    place = Path("/proc", os.read(read, 20).decode().strip(), "cmdline")
    for handle in (read, write):
        os.close(handle)
    end = time.monotonic() + 10
    with suppress(FileNotFoundError, ProcessLookupError):
        while place.read_bytes():  # of a zombie it is empty
            assert time.monotonic() < end
