"""Phrases on figures for both the terminal and the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgetf.benchmarks.judging.front import Cost, is_below, latency_of
from edgetf.device.runner.delegates import DEFAULT_DELEGATE
from edgetf.figures import Energy, Sustained
from edgetf.results import LabelUse, Result
from edgetf.units import list_in_words


def same_speed(results: Sequence[Result]) -> list[str]:
    """Phrases on the largest groups of variants of equivalent speed on a device."""
    timed: dict[str, list[tuple[str, Cost]]] = {}
    for result in results:
        latency = latency_of(result)
        if latency is not None and not result.error:
            timed.setdefault(result.device, []).append((result.variant, latency))
    found: list[str] = []
    for device, ranges in timed.items():
        where = f" on {device}" if len(timed) > 1 else ""
        largest = _alike(sorted(ranges, key=lambda pair: pair[1].value))
        order = [name for name, _ in ranges]
        found += [f"{list_in_words(sorted(group, key=order.index))}{where}" for group in largest]
    return found


def _alike(ranked: Sequence[tuple[str, Cost]]) -> list[list[str]]:
    """The largest groups of neighbours in rank, none of which is measurably below another."""
    groups, reached = [], 0
    for first in range(len(ranked)):
        end = max(first + 1, reached)
        while end < len(ranked) and not any(_differ(one, ranked[end][1]) for _, one in ranked[first:end]):
            end += 1
        if end - first > 1 and end > reached:
            groups.append([name for name, _ in ranked[first:end]])
        reached = max(reached, end)
    return groups


def _differ(one: Cost, other: Cost) -> bool:
    return is_below(one, other) or is_below(other, one)


def is_untimed(results: Sequence[Result]) -> bool:
    """Whether it is a benchmark by the interpreter for microcontrollers, which has an arena and no times."""
    return any(result.arena_bytes is not None for result in results)


def how_it_ran(results: Sequence[Result]) -> str:
    """A phrase on the settings and the number of turns."""
    if is_untimed(results):
        return "without times"
    threads = _all(str(r.threads) for r in results)
    parts = [f"with {threads} thread{'' if threads == '1' else 's'}"]
    if any(r.delegate != DEFAULT_DELEGATE for r in results):
        parts += [f"delegate {_all(r.delegate_with_options for r in results)}"]
    parts += (
        [f"on CPUs {_all(str(list(r.affinity))[1:-1] for r in results)}"] if any(r.affinity for r in results) else []
    )
    parts += [f"nice {_all(str(r.nice) for r in results)}"] if any(r.nice for r in results) else []
    turns = sorted({len(r.blocks) for r in results if r.blocks})
    many = " to ".join(str(count) for count in dict.fromkeys(turns[:1] + turns[-1:]))
    return ", ".join([*parts, *([f"in {many} turns"] if turns else [])])


def _all(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def energy_in_words(energy: Energy) -> str:
    source = {"pmic": "the Pi's power controller", "battery": "the battery"}[energy.source]
    interval = f"{energy.mj:.3g} mJ [{energy.low:.3g}, {energy.high:.3g}] per inference above idle"
    return f"{interval} ({energy.idle_w:.2f} W idle, {energy.active_w:.2f} W running, measured by {source})"


def sustained_in_words(sustained: Sustained) -> str:
    first, last = sustained.minutes[0].median_ms, sustained.minutes[-1].median_ms
    if len(sustained.minutes) == 1:
        return f"{sustained.seconds:.0f} s of load: median {last:.3g} ms; a minute and more would show a trend"
    ratio = f"{sustained.last_to_first:.2f} times the first minute's median"
    return f"after {sustained.seconds / 60:.3g} minutes of load {last:.3g} ms, {ratio} ({first:.3g} ms)"


def unused_labels(uses: Iterable[tuple[str, LabelUse, str]]) -> list[str]:
    """A sentence on all given labels that are not used, for each reason; `uses` are outputs, uses and reasons."""
    found: dict[str, list[str]] = {}
    for output, use, reason in uses:
        if use in (LabelUse.IGNORED, LabelUse.UNFIT):
            found.setdefault(reason, []).append(output)
    return [f"labels of {', '.join(outputs)} are not used: {reason}" for reason, outputs in found.items()]


def unused_labels_of(results: Sequence[Result]) -> list[str]:
    """The sentences of `unused_labels` on a benchmark: its labels mean the same for all variants."""
    outputs = next((result.parity.outputs for result in results if result.parity), ())
    return unused_labels((one.name, one.labels, one.labels_reason) for one in outputs)
