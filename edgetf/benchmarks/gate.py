"""The gate: budgets in one TOML file and benchmarks of one or more devices in; a verdict on every variant out.

    variants = ["int8"]             # that must be there; without it, all that were measured

    [budgets]
    max_drop = 1.0                  # points of accuracy
    max_metric_drop = 0.01          # of a --metric of yours, in its unit
    max_bytes = 500_000
    max_memory_bytes = 80_000_000   # peak of the process
    max_latency_ms = { local = 5.0, pi = 20.0 }

    [budgets.of.int8]               # what is different for one variant
    max_drop = 0.5

Nothing passes by being empty: a variant or a device that the file names and nobody measured is a failure.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.benchmarks.check import Checked, check_one
from edgetf.benchmarks.verdict import Budgets, Judged, judge_agreement, worst
from edgetf.errors import EdgetfError, nearest
from edgetf.results import Benchmark, Result, Verdict

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NUMBERS = ("max_drop", "max_metric_drop", "min_agreement", "max_bytes", "max_memory_bytes")
_LATENCY, _OF = "max_latency_ms", "of"


@dataclass(frozen=True)
class Gate:
    """What a release may cost: `variants` that must be there (all where empty), budgets for all, and for one each.

    `latency_ms` are milliseconds by the name of the device. `asked` are the budgets that the file sets.
    """

    variants: tuple[str, ...]
    budgets: Budgets
    latency_ms: dict[str, float]
    asked: frozenset[str]
    of: dict[str, Gate] = field(default_factory=dict)

    def for_variant(self, name: str) -> Gate:
        return self.of.get(name, self)


def load_gate(path: Path) -> Gate:
    """Read the budgets at `path`. Raises EdgetfError for a file that is missing or not right, naming the key."""
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise EdgetfError(f"cannot read {path}: {error}", "see `edgetf gate --help` for an example") from error
    _refuse_unknown(path, "", table, ("variants", "budgets"))
    variants = table.get("variants", [])
    if not isinstance(variants, list) or not all(isinstance(name, str) for name in variants):
        raise EdgetfError(f"{path}: variants = {variants!r} is not a list of names", 'write variants = ["int8"]')
    budgets = table.get("budgets", {})
    if not isinstance(budgets, dict) or not budgets:
        raise EdgetfError(f"{path} sets no budgets", "add [budgets] with max_drop, max_latency_ms, max_bytes")
    common = _read(path, "budgets", {k: v for k, v in budgets.items() if k != _OF}, None)
    of = {name: _read(path, f"budgets.of.{name}", own, common) for name, own in budgets.get(_OF, {}).items()}
    return replace(common, variants=tuple(variants), of=of)


def judge(gate: Gate, benchmarks: Sequence[Benchmark]) -> list[Checked]:
    """The verdict on each result of `benchmarks`, and failures for what is missing. Raises EdgetfError without any."""
    results = [(result, benchmark.reference is not None) for benchmark in benchmarks for result in benchmark.results]
    if not results:
        raise EdgetfError("there are no results to judge", "run: edgetf benchmark")
    wanted = set(gate.variants) or {result.variant for result, _ in results}
    checked = [_judge(gate.for_variant(r.variant), r, compared) for r, compared in results if r.variant in wanted]
    measured = {(result.variant, result.device) for result, _ in results}
    for variant in sorted(wanted | set(gate.of)):
        devices = gate.for_variant(variant).latency_ms or {""}
        for device in sorted(devices):
            if not any(v == variant and device in ("", d) for v, d in measured):
                missing = Judged(Verdict.FAIL, f"it was not measured{' on ' + device if device else ''}")
                checked.append(Checked(variant, device, Verdict.FAIL, {"measured": missing}, False))
    return checked


def _judge(gate: Gate, result: Result, compared: bool) -> Checked:
    """What is asked of parity must have been compared, and an agreement that is asked for is judged beside the drop."""
    budgets = replace(gate.budgets, max_latency_ms=gate.latency_ms.get(result.device))
    compared = compared or bool(gate.asked & {"max_drop", "max_metric_drop", "min_agreement"})
    checked = check_one(result, budgets, "max_drop" in gate.asked, compared)
    if "min_agreement" not in gate.asked or result.parity is None or checked.failed_run:
        return checked
    parts = dict(checked.parts)
    for output in result.parity.outputs:
        parts[f"agreement of {output.name}"] = judge_agreement(output, budgets)
    return replace(checked, parts=parts, verdict=worst(list(parts.values())).verdict)


def _read(path: Path, where: str, table: Any, common: Gate | None) -> Gate:
    """One table of budgets; what it does not set is that of `common`."""
    if not isinstance(table, dict):
        raise EdgetfError(f"{path}: {where} = {table!r} is not a table", "see `edgetf gate --help` for an example")
    _refuse_unknown(path, f"{where}.", table, (*_NUMBERS, _LATENCY))
    latency = table.get(_LATENCY, {})
    if not isinstance(latency, dict):
        raise EdgetfError(f"{path}: {where}.{_LATENCY} names no device", f"write {_LATENCY} = {{ local = {latency} }}")
    numbers = {key: table[key] for key in _NUMBERS if key in table}
    for key, value in [*numbers.items(), *((f"{_LATENCY}.{device}", ms) for device, ms in latency.items())]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise EdgetfError(f"{path}: {where}.{key} = {value!r} is not a number from 0", "correct it")
    if numbers.get("min_agreement", 0) > 1:
        raise EdgetfError(f"{path}: {where}.min_agreement is a share", "write 0.98 for 98 %")
    base, asked = (common.budgets, common.asked) if common else (Budgets(), frozenset[str]())
    merged = {**(common.latency_ms if common else {}), **latency}
    return Gate((), replace(base, **numbers), merged, asked | numbers.keys())


def _refuse_unknown(path: Path, where: str, table: dict[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise EdgetfError(f"{path}: unknown key {where + key!r}", nearest(key, known))


def write_reports(checked: Sequence[Checked], junit: Path | None, summary: Path | None) -> None:
    """The verdicts as JUnit XML, which CI systems show, and appended to a Markdown file, such as GitHub's summary."""
    if junit is not None:
        files.write_whole(junit, to_junit(checked))
    if summary is not None:
        try:
            with summary.open("a") as file:
                file.write(to_markdown(checked))
        except OSError as error:
            raise EdgetfError(f"cannot write {summary}: {error.strerror}", "choose another file") from error


