"""What `edgetf.run` returns: the answers by model and device, with the record of every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgetf.api.results import Rows
from edgetf.benchmarks.judging.check import Checked
from edgetf.benchmarks.judging.verdict import Judged
from edgetf.errors import ExitCode
from edgetf.plans.execute import exit_code
from edgetf.plans.record import Answer, RunRecord, State, Verb
from edgetf.results import Verdict


class Ran(Rows[Answer]):
    """The result of `edgetf.run`: the answer for each model, with several devices for each MODEL/DEVICE.

    `document` is `run.json` in `folder`, with every step; `exit_code` is the command's.
    """

    def __init__(self, folder: Path, document: RunRecord) -> None:
        self.folder, self.document = folder, document
        devices = {device for _, device in document.targets}
        super().__init__(
            {one.model if len(devices) < 2 else f"{one.model}/{one.device}": one for one in document.answers}
        )

    def __getitem__(self, name: str) -> Answer:
        """The answer of that key. Raises KeyError with the reason if a step failed."""
        if name not in self._rows:
            for model, device in self.document.targets:
                failed = self.document.failure(model, device)
                if failed is not None and name in (model, f"{model}/{device}"):
                    raise KeyError(f"{name!r}: {failed.name} failed: {failed.error}")
        return super().__getitem__(name)

    @property
    def exit_code(self) -> ExitCode:
        return exit_code(self.document)

    @property
    def shipped(self) -> list[Checked]:
        """The verdict on what is to be shipped of each model on each device, and a failure for each without."""
        found = []
        for one in self.document.answers:
            verdict = one.verdict or Verdict.FAIL
            parts = {"answer": Judged(verdict, one.sentence)}
            found.append(Checked(one.variant or "none", one.device, verdict, parts, one.verdict is None, one.model))
        for step in self.document.steps:
            if step.state is State.FAILED and step.verb is not Verb.TUNE:
                parts = {step.verb.value: Judged(Verdict.FAIL, step.error)}
                found.append(Checked("none", step.device or "", Verdict.FAIL, parts, True, step.model))
        return found

    def show(self) -> None:
        from edgetf.plans.table import show_answers

        show_answers(self.document)

    def records(self) -> list[dict[str, Any]]:
        """A row for each model on each device: what to ship, its bytes, and the sentence about it."""
        return [
            {
                "model": one.model,
                "device": one.device,
                "ran_on": one.ran_on,
                "variant": one.variant,
                "verdict": one.verdict.value if one.verdict else None,
                "bytes": one.bytes,
                "file": one.file,
                "bundle": one.bundle,
                "report": one.report,
                "sentence": one.sentence,
            }
            for one in self.values()
        ]
