"""`edgetf status`: which runs are shown, and what they wait for."""

from __future__ import annotations

from typing import Any

from edgetf.plans.fleet.status import RunStatus, Status, _living


def test_runs_that_have_published_nothing_for_a_minute_are_not_shown() -> None:
    def run(plan: str, **more: Any) -> dict[str, Any]:
        return {"plan": plan, "running": {"pi": 1}, "quarantine": {"pi": "it hung"}, **more}

    runs = [run("now", at=1000.0), run("killed", at=930.0), run("recent", at=941.0), run("without a time")]
    found = _living(runs, {"pi"}, 1000.0)
    assert found == tuple(RunStatus(plan, 1, {"pi": "it hung"}) for plan in ("now", "recent"))


def test_a_step_whose_worker_is_not_there_waits_and_does_not_run() -> None:
    run = {"plan": "p", "running": {"pi1": 1, "pi2": 2}, "quarantine": {}, "at": 1000.0}
    [found] = _living([run], {"pi1", "w1"}, 1000.0)
    assert (found.running, found.waiting) == (1, ("pi2",))
    shown = str(Status("tls://lab:8786", (), (found,)))
    assert "p: 1 step runs" in shown
    assert "waiting for pi2" in shown
