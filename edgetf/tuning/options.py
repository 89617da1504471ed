"""The options of `edgetf tune`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgetf.benchmarks.benchmark import BenchmarkOptions
from edgetf.conversion.contract import RuntimeVersion
from edgetf.device.runner.job import TimingPlan
from edgetf.recipes import Aim
from edgetf.samples import SampleSource
from edgetf.tuning.evaluate import Criteria

EVALUATIONS = 6


@dataclass(frozen=True)
class TuneOptions:
    """How to tune.

    `samples` are those that operations are ranked on, by default those of the conversion; `proof` is a Reference with
    other samples than the search's, without which half of the search's are held out. `target` is the runtime that must
    load the winner; `keep` are patterns of layers that stay in float. `measuring` has runtime, delegate and threads of
    the device; `turn` is how long a candidate is timed in each of `turns` turns.
    """

    samples: SampleSource | None = None
    proof: Path | None = None
    aim: Aim = Aim.SIZE
    criteria: Criteria = Criteria()
    max_bytes: int | None = None
    max_latency_ms: float | None = None
    target: RuntimeVersion | None = None
    evaluations: int = EVALUATIONS
    keep: tuple[str, ...] = ()
    measuring: BenchmarkOptions = field(default_factory=BenchmarkOptions)
    turn: TimingPlan = TimingPlan(max_warmup_s=0.3, min_runs=20, min_s=0.1, max_s=1.0)
    turns: int = 3
    force: bool = False
