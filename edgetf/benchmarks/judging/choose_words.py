"""A Choice in; the sentences about it for the terminal and the report out."""

from __future__ import annotations

from collections.abc import Iterable

from edgetf.benchmarks.judging.choose import Candidate, Choice, Comparison, Objective, Order, Outcome, Standing
from edgetf.benchmarks.judging.covered import pieces_in_words
from edgetf.benchmarks.judging.loss import Loss, LossKind
from edgetf.benchmarks.judging.verdict import Budgets, Judged, worst
from edgetf.results import Benchmark, Verdict
from edgetf.units import human_bytes, human_ms, human_times, list_in_words

RULES = {
    Objective.BOTH: "the least product of latency and bytes",
    Objective.LATENCY: "the least latency",
    Objective.SIZE: "the fewest bytes",
    Objective.MEMORY: "the least peak memory",
}
_SAME_AS = {
    Objective.BOTH: "no measurable difference in latency times bytes",
    Objective.LATENCY: "no measurable difference in latency",
    Objective.SIZE: "as many bytes",
    Objective.MEMORY: "no measurable difference in memory",
}
_MUCH_MEMORY = 1.1  # times as much memory: mentioned even if memory is not the objective
_SAME_SIZE = 0.005
_NOTHING = "nothing to ship"
_NOT_RUN = {"conversion": "was not converted", "device": "did not run", "parity": "cannot be compared"}


def answer(choice: Choice) -> str:
    """One sentence: the chosen variant with its gains and losses, or that no variant passes."""
    if choice.outcome is Outcome.CHOSEN:
        chosen = choice.candidates[0]
        return (
            f"{chosen.variant}: {', '.join(filter(None, (gains(chosen), loss_in_words(chosen.loss, choice.budgets))))}"
        )
    n = len(choice.candidates)
    if choice.outcome is Outcome.NOTHING_RAN:
        return f"{_NOTHING}: none of {n} variants ran" if n > 1 else f"{_NOTHING}: the only variant did not run"
    if choice.outcome is Outcome.NOTHING_PASSES:
        return f"{_NOTHING}: none of {n} variants passes" if n > 1 else f"{_NOTHING}: the only variant does not pass"
    open_ = [candidate.variant for candidate in choice.of(Standing.UNDECIDED)]
    are = "is" if len(open_) == 1 else "are"
    return f"{_NOTHING} yet: no variant passes, and {list_in_words(open_)} {are} undecided"


def alike(choice: Choice) -> str:
    """A sentence on the variants that are equivalent to the chosen one; empty if there are none."""
    names = [candidate.variant for candidate in choice.of(Standing.ALIKE)]
    if not names or not _has_aim(choice):
        return ""
    return f"{list_in_words(names)} would do as well: {_SAME_AS[choice.objective]}."


def rule(choice: Choice) -> str:
    """A sentence on the rule of the choice, or its substitute if the figure is unknown. Empty if none is chosen."""
    if choice.variant is None:
        return ""
    if _has_aim(choice):
        return f"Chosen for {RULES[choice.objective]} among the variants that pass."
    what = "memory" if choice.objective is Objective.MEMORY else "time"
    why = "the device is emulated" if choice.emulated else "none was measured"
    return f"Chosen for the fewest bytes among the variants that pass: no {what} counts here, because {why}."


def why_not(choice: Choice, candidate: Candidate) -> str:
    """A phrase on why a variant is not the chosen one; empty for the chosen one."""
    if candidate.standing is Standing.CHOSEN:
        return ""
    if candidate.standing is Standing.ALIKE and _has_aim(choice):
        return f"passes and would do as well: {_behind(choice.objective, candidate)}"
    if candidate.standing in (Standing.ALIKE, Standing.BEHIND, Standing.UNMEASURED):
        return f"passes, {_behind(choice.objective, candidate)}"
    if candidate.standing is Standing.NOT_RUN:
        return f"did not run: {_worst(candidate.parts)}"
    what = next(iter(candidate.parts))
    if what in _NOT_RUN and len(candidate.parts) == 1 and candidate.verdict is Verdict.FAIL:
        return f"{_NOT_RUN[what]}: {_worst(candidate.parts)}"
    slow = f" (and {remark(candidate)})" if remark(candidate) else ""
    return f"{'fails' if candidate.standing is Standing.FAILS else 'is undecided'}: {_worst(candidate.parts)}{slow}"


