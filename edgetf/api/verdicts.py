"""The results of the functions that judge: `check`, `gate`, `choose`, `tune`, `explain`. They print as `results` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetf.api.results import Bench, Rows, Variants
from edgetf.console.printing import to_html, to_text
from edgetf.errors import EdgetfError, ExitCode
from edgetf.recipes import TUNED, Ending, Tuning
from edgetf.results import (
    Benchmark,
    Verdict,
    read_conversion,
)

if TYPE_CHECKING:
    from edgetf.benchmarks.diagnosis.ladder import Ladder
    from edgetf.benchmarks.diagnosis.layers import Layer
    from edgetf.benchmarks.judging.check import Checked
    from edgetf.benchmarks.judging.choose import Choice
    from edgetf.benchmarks.judging.verdict import Budgets, Judged


@dataclass(frozen=True)
class CheckedVariant:
    """A variant's verdict; `parts` are the judged figures by name. `record` is the complete result."""

    name: str
    device: str
    verdict: Verdict
    parts: Mapping[str, Judged]
    record: Checked

    @property
    def reason(self) -> str:
        """The reason of the part that decides the verdict."""
        from edgetf.benchmarks.judging.verdict import worst

        return worst(list(self.parts.values())).reason

    @property
    def passed(self) -> bool:
        return self.verdict is Verdict.PASS

    def __str__(self) -> str:
        warnings = "".join(f"; warning: {warning}" for warning in self.record.warnings)
        return f"{self.verdict.label}: {self.reason}{warnings}"


class Checks(Rows[CheckedVariant]):
    """The results of `edgetf.check` and `edgetf.gate`, by variant; `exit_code` is the command's.

    `warnings` are about budgets that nothing can miss, and are printed below the verdicts.
    """

    def __init__(self, checked: list[Checked]) -> None:
        self.checked = tuple(checked)
        from edgetf.benchmarks.judging.check import together

        found = together(checked)
        several, models = len({one.device for one in found}) > 1, len({one.model for one in found}) > 1
        rows = {}
        for one in found:
            named = [one.model if models else "", one.device if several else "", one.variant]
            rows["/".join(filter(None, named))] = CheckedVariant(one.variant, one.device, one.verdict, one.parts, one)
        super().__init__(rows)

    def __getitem__(self, name: str) -> CheckedVariant:
        """The variant of that key, or the only one of that name."""
        named = [key for key, one in self._rows.items() if one.name == name]
        return super().__getitem__(named[0] if name not in self._rows and len(named) == 1 else name)

    @property
    def exit_code(self) -> ExitCode:
        from edgetf.benchmarks.judging.check import exit_code

        return exit_code(list(self.checked))

    @property
    def passed(self) -> bool:
        """Whether every variant passed."""
        return self.exit_code is ExitCode.DONE

    @property
    def warnings(self) -> list[str]:
        from edgetf.benchmarks.judging.gate import warnings_of

        return warnings_of(self.checked)

    def show(self) -> None:
        from edgetf.api.tables.checks import show_checked, show_warnings

        show_checked(self.checked, "")
        show_warnings(self.warnings)

    def records(self) -> list[dict[str, Any]]:
        """A row for each judged figure."""
        return [
            {
                "variant": one.name,
                "device": one.device,
                "model": one.record.model or None,
                "part": part,
                "verdict": judged.verdict.value,
                "reason": judged.reason,
            }
            for one in self.values()
            for part, judged in one.parts.items()
        ]


class Choices(Rows["Choice"]):
    """The results of `edgetf.choose`, by device. `exit_code` is the command's, `warnings` are those of `Checks`."""

    def __init__(self, choices: Sequence[tuple[Benchmark, Choice]], warnings: Sequence[str] = ()) -> None:
        self.choices, self.warnings = tuple(choices), list(warnings)
        super().__init__({choice.device: choice for _, choice in choices})

    @property
    def exit_code(self) -> ExitCode:
        from edgetf.benchmarks.judging.choose import exit_code

        return exit_code([choice for _, choice in self.choices])

    def show(self) -> None:
        from edgetf.api.tables.checks import show_warnings
        from edgetf.api.tables.choices import show_choices

        show_choices(self.choices)
        show_warnings(self.warnings)

    def records(self) -> list[dict[str, Any]]:
        """A row for each variant on each device, the chosen one first."""
        return [
            {
                "device": choice.device,
                "variant": one.variant,
                "standing": one.standing.value,
                "verdict": one.verdict.value,
                "latency_ms": one.latency_ms,
                "bytes": one.bytes,
                "memory_bytes": one.memory_bytes,
            }
            for choice in self.values()
            for one in choice.candidates
        ]


