"""Write a plan as `edgetf.toml`, so that the run of a command can be repeated and extended."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from edgetf.benchmarks.judging.gate import Gate
from edgetf.conversion.hub import PREFIX
from edgetf.plans.plan import NAME, NO_BUDGETS, Options, Plan, PlannedModel, Tuning

_MARK = "# Written by edgetf run, which replaces it as long as nobody edits it: "


def plan_as_toml(plan: Plan, folder: Path) -> str:
    """The text of `edgetf.toml` in `folder`. Defaults are left out, and paths are relative to it if they exist."""
    lines = [
        "# Run it again: only what has changed is made.",
        f"#   edgetf run {NAME}",
        f"out = {_text(_relative(str(plan.out), folder))}",
        f"for = {_text(plan.objective.value)}",
    ]
    if plan.modules is not None and plan.modules != folder:
        lines.append(f"modules = {_text(_relative(str(plan.modules), folder))}")
    if plan.devices_file is not None:
        lines.append(f"devices_file = {_text(_relative(str(plan.devices_file), folder))}")
    for model in plan.models:
        lines += ["", f"[models.{_key(model.name)}]", *_of_model(model, folder)]
    if plan.classes:
        lines += ["", "[classes]", *(f"{_key(name)} = {_value(names)}" for name, names in plan.classes.items())]
    if plan.budgets != NO_BUDGETS:
        lines += ["", "[budgets]", *_of_budgets(plan.budgets)]
    for name, table in (("tuning", plan.tuning), ("options", plan.options)):
        found = list(_changed(table, Tuning() if name == "tuning" else Options()))
        lines += ["", f"[{name}]", *found] if found else []
    text = "\n".join([*lines, ""])
    return f"{_MARK}{_digest(text)}\n{text}"


def is_own(text: str) -> bool:
    """Whether a plan is as `plan_as_toml` wrote it: nobody has edited it."""
    first, _, rest = text.partition("\n")
    return first == f"{_MARK}{_digest(rest)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _of_model(model: PlannedModel, folder: Path) -> Iterator[str]:
    default = PlannedModel("", "", "")
    for field in fields(model):
        value = getattr(model, field.name)
        if field.name == "name" or value == getattr(default, field.name):
            continue
        if field.name in ("path", "samples", "test"):
            value = _relative(value, folder)
        yield f"{field.name} = {_value(value)}"


def _of_budgets(gate: Gate) -> Iterator[str]:
    for name in sorted(gate.asked):
        yield f"{name} = {_value(getattr(gate.budgets, name))}"
    if gate.latency_ms:
        yield f"max_latency_ms = {_value(gate.latency_ms)}"
    for name, own in gate.of.items():
        yield from ("", f"[budgets.of.{_key(name)}]", *_of_budgets(own))


def _changed(table: Any, default: Any) -> Iterator[str]:
    for field in fields(table):
        value = getattr(table, field.name)
        if value != getattr(default, field.name):
            yield f"{field.name} = {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, Enum):
        return _text(value.value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_key(name)} = {_value(one)}' for name, one in value.items())} }}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_value, value))}]"
    return _text(str(value))


def _text(text: str) -> str:
    """A basic string of TOML, which escapes as JSON does."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if name.isascii() and name.replace("-", "").replace("_", "").isalnum() else _text(name)


def _relative(text: str, folder: Path) -> str:
    """A path from `folder`; a source that is not a path as it is."""
    if text.startswith(PREFIX) or not os.path.isabs(text):  # noqa: PTH117  # it may be no path at all
        return text if text.startswith(PREFIX) else text.replace("$", "$$")
    return os.path.relpath(text, folder).replace("$", "$$")
