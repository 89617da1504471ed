from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from edgetf.device.runner.interpreter import JobError
from edgetf.device.runner.isolate import ChildError, Send, run_children


def test_results_come_in_order_and_events_on_the_way() -> None:
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
        (_refused, "no such input"),
        (_bug, "ZeroDivisionError"),
        (_silent, "ended without a result"),
    ],
)
def test_the_end_of_a_child_is_told(task: Any, message: str) -> None:
    with pytest.raises(ChildError, match=message):
        run_children([task], lambda e: None)


def test_when_one_fails_the_others_are_ended() -> None:
    started = time.perf_counter()
    with pytest.raises(ChildError, match="SIGKILL"):
        run_children([_sleeps, _killed], lambda e: None)
    assert time.perf_counter() - started < 10
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # no child is left


def test_large_results_pass_through_the_pipe() -> None:
    [result] = run_children([lambda send: {"text": "x" * 1_000_000}], lambda e: None)
    assert len(result["text"]) == 1_000_000