@dataclass(frozen=True)
class Tuned:
    """What `edgetf.tune` found, in `folder`. `document` is `tuning.json`; `exit_code` is the command's."""

    folder: Path
    document: Tuning

    @property
    def path(self) -> Path | None:
        """The tuned file, or the one of the given variants that is the answer; None if nothing is proven."""
        proven = self.document.ending in (Ending.TUNED, Ending.PLAIN)
        return self.folder / f"{TUNED}.tflite" if proven else None

    @property
    def variants(self) -> Variants:
        """The folder as one of variants, for `edgetf.benchmark` and the others. Raises EdgetfError where there is no
        file."""
        return Variants(self.folder, read_conversion(self.folder))

    @property
    def bench(self) -> Bench:
        """The benchmark that the winner was proven by."""
        return Bench.read(self.folder / "bench")

    @property
    def choices(self) -> Choices:
        """What `edgetf.choose` answers, with the tuned variant among the others.

        What passes on the samples of the proof without having been asked for does not count: of many variants at the
        budget some one passes by luck. It is left out where it would be the answer.
        """
        from edgetf.benchmarks.judging.choose import Objective, choose

        limits, budgets, found = self.document.limits, self._budgets, self.bench.document
        aim, answer = Objective(self.document.aim.value), self._answer
        [choice] = choose(found, aim, budgets, limits.explicit_drop)
        while choice.variant not in (None, answer) and len(found.results) > 1:
            found = replace(found, results=tuple(one for one in found.results if one.variant != choice.variant))
            [choice] = choose(found, aim, budgets, limits.explicit_drop)
        return Choices([(found, choice)])

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the budgets: those that nothing can miss, as in `Checks`."""
        from edgetf.benchmarks.judging.check import check
        from edgetf.benchmarks.judging.gate import warnings_of
        from edgetf.benchmarks.judging.toothless import toothless

        try:
            return warnings_of(check(self.bench.document, self._budgets, self.document.limits.explicit_drop))
        except EdgetfError:  # without a benchmark, nothing was to be proven
            return list(toothless(None, self._budgets))

    @property
    def _budgets(self) -> Budgets:
        from edgetf.benchmarks.judging.verdict import Budgets

        limits = self.document.limits
        return Budgets(
            max_drop=limits.max_drop,
            max_metric_drop=limits.max_metric_drop,
            max_bytes=limits.max_bytes,
            max_latency_ms=limits.max_latency_ms,
        )

    @property
    def _answer(self) -> str | None:
        """The variant in the benchmark that was proven: the winner, or without one the given one that passes."""
        document = self.document
        if document.ending is Ending.TUNED:
            return TUNED
        return document.winner if document.ending is Ending.PLAIN else document.plain

    @property
    def exit_code(self) -> ExitCode:
        known = {Ending.NOTHING_PASSES: ExitCode.BUDGET_MISSED, Ending.UNDECIDED: ExitCode.NOT_ENOUGH_DATA}
        return known.get(self.document.ending, ExitCode.DONE)

    def __str__(self) -> str:
        return to_text(self.show)

    def _repr_html_(self) -> str:
        return to_html(self.show)

    def show(self) -> None:
        from edgetf.api.tables.checks import show_warnings
        from edgetf.api.tables.tuning import show_tuning

        show_tuning(self.document)
        show_warnings(self.warnings)


@dataclass(frozen=True)
class Explanation:
    """The result of `edgetf.explain`: the steps, and the layers with the largest errors of their own."""

    ladder: Ladder
    layers: tuple[Layer, ...]

    @property
    def exit_code(self) -> ExitCode:
        """The command's exit code: for the worst verdict of a step or of all steps together."""
        verdicts = {self.ladder.whole, *(rung.verdict for rung in self.ladder.rungs)}
        if Verdict.FAIL in verdicts:
            return ExitCode.BUDGET_MISSED
        return ExitCode.NOT_ENOUGH_DATA if Verdict.INCONCLUSIVE in verdicts else ExitCode.DONE

    def __str__(self) -> str:
        return to_text(self.show)

    def _repr_html_(self) -> str:
        return to_html(self.show)

    def show(self) -> None:
        from edgetf.api.tables.explanation import show_ladder, show_layers

        show_ladder(self.ladder)
        show_layers(self.layers)
