"""The variant to ship, and the reasons against the others, as lines."""

from __future__ import annotations

from collections.abc import Sequence

from edgetf.benchmarks.judging.choose import Choice, Standing
from edgetf.benchmarks.judging.choose_words import alike, answer, context, rule, why_not
from edgetf.console.printing import escape, print_lines
from edgetf.results import Benchmark


def show_choices(choices: Sequence[tuple[Benchmark, Choice]]) -> None:
    """Print the choice for each device."""
    for k, (document, choice) in enumerate(choices):
        if len(choices) > 1:
            print_lines(*[""][:k], f"[bold]On {escape(choice.device)}:[/]")
        _show(document, choice)


def _show(document: Benchmark, choice: Choice) -> None:
    """Print the choice, the equivalent variants, the reasons against the others, and the question."""
    print_lines(f"[bold]{escape(answer(choice))}[/]", *filter(None, (escape(alike(choice)),)))
    others = choice.candidates[1:] if choice.variant else choice.candidates
    width = max((len(one.variant) for one in others), default=0)
    for one in others:
        style = "default" if one.standing in (Standing.ALIKE, Standing.BEHIND) else "yellow"
        style = "red" if one.standing in (Standing.FAILS, Standing.NOT_RUN) else style
        print_lines(f"  [{style}]{escape(one.variant.ljust(width))}[/]  {escape(why_not(choice, one))}")
    print_lines(*filter(None, (escape(rule(choice)),)))
    print_lines(
        *(f"{name.capitalize()}: {escape(words)}" for name, words in context(document, choice.device, choice).items())
    )