def remark(candidate: Candidate) -> str:
    """A remark to add to any verdict: that the variant is slower or larger than float32."""
    base = candidate.beside_base
    return "" if base is None else _than(filter(None, (_slower(base), _larger(base))), base.to)


def gains(candidate: Candidate) -> str:
    """Speed and size compared with float32, or absolute if it is missing: "3.3 times faster, 3.9 times smaller than
    float32"."""
    base = candidate.beside_base
    if base is None:
        ms = "" if candidate.latency_ms is None else human_ms(candidate.latency_ms)
        return ", ".join(filter(None, (ms, "" if candidate.bytes is None else human_bytes(candidate.bytes))))
    parts = [_speed(base), _size(base)]
    good = [words for words, better in parts if better]
    bad = [words for words, better in parts if better is False]
    even = [words for words, better in parts if better is None]
    sentence = _than(good, base.to)
    if bad:
        sentence += f"{', but ' if good else ''}{_than(bad, '' if good else base.to)}"
    return ", ".join(filter(None, (sentence, *even)))


def loss_in_words(loss: Loss | None, budgets: Budgets) -> str:
    """The loss against the Reference in words. "Unchanged" means a change of at most the budget."""
    if loss is None:
        return "not compared with a reference"
    if loss.kind is LossKind.AGREEMENT:
        assert loss.value is not None
        return f"decides as the reference on {100 * loss.value:.1f} % of the samples{_range(loss, 100, '.1f', ' %')}"
    if loss.kind is LossKind.SQNR:
        noise = "no error at all" if loss.value is None else f"SQNR {loss.value:.1f} dB"
        return f"{noise}{_range(loss, 1, '.1f', ' dB')}"
    unit = "" if loss.kind is LossKind.METRIC else " points"
    what = "accuracy" if loss.kind is LossKind.ACCURACY else loss.of
    budget = budgets.metric_drop if loss.kind is LossKind.METRIC else budgets.max_drop
    assert loss.value is not None
    assert loss.low is not None
    assert loss.high is not None
    if -budget <= loss.low <= 0 <= loss.high <= budget:
        return f"{what} unchanged (±{max(-loss.low, loss.high):.2g}{unit})"
    if loss.value == 0:
        return f"no change of {what} measured ({loss.low:.2g} to {loss.high:.2g}{unit})"
    word, ends = ("lost", (loss.low, loss.high)) if loss.value > 0 else ("gained", (-loss.high, -loss.low))
    return f"{abs(loss.value):.2g}{unit} of {what} {word} ({ends[0]:.2g} to {ends[1]:.2g})"


def context(document: Benchmark, device: str, choice: Choice | None = None) -> dict[str, str]:
    """The question of the choice: model, device, date and budgets, each in words by its name."""
    source = document.reference.source if document.reference else None
    known = {
        "model": f"{source.path} ({source.digest[:8]})" if source else "",
        "device": device_in_words(document, device),
        "measured": document.created[:10],
        "timings": unstable_in_words(document, device),
        "budgets": budgets_in_words(choice) if choice else "",
    }
    return {name: words for name, words in known.items() if words}


def unstable_in_words(document: Benchmark, device: str) -> str:
    """A phrase on the timings that were not stable; empty if all were, or none counts."""
    timed = [result for result in document.results if result.device == device and result.latency_ms is not None]
    rows = [result for result in timed if not result.emulated]
    unstable = [result.variant for result in rows if result.stable is False]
    if not unstable:
        return ""
    names = "all variants" if len(unstable) == len(rows) else list_in_words(unstable)
    return f"not stable for {names}: run edgetf benchmark again on an idle machine"


def device_in_words(document: Benchmark, device: str) -> str:
    """A device with its description."""
    name = "this machine" if device == "local" else device
    machine = document.machine.get("model") or document.machine.get("cpu") or ""
    return f"{name} ({machine})" if machine else name


