"""What is said of figures, the same way in the terminal and in the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from edgetf.benchmarks.times import told_apart
from edgetf.figures import Energy, Sustained
from edgetf.results import Result


def same_speed(results: Sequence[Result]) -> list[str]:
    """The pairs of variants whose latencies cannot be told apart, in words."""
    timed = [(result.variant, result.latency_ms) for result in results if result.latency_ms and not result.error]
    return [f"{a} and {b}" for (a, one), (b, other) in combinations(timed, 2) if not told_apart(one, other)]


def how_it_ran(results: Sequence[Result]) -> str:
    """With which settings, and in how many turns."""
    parts = [f"with {_all(str(r.threads) for r in results)} thread(s)"]
    parts += [f"delegate {_all(r.delegate for r in results)}"] if any(r.delegate != "xnnpack" for r in results) else []
    parts += (
        [f"on CPUs {_all(str(list(r.affinity))[1:-1] for r in results)}"] if any(r.affinity for r in results) else []
    )
    parts += [f"nice {_all(str(r.nice) for r in results)}"] if any(r.nice for r in results) else []
    turns = max((len(r.blocks) for r in results), default=0)
    return ", ".join([*parts, *([f"in {turns} turns"] if turns else [])])


def _all(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def energy_in_words(energy: Energy) -> str:
    told = {"pmic": "the Pi's power controller", "battery": "the battery"}[energy.source]
    interval = f"{energy.mj:.3g} mJ [{energy.low:.3g}, {energy.high:.3g}] an inference beyond idle"
    return f"{interval} ({energy.idle_w:.2f} W idle, {energy.active_w:.2f} W running, as {told} tells)"


def sustained_in_words(sustained: Sustained) -> str:
    first, last = sustained.minutes[0].median_ms, sustained.minutes[-1].median_ms
    if len(sustained.minutes) == 1:
        return f"{sustained.seconds:.0f} s of load: median {last:.3g} ms; a minute and more would show a trend"
    ratio = f"{sustained.last_to_first:.2f} times the first minute's median"
    return f"after {sustained.seconds / 60:.3g} minutes of load {last:.3g} ms, {ratio} ({first:.3g} ms)"
