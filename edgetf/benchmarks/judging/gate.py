"""The gate. In: budgets in a TOML file, and benchmarks of one or more devices. Out: a verdict on every variant.

    variants = ["int8"]             # required variants; without it, all that were measured

    [budgets]
    max_drop = 1.0                  # points of accuracy
    max_metric_drop = 0.01          # of your --metric, in its unit
    max_bytes = 500_000
    max_memory_bytes = 80_000_000   # peak of the process
    max_latency_ms = { local = 5.0, pi = 20.0 }
    min_delegated = 0.95            # share of the operations that the delegate took
    max_partitions = 1              # pieces in which it took them

    [budgets.of.int8]               # other budgets for one variant
    max_drop = 0.5

Nothing passes by being empty: a variant or a device that the file names and that was not measured is a failure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

from edgetf import files
from edgetf.benchmarks.judging.check import Checked, check_one, judge_file
from edgetf.benchmarks.judging.consistent import refuse_other_noise
from edgetf.benchmarks.judging.toothless import by_warning
from edgetf.benchmarks.judging.verdict import Budgets, Judged, judge_agreement, worst
from edgetf.benchmarks.timing.targets import find_targets
from edgetf.errors import EdgetfError, nearest
from edgetf.limits import MOST
from edgetf.results import Benchmark, Result, Verdict
from edgetf.texts import printable

_NUMBERS = (
    "max_drop",
    "max_metric_drop",
    "min_agreement",
    "max_bytes",
    "max_memory_bytes",
    "min_delegated",
    "max_partitions",
)
_SHARES = ("min_agreement", "min_delegated")
_LATENCY, _OF = "max_latency_ms", "of"
_PLANNED = "models"  # a table that every plan has
_TITLE = "edgetf gate"


@dataclass(frozen=True)
class Gate:
    """The budgets of a release: required `variants` (if empty, all), budgets for all, and for single variants.

    `latency_ms` are milliseconds by device name. `asked` are the budgets that the file sets.
    """

    variants: tuple[str, ...]
    budgets: Budgets
    latency_ms: dict[str, float]
    asked: frozenset[str]
    of: dict[str, Gate] = field(default_factory=dict)

    @property
    def sets_any(self) -> bool:
        return bool(self.asked or self.latency_ms)

    def for_variant(self, name: str) -> Gate:
        return self.of.get(name, self)


def load_gate(path: Path) -> Gate:
    """Read the budgets at `path`. Raises EdgetfError for a missing or invalid file, with the name of the key."""
    table = files.read_toml(path, "see `edgetf gate --help` for an example")
    if _PLANNED in table:
        message = f"{path} is a plan of `edgetf run`, not a file of budgets"
        raise EdgetfError(message, f"edgetf run {path} judges by its budgets; or give a file with [budgets] alone")
    _refuse_unknown(path, "", table, ("variants", "budgets"))
    variants = table.get("variants", [])
    if not isinstance(variants, list) or not all(isinstance(name, str) for name in variants):
        raise EdgetfError(f"{path}: variants = {variants!r} is not a list of names", 'write variants = ["int8"]')
    found = read_budgets(path, table.get("budgets", {}))
    if idle := sorted(set(found.of) - set(variants)) if variants else []:
        message = f"{path}: [budgets.of.{idle[0]}] is for a variant that `variants` does not name: it is never judged"
        raise EdgetfError(message, f"add {idle[0]!r} to variants, or remove these budgets")
    return replace(found, variants=tuple(variants))


def read_budgets(path: Path, budgets: Any) -> Gate:
    """The table `[budgets]` of the file at `path`. Raises EdgetfError with the name of the key."""
    if not isinstance(budgets, dict) or not budgets:
        raise EdgetfError(f"{path} sets no budgets", "add [budgets] with max_drop, max_latency_ms, max_bytes")
    common = _read(path, "budgets", {k: v for k, v in budgets.items() if k != _OF}, None)
    own_budgets = budgets.get(_OF, {})
    if not isinstance(own_budgets, dict):
        raise EdgetfError(f"{path}: budgets.{_OF} = {own_budgets!r} names no variant", "write [budgets.of.int8]")
    of = {name: _read(path, f"budgets.of.{name}", own, common) for name, own in own_budgets.items()}
    if not any(one.sets_any for one in (common, *of.values())):
        raise EdgetfError(f"{path} sets no budgets", "add [budgets] with max_drop, max_latency_ms, max_bytes")
    return replace(common, of=of)


def judge_gate(gate: Gate, benchmarks: Sequence[Benchmark], places: Sequence[Path] = ()) -> list[Checked]:
    """The verdict on each result of `benchmarks`, and a failure for each missing one. Raises EdgetfError without any.

    `places` contain the variants to release: each must be the measured file. Without them, a measured file that has
    changed is a failure.
    """
    if not any(benchmark.results for benchmark in benchmarks):
        raise EdgetfError("there are no results to judge", "run: edgetf benchmark")
    for benchmark in benchmarks:
        refuse_other_noise(benchmark)
    models = _by_model(benchmarks)
    checked = []
    for model, of_model in models.items():
        found = _judge_model(gate, of_model)
        checked += [replace(one, model=model) for one in found] if len(models) > 1 else found
    return [*checked, *(_judge_files(gate, benchmarks, places) if places else _changed(gate, benchmarks))]


def _changed(gate: Gate, benchmarks: Sequence[Benchmark]) -> list[Checked]:
    """A failure for each variant whose file has changed since the benchmark."""
    results = [result for benchmark in benchmarks for result in benchmark.results]
    wanted = [result for result in results if not gate.variants or result.variant in gate.variants]
    judged = [(result, judge_file(result)) for result in wanted]
    return [Checked(one.variant, one.device, Verdict.FAIL, {"file": why}, False) for one, why in judged if why]


def _judge_files(gate: Gate, benchmarks: Sequence[Benchmark], places: Sequence[Path]) -> list[Checked]:
    """Failures for files to release that are not the measured ones, and for missing variants that the gate requires.

    Measured variants that are not released are ignored.
    """
    targets = [target for target in find_targets(places) if target.failed is None]
    results = [result for benchmark in benchmarks for result in benchmark.results if result.sha256]
    measured, checked = {result.sha256 for result in results}, []
    for target in targets:
        wanted = not gate.variants or target.path.stem in gate.variants
        same = {result.sha256 for result in results if result.variant in (target.path.stem, target.name)}
        if wanted and target.sha256 not in (same or measured):
            why = "it is not the file that was measured" if same else "it was not measured"
            checked.append(_failed(target.path.stem, "", "file", f"{target.path}: {why}: benchmark it again"))
    released = {target.sha256 for target in targets} | {target.path.stem for target in targets}
    for result in results:
        if result.variant in gate.variants and not {result.variant, result.sha256} & released:
            checked.append(_failed(result.variant, result.device, "file", "the measured file is missing"))
    return checked


def _failed(variant: str, device: str, what: str, why: str) -> Checked:
    return Checked(variant, device, Verdict.FAIL, {what: Judged(Verdict.FAIL, why)}, False)


def _judge_model(gate: Gate, benchmarks: Sequence[Benchmark]) -> list[Checked]:
    """The verdicts on one model; each required variant needs one on each device with a budget."""
    results = [(result, benchmark.reference is not None) for benchmark in benchmarks for result in benchmark.results]
    wanted = set(gate.variants) or {result.variant for result, _ in results}
    checked = [judge_result(gate.for_variant(r.variant), r, compared) for r, compared in results if r.variant in wanted]
    measured = {(result.variant, result.device) for result, _ in results}
    for variant in sorted(wanted | set(gate.of)):
        devices = gate.for_variant(variant).latency_ms or {""}
        for device in sorted(devices):
            if not any(v == variant and device in ("", d) for v, d in measured):
                checked.append(_failed(variant, device, "measured", _unmeasured(variant, device, measured)))
    return checked


def _unmeasured(variant: str, device: str, measured: Set[tuple[str, str]]) -> str:
    """Why a variant has no result on a device (if empty, on any); `measured` are the names of those that have."""
    variants, devices = ({pair[k] for pair in measured} for k in (0, 1))
    why = f"it was not measured{' on ' + device if device else ''}"
    if variant not in variants:
        return f"{why}: {nearest(variant, sorted(variants))}"
    return f"{why}: {nearest(device, sorted(devices))}" if device not in devices else why


def _by_model(benchmarks: Sequence[Benchmark]) -> dict[str, list[Benchmark]]:
    """The benchmarks of each model by its short name: the last parts of its path.

    A benchmark without a reference belongs to the model that its variants were made from, or to the model of another
    benchmark of the same file.
    """
    known: dict[str, str] = {}
    for benchmark in benchmarks:
        if benchmark.reference is not None:
            files_of = [result.sha256 for result in benchmark.results if result.sha256]
            known.update(dict.fromkeys(files_of, benchmark.reference.source.digest))
    grouped: dict[str, list[Benchmark]] = {}
    paths: dict[str, str] = {}
    for benchmark in benchmarks:
        made_from = (result.source for result in benchmark.results if result.source)
        source = benchmark.reference.source if benchmark.reference else next(made_from, None)
        linked = (known[result.sha256] for result in benchmark.results if result.sha256 in known)
        digest = source.digest if source else next(linked, "")
        grouped.setdefault(digest, []).append(benchmark)
        if source is not None:
            paths.setdefault(digest, source.path)
    names = _short_names(paths)
    return {names.get(digest, "unknown model"): of_model for digest, of_model in grouped.items()}


def _short_names(paths: Mapping[str, str]) -> dict[str, str]:
    """The shortest suffix of each path that is unique; models with the same path also get a part of their digest."""
    names: dict[str, str] = {}
    for digest, path in paths.items():
        parts, others = Path(path).parts, [p for d, p in paths.items() if d != digest]
        names[digest] = path or "."
        for count in range(1, len(parts) + 1):
            names[digest] = str(Path(*parts[-count:]))
            if not any(Path(other).parts[-count:] == parts[-count:] for other in others):
                break
        else:
            names[digest] += f" ({digest[:8]})"
    return names


def judge_result(gate: Gate, result: Result, compared: bool) -> Checked:
    """Judge a result by the budgets of its variant.

    A budget for parity needs a comparison; agreement is judged in addition to the drop.
    """
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
    """One table of budgets, with defaults from `common`."""
    if not isinstance(table, dict):
        raise EdgetfError(f"{path}: {where} = {table!r} is not a table", "see `edgetf gate --help` for an example")
    _refuse_unknown(path, f"{where}.", table, (*_NUMBERS, _LATENCY))
    if not table and common is not None:
        raise EdgetfError(f"{path}: [{where}] sets no budget", "set one, or remove the line")
    latency = table.get(_LATENCY, {})
    if not isinstance(latency, dict):
        raise EdgetfError(f"{path}: {where}.{_LATENCY} names no device", f"write {_LATENCY} = {{ local = {latency} }}")
    numbers = {key: table[key] for key in _NUMBERS if key in table}
    for key, value in [*numbers.items(), *((f"{_LATENCY}.{device}", ms) for device, ms in latency.items())]:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (0 <= value <= MOST or value == inf):
            raise EdgetfError(f"{path}: {where}.{key} = {value!r} is not a number of at least 0", "correct it")
    for key in _SHARES:
        if numbers.get(key, 0) > 1:
            raise EdgetfError(f"{path}: {where}.{key} is a share", "write 0.98 for 98 %")
    pieces = numbers.get("max_partitions", 1)
    if not isinstance(pieces, int) or pieces < 1:
        raise EdgetfError(f"{path}: {where}.max_partitions = {pieces!r} is not a number of pieces", "write 1")
    base, asked = (common.budgets, common.asked) if common else (Budgets(), frozenset[str]())
    merged = {**(common.latency_ms if common else {}), **latency}
    return Gate((), replace(base, **numbers), merged, asked | numbers.keys())


def _refuse_unknown(path: Path, where: str, table: dict[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise EdgetfError(f"{path}: unknown key {where + key!r}", nearest(key, known))


def write_reports(checked: Sequence[Checked], junit: Path | None, summary: Path | None, title: str = _TITLE) -> None:
    """Write the verdicts as JUnit XML, for CI systems, and append them to a Markdown file, such as GitHub's summary."""
    if junit is not None:
        files.write_whole(junit, to_junit(checked, title))
    if summary is not None:
        try:
            with summary.open("a") as file:
                file.write(to_markdown(checked, title))
        except OSError as error:
            raise EdgetfError(f"cannot write {summary}: {error.strerror}", "choose another file") from error


