"""Sentences of the report, on the benchmark and on each variant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgetf.benchmarks.judging.choose import Candidate, Choice, Standing
from edgetf.benchmarks.judging.choose_words import alike, answer, context, gains, remark, rule, why_not
from edgetf.benchmarks.judging.covered import coverage_in_words
from edgetf.results import Benchmark, Result, Status, Verdict
from edgetf.units import human_ms

_FAILED = {"conversion": "was not converted", "device": "did not run", "parity": "cannot be compared"}


@dataclass(frozen=True)
class Answer:
    """The first screen, for one device: the choice, remarks on it, and the question, by name."""

    sentence: str
    more: str
    context: dict[str, str]


@dataclass(frozen=True)
class Story:
    """The report on one variant: a verdict with a remark, sentences on its reasons, one on its latency, one on what its
    delegate took, one on its gains."""

    result: Result
    name: str
    verdict: str
    remark: str
    headline: str
    why: tuple[str, ...]
    latency: str
    coverage: str
    gains: str


def answers_of(document: Benchmark, choices: Sequence[Choice]) -> list[Answer]:
    """The choice for each device; without a Reference, what was measured instead."""
    if document.reference is None:
        return [Answer(*_without_reference(document), context(document, choices[0].device))]
    answers = []
    for choice in choices:
        where = f"On {choice.device}: " if len(choices) > 1 else ""
        more = " ".join(filter(None, (alike(choice), rule(choice))))
        answers.append(Answer(f"{where}{answer(choice)}", more, context(document, choice.device, choice)))
    return answers


def _without_reference(document: Benchmark) -> tuple[str, str]:
    ran = sum(r.status is not Status.FAILED for r in document.results)
    done = f"{ran} of {len(document.results)} variants were timed; nothing was compared with a reference."
    if not ran:
        return f"None of {len(document.results)} variants ran.", ""
    return done, "Whether one can be shipped is not known: benchmark again with --reference."


def stories_of(document: Benchmark, choices: Sequence[Choice]) -> list[Story]:
    """The story of each variant, in the order of the results."""
    found = {(choice.device, c.variant): (choice, c) for choice in choices for c in choice.candidates}
    stories = []
    for result in document.results:
        choice, candidate = found[result.device, result.variant]
        name = f"{result.variant} on {result.device}" if len(choices) > 1 else result.variant
        verdict, headline, why = _judgement(result, choice, candidate)
        story = Story(
            result=result,
            name=name,
            verdict=verdict,
            remark=remark(candidate),
            headline=f"{name} {headline}",
            why=why,
            latency=_latency(result, document),
            coverage=_coverage(result),
            gains=f"It is {gains(candidate)}." if candidate.beside_base else "",
        )
        stories.append(story)
    return stories


def _judgement(result: Result, choice: Choice, candidate: Candidate) -> tuple[str, str, tuple[str, ...]]:
    """The verdict, its words, and sentences on its reasons."""
    if result.error is not None:
        return "fail", _FAILED.get(result.error.code, "failed"), (f"{result.error.message.rstrip('.')}.",)
    if result.parity is None:
        return "none", "was timed", ("It was not compared with a reference.",)
    several = len(candidate.parts) > 1
    why = tuple(
        f"{judged.output or what}: {judged.reason}." if several else f"{judged.reason[:1].upper()}{judged.reason[1:]}."
        for what, judged in candidate.parts.items()
    )
    return candidate.verdict.value, _headline(choice, candidate), why


def _headline(choice: Choice, candidate: Candidate) -> str:
    if candidate.standing is Standing.CHOSEN:
        return "passes, and is chosen"
    if candidate.verdict is Verdict.PASS and choice.variant is not None:
        return why_not(choice, candidate)
    slow = remark(candidate)
    return f"{candidate.verdict.look.verb}{', and is ' if slow else ''}{slow}"


def _latency(result: Result, document: Benchmark) -> str:
    """The median on the device, and TensorFlow's for one sample if measured."""
    if result.latency_ms is None:
        return ""
    sentence = f"One sample takes {human_ms(result.latency_ms.median)}"
    if result.emulated:
        sentence += " on an emulated device, whose times differ from those of the hardware"
    reference = document.reference
    if reference is None:
        return f"{sentence}."
    where = {"gpu": "on the GPU", "cpu": "on the CPU", "serving": "over TensorFlow Serving"}[reference.device.kind]
    many = "" if reference.batch_alone == 1 else f" for {reference.batch_alone} at once"
    return f"{sentence}; TensorFlow takes {human_ms(reference.latency_ms.median)}{many} {where}."


def _coverage(result: Result) -> str:
    """What the delegate took, if that is known."""
    if result.coverage is None:
        return ""
    words = coverage_in_words(result.coverage)
    is_file = "." in result.coverage.accelerator  # whose name stays as it is
    return f"{words if is_file else words[:1].upper() + words[1:]}."


def reference_in_words(document: Benchmark) -> str:
    """Where TensorFlow ran. The name of a CPU that is already shown is not repeated."""
    assert document.reference is not None
    device = document.reference.device
    known = device.name in document.machine.values()
    return device.sentence.replace(f" ({device.name})", "") if known else device.sentence


def machine_in_words(document: Benchmark) -> str:
    """A description of the device without its name, which is already shown."""
    machine = document.machine
    parts = [machine.get("cpu", "")] if machine.get("model") not in (None, "", machine.get("cpu")) else []
    parts += [f"{machine['cores']} cores"] if machine.get("cores") else []
    return ", ".join(filter(None, (*parts, machine.get("memory", ""), machine.get("system", ""))))
