from __future__ import annotations

from typing import Any

from edgetf.plans.fleet.status import RunStatus, _living


def test_runs_that_have_published_nothing_for_a_minute_are_not_shown() -> None:
    def run(plan: str, **more: Any) -> dict[str, Any]:
        return {"plan": plan, "running": 1, "quarantine": {"pi": "it hung"}, **more}

    runs = [run("now", at=1000.0), run("killed", at=930.0), run("recent", at=941.0), run("without a time")]
    assert _living(runs, 1000.0) == tuple(RunStatus(plan, 1, {"pi": "it hung"}) for plan in ("now", "recent"))