def budgets_in_words(choice: Choice) -> str:
    """The budgets that the variants were judged by."""
    budgets, kinds = choice.budgets, {c.loss.kind for c in choice.candidates if c.loss is not None}
    named = [
        (LossKind.ACCURACY in kinds, f"at most {budgets.max_drop:g} {_points(budgets.max_drop)} of accuracy lost"),
        (LossKind.LABELS in kinds, f"at most {budgets.max_drop:g} {_points(budgets.max_drop)} lost on the labels"),
        (LossKind.METRIC in kinds, f"at most {budgets.metric_drop:g} of the metric lost"),
        (LossKind.AGREEMENT in kinds, f"at least {budgets.min_agreement:.0%} of the reference's decisions"),
        (LossKind.SQNR in kinds, "the SQNR that each scheme needs"),
    ]
    parts = [words for counts, words in named if counts]
    parts += [] if budgets.max_latency_ms is None else [f"at most {human_ms(budgets.max_latency_ms)}"]
    parts += [] if budgets.max_bytes is None else [f"at most {human_bytes(budgets.max_bytes)}"]
    parts += [] if budgets.max_memory_bytes is None else [f"at most {human_bytes(budgets.max_memory_bytes)} of memory"]
    parts += [] if budgets.min_delegated is None else [f"at least {budgets.min_delegated:.4g} of operations delegated"]
    parts += [] if budgets.max_partitions is None else [f"in at most {pieces_in_words(budgets.max_partitions)}"]
    return ", ".join(parts)


# phrases --------------------------------------------------------------------------------------------------------------


def _has_aim(choice: Choice) -> bool:
    """Whether the chosen variant has a figure for the objective."""
    chosen = choice.candidates[0]
    known = {
        Objective.SIZE: chosen.bytes,
        Objective.MEMORY: chosen.memory_bytes,
        Objective.LATENCY: chosen.latency_ms,
        Objective.BOTH: chosen.latency_ms,
    }
    return choice.variant is not None and known[choice.objective] is not None


def _points(number: float) -> str:
    return "point" if number == 1 else "points"


def _worst(parts: dict[str, Judged]) -> str:
    """The reason of the part that decides, with its name if that adds information."""
    judged = worst(list(parts.values()))
    several = sum(bool(one.output) for one in parts.values()) > 1
    return f"{judged.output}: {judged.reason}" if several and judged.output else judged.reason


def _behind(objective: Objective, candidate: Candidate) -> str:
    """What is worse than in the chosen one."""
    compared = candidate.beside_chosen
    if compared is None:
        return "was not measured"
    less = "less accurate" if compared.accuracy_order is Order.MORE else ""
    least = 1.0 if objective is Objective.MEMORY else _MUCH_MEMORY
    worse = list(filter(None, (_slower(compared), _larger(compared), _hungrier(compared, least), less)))
    words = _than(worse, compared.to) or f"not measurably different from {compared.to}"
    base = candidate.beside_base
    slow = "" if base is None or base.to == compared.to else _slower(base)
    return f"{words} ({_than([slow], base.to)})" if slow and base else words


def _slower(compared: Comparison) -> str:
    return (
        human_times(compared.latency, "slower", "faster")
        if compared.latency_order is Order.MORE and compared.latency
        else ""
    )


def _larger(compared: Comparison) -> str:
    return human_times(compared.bytes, "larger", "smaller") if compared.bytes and compared.bytes > 1 else ""


def _hungrier(compared: Comparison, least: float) -> str:
    if compared.memory_order is not Order.MORE or compared.memory is None or compared.memory < least:
        return ""
    return f"{human_times(compared.memory, 'more', 'less')} memory"


def _speed(base: Comparison) -> tuple[str, bool | None]:
    """The speed, and whether it is better; None if unknown or equivalent."""
    if base.latency is None or base.latency_order is None:
        return "speed not known", None
    if base.latency_order is Order.ALIKE:
        return f"no measurable difference in speed from {base.to}", None
    return human_times(base.latency, "slower", "faster"), base.latency_order is Order.LESS


def _size(base: Comparison) -> tuple[str, bool | None]:
    if base.bytes is None:
        return "", None
    if abs(base.bytes - 1) < _SAME_SIZE:
        return f"as large as {base.to}", None
    return human_times(base.bytes, "larger", "smaller"), base.bytes < 1


def _than(words: Iterable[str], to: str) -> str:
    """ "3.3 times faster, 3.9 times smaller than float32"; empty without words."""
    joined = ", ".join(words)
    return f"{joined} than {to}" if joined and to else joined


def _range(loss: Loss, factor: float, form: str, unit: str) -> str:
    if loss.low is None or loss.high is None:
        return ""
    return f" ({loss.low * factor:{form}} to {loss.high * factor:{form}}{unit})"
