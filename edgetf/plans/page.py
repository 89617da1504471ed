"""The page on a whole plan: every variant of every model on every device. In: `run.json`. Out: one HTML file."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgetf import files
from edgetf.benchmarks.judging.front import latency_of
from edgetf.benchmarks.judging.gate import Gate, judge_result
from edgetf.benchmarks.judging.verdict import worst
from edgetf.benchmarks.report.colours import GRID, INK
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.plans.record import Answer, RunRecord, State
from edgetf.results import read_benchmark
from edgetf.units import human_bytes, human_ms
from edgetf.verdicts import LOOKS

PAGE = "report.html"


@dataclass(frozen=True)
class Row:
    """A variant of a model on a device: `values` sort the columns, `shipped` is whether it is the answer."""

    model: str
    device: str
    variant: str
    verdict: str
    reason: str
    latency: str
    size: str
    values: tuple[float | None, int | None]
    shipped: bool
    report: str | None


def write_page(record: RunRecord, budgets: Gate, out: Path) -> None:
    """Write the page into the folder `out`. Raises EdgetfError if that fails."""
    files.write_whole(out / PAGE, render(record, budgets, out).encode())


def render(record: RunRecord, budgets: Gate, out: Path) -> str:
    """The page as HTML text; links are relative to `out`."""
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader
    except ModuleNotFoundError as error:
        raise MissingExtraError("jinja2", "report") from error
    loader = ChoiceLoader([PackageLoader("edgetf.plans", "."), PackageLoader("edgetf.benchmarks.report", ".")])
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    script, _, _ = loader.get_source(environment, "report.js.j2")
    return environment.get_template("plan.html.j2").render(
        record=record,
        answers=[(one, _where(one), _relative(one.report, out)) for one in record.answers],
        rows=[row for one in record.answers for row in _rows(one, budgets, out)],
        absent=[(model, device, why) for model, device in record.targets if (why := _absence(record, model, device))],
        failed=[step for step in record.steps if step.state is State.FAILED],
        looks=LOOKS,
        ink=INK,
        grid=GRID,
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _rows(answer: Answer, budgets: Gate, out: Path) -> Iterator[Row]:
    try:
        document = read_benchmark(Path(answer.bench))
    except EdgetfError:  # removed from the store: the answer remains
        return
    for result in document.results:
        checked = judge_result(budgets.for_variant(result.variant), result, document.reference is not None)
        latency = latency_of(result)
        yield Row(
            model=answer.model,
            device=_where(answer),
            variant=result.variant,
            verdict=checked.verdict.value,
            reason=worst(list(checked.parts.values())).reason if checked.parts else "",
            latency=human_ms(latency.value) if latency else "",
            size=human_bytes(result.bytes) if result.bytes else "",
            values=(latency.value if latency else None, result.bytes),
            shipped=result.variant == answer.variant,
            report=_relative(answer.report, out),
        )


def _absence(record: RunRecord, model: str, device: str) -> str:
    """Why a model has no answer on a device; empty if it has one."""
    if any((one.model, one.device) == (model, device) for one in record.answers):
        return ""
    failed = record.failure(model, device)
    return "no step has measured it" if failed is None else f"{failed.verb.value} failed: {failed.error}"


def _where(answer: Answer) -> str:
    """The device, with the member of its class that was measured."""
    return answer.device if answer.ran_on == answer.device else f"{answer.device} ({answer.ran_on})"


def _relative(place: str | None, out: Path) -> str | None:
    return Path(os.path.relpath(place, out)).as_posix() if place else None
