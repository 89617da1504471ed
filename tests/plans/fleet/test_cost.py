from __future__ import annotations

import pytest

from tests.performance.fleet import WORKERS, measure


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_script_that_measures_a_scheduler_runs_each_job() -> None:
    cost = measure(2 * WORKERS, 0.01, WORKERS)
    assert cost.jobs == 2 * WORKERS
    assert cost.seconds > cost.ideal_s
    assert cost.cpu_ms > 0
