"""A step as a function of edgetf with its arguments: it can run in this process, or on another machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import edgetf
from edgetf.events import OnEvent
from edgetf.plans.plan import Options, Plan, PlannedModel
from edgetf.plans.record import Verb
from edgetf.results import LabelUse, read_reference


@dataclass(frozen=True)
class Call:
    """The function of edgetf named `verb`, with `arguments` that JSON can express, besides `out`.

    `model` is the name that the plan gives the model.
    `reads` are the paths and sources whose files it reads; `device` is the device that it needs, if it needs one. A
    fresh call is made again although there is a result of its key.
    """

    model: str
    verb: Verb
    arguments: dict[str, Any]
    reads: tuple[str, ...]
    device: str | None = None
    is_fresh: bool = False

    @property
    def title(self) -> str:
        """Such as "digits: benchmark on pi"."""
        return f"{self.model}: {self.verb.value}{f' on {self.device}' if self.device else ''}"

    def run(self, place: Path, on_event: OnEvent, **more: Any) -> None:
        """Run it in this process, and write its result to `place`. Raises EdgetfError."""
        arguments = self.arguments | ({} if self.device is None else {"device": self.device}) | more
        getattr(edgetf, self.verb.value)(**arguments, out=place, force=True, on_event=on_event)


def conversion(model: PlannedModel, options: Options) -> Call:
    arguments = {
        "model": model.path,
        "samples": model.samples,
        "schemes": model.schemes,
        "calibration": options.calibration,
        "shapes": model.shapes,
        "signature": model.signature,
        "select_tf_ops": model.select_tf_ops,
        "keep_float": model.keep_float,
        "pixels": model.pixels or "",
        "allow_nan": model.allow_nan,
        "trust": model.trust,
    }
    return Call(model.name, Verb.CONVERT, arguments, _given(model.path, model.samples))


def reference(model: PlannedModel, options: Options) -> Call:
    arguments = {
        "model": model.path,
        "samples": model.test,
        "on": options.on,
        "signature": model.signature,
        "labels_are": model.labels_are,
        "allow_nan": model.allow_nan,
        "trust": model.trust,
    }
    return Call(model.name, Verb.REFERENCE, arguments, _given(model.path, model.test))


def benchmark(model: PlannedModel, device: str, made: Sequence[Path], options: Options) -> Call:
    """`made` are the folders of the variants and of the reference."""
    arguments = {
        "variants": str(made[0]),
        "reference": str(made[1]),
        "runtime": options.runtime,
        "delegate": options.delegate,
        "delegate_option": options.delegate_options,
        "threads": options.threads,
        "blocks": options.blocks,
        "sustained": options.sustained,
        "metric": model.metric,
        "metric_less_is_better": model.metric_less_is_better,
    }
    return Call(model.name, Verb.BENCHMARK, arguments, (*map(str, made), *_given(model.test)), device)


def tuning(model: PlannedModel, device: str, made: Sequence[Path], plan: Plan, objective: str) -> Call:
    """`made` are the folders of the variants and of the reference."""
    limits, budgets = plan.budgets, plan.budgets.budgets
    labels = read_reference(made[1]).labels
    has_classes = any(score.use in (LabelUse.CLASS, LabelUse.POSITIONS) for score in labels)
    is_judged_by_drop = "max_drop" in limits.asked and not model.metric and has_classes
    arguments = {
        "variants": str(made[0]),
        "reference": str(made[1]),
        "samples": model.samples,
        "objective": objective,
        "max_drop": budgets.max_drop if is_judged_by_drop else None,
        "max_metric_drop": budgets.max_metric_drop if model.metric else None,
        "max_latency_ms": limits.latency_ms.get(device),
        "max_bytes": budgets.max_bytes,
        "metric": model.metric,
        "metric_less_is_better": model.metric_less_is_better,
        "evaluations": plan.tuning.evaluations,
        "keep_float": model.keep_float,
    }
    return Call(model.name, Verb.TUNE, arguments, (*map(str, made), *_given(model.samples, model.test)), device)


def _given(*sources: str | None) -> tuple[str, ...]:
    return tuple(source for source in sources if source is not None)