def to_junit(checked: Sequence[Checked], title: str = _TITLE) -> bytes:
    """A test suite with a case for each variant, device and budget. An undecided case is reported as a failure."""
    from xml.etree import ElementTree

    cases = [(one, what, judged) for one in checked for what, judged in one.parts.items()]
    bad = [judged for _, _, judged in cases if judged.verdict is not Verdict.PASS]
    suite = ElementTree.Element("testsuite", name=title, tests=str(len(cases)), failures=str(len(bad)))
    for one, what, judged in cases:
        of = ".".join([*([one.model] if one.model else []), one.device or "no device", one.variant])
        case = ElementTree.SubElement(suite, "testcase", classname=printable(of), name=printable(what))
        if judged.verdict is not Verdict.PASS:
            ElementTree.SubElement(case, "failure", type=judged.verdict.value, message=printable(judged.reason))
    if found := warnings_of(checked):
        ElementTree.SubElement(suite, "system-err").text = printable(" ".join(found))
    root = ElementTree.Element("testsuites")
    root.append(suite)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def to_markdown(checked: Sequence[Checked], title: str = _TITLE) -> str:
    """A table of the verdicts, with the model if there are several."""
    several = any(one.model for one in checked)
    columns = [*(["model"] if several else []), "variant", "device", "what", "verdict", "because"]
    lines = [f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for one in checked:
        for what, judged in one.parts.items():
            first = [one.model] if several else []
            cells = (
                *first,
                one.variant,
                one.device,
                what,
                f"{judged.verdict.look.emoji} {judged.verdict.label}",
                judged.reason,
            )
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    lines += [f"\n> warning: {_cell(warning)}" for warning in warnings_of(checked)]
    return "\n".join([*lines, "", ""])


def warnings_of(checked: Sequence[Checked]) -> list[str]:
    """The warnings about budgets that cannot be missed, each once, with its variants."""
    return by_warning((one.variant, one.warnings) for one in checked)


def _cell(text: str) -> str:
    """A cell of a Markdown table, escaped: an untrusted name cannot start a link, an image, code or HTML."""
    return re.sub(r"([\\`|\[\]<])", r"\\\1", printable(text))