def to_junit(checked: Sequence[Checked]) -> bytes:
    """A test suite with a case for each variant, device and budget. What is undecided is a failure, and says so."""
    from xml.etree import ElementTree

    cases = [(one, what, judged) for one in checked for what, judged in one.parts.items()]
    bad = [judged for _, _, judged in cases if judged.verdict is not Verdict.PASS]
    suite = ElementTree.Element("testsuite", name="edgetf gate", tests=str(len(cases)), failures=str(len(bad)))
    for one, what, judged in cases:
        of = f"{one.device or 'no device'}.{one.variant}"
        case = ElementTree.SubElement(suite, "testcase", classname=of, name=what)
        if judged.verdict is not Verdict.PASS:
            ElementTree.SubElement(case, "failure", type=judged.verdict.value, message=judged.reason)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def to_markdown(checked: Sequence[Checked]) -> str:
    """A table of the verdicts."""
    words = {Verdict.PASS: "✅ pass", Verdict.FAIL: "❌ FAIL", Verdict.INCONCLUSIVE: "❔ not enough data"}
    lines = ["## edgetf gate", "", "| variant | device | what | verdict | because |", "|---|---|---|---|---|"]
    for one in checked:
        for what, judged in one.parts.items():
            cells = (one.variant, one.device, what, words[judged.verdict], judged.reason)
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join([*lines, "", ""])
