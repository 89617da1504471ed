"""What an Ethos-U NPU takes of a variant, asked of Arm's compiler Vela, and the file that it makes.

In: a variant, a configuration. Out: a Fit, or a Compiled with the file, which only a board with that NPU runs.

Vela counts its own operations, into which it has split TFLite's. The file that it writes has one operation for all that
is on the NPU, beside those of TFLite that stay on the CPU: these are counted, as everywhere in edgetf.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from edgetf.device.runner.answers import line, number
from edgetf.device.runner.delegates import ETHOS_U
from edgetf.errors import EdgetfError, MissingExtraError
from edgetf.files import sha256_file
from edgetf.flatbuffer import builtin_code, listed, names_of, read_contents, tensor_name, unpack
from edgetf.owned import scratch
from edgetf.process import Answered, HungError, ask
from edgetf.reading import parsing
from edgetf.targets.aot import Compiled
from edgetf.targets.fits import Fit, OnCpu
from edgetf.targets.micro import fit_micro

PACKAGE, EXTRA = "ethos-u-vela", "ethos-u"
_MCU = "ethos-u55"  # only ever beside a microcontroller: beside the others, there may be Linux
_MOST_S = 1800.0
_KIB = 1024
_REFUSED = re.compile(r"operator: \w+, ofm: '(?P<output>.*)'\nReason: (?P<why>.*)\n")
_TENSORS = re.compile(r" \([^()]*[/:;][^()]*\)")  # names of tensors in a reason, which are of one operation alone
_SRAM, _FLASH = ("sram_memory_used",), ("on_chip_flash_memory_used", "off_chip_flash_memory_used", "dram_memory_used")


@dataclass(frozen=True)
class _Made:
    """What Vela made of a variant: the compiled file, or the `reason` why there is none.

    `pieces` are the parts of it that the NPU runs, `on_cpu` the operations that it does not; `figures` the summary.
    """

    reason: str = ""
    content: bytes = b""
    pieces: int = 0
    on_cpu: tuple[OnCpu, ...] = ()
    figures: dict[str, str] = field(default_factory=dict)


def fit_ethos(path: Path, target: str) -> Fit:
    """The Fit of the variant at `path`. Raises EdgetfError if it is no variant, or Vela is not installed or fails."""
    contents = read_contents(path)
    fit = Fit(str(path), contents.sha256, contents.bytes, target, vela(), fits=False)
    made = _make(path, target)
    if made.reason:
        return dataclasses.replace(fit, reason=made.reason)
    if not made.pieces and target.startswith(_MCU) and (refused := _refused_by_micro(path)):
        return dataclasses.replace(fit, reason=f"nothing is on the NPU, and the CPU beside it refuses it: {refused}")
    return with_figures(fit, sum(contents.counts().values()), made.on_cpu, made.figures)


def compile_ethos(path: Path, target: str, place: Path) -> Compiled:
    """Compile the variant at `path` to the file `place`. Raises EdgetfError as `fit_ethos`, and if it is compiled."""
    contents, begin = read_contents(path), perf_counter()
    if ETHOS_U in contents.counts():
        raise EdgetfError(f"{path} is compiled already", "compile the variant that it was made from")
    made = _make(path, target)
    compiled = Compiled(place.stem, target, contents.sha256, perf_counter() - begin)
    if made.reason or not made.pieces:
        reason = made.reason or f"{vela()} takes none of the operations"
        return dataclasses.replace(compiled, reason=reason, hint=f"see why with: edgetf inspect {path} --for {target}")
    place.write_bytes(made.content)
    return dataclasses.replace(
        compiled,
        path=place.name,
        bytes=len(made.content),
        sha256=sha256_file(place),
        operations=sum(contents.counts().values()),
        partitions=made.pieces,
        on_cpu=made.on_cpu,
    )


def vela() -> str:
    """Vela and its version. Raises MissingExtraError if it is not installed."""
    if find_spec("ethosu") is None:
        raise MissingExtraError(PACKAGE, EXTRA)
    return f"Vela {metadata.version(PACKAGE)}"


def _make(path: Path, target: str) -> _Made:
    with scratch() as folder:
        (folder / "variant.tflite").write_bytes(path.read_bytes())  # whose name Vela repeats in those of its files
        answered = _compile(folder, target)
        compiled, summaries = folder / "variant_vela.tflite", sorted(folder.glob("variant_summary_*.csv"))
        if answered.code or not compiled.is_file() or len(summaries) != 1:
            return _Made(_why(answered))
        content, figures = compiled.read_bytes(), read_summary(summaries[0])
    operators = _operators(content)
    left = [one for one in operators if one[0] != ETHOS_U]
    on_cpu = _on_cpu(left, read_reasons(answered.stdout + answered.stderr))
    return _Made("", content, len(operators) - len(left), on_cpu, figures)


def _refused_by_micro(path: Path) -> str:
    """Why TFLite's interpreter for microcontrollers refuses a variant; empty if it does not, or is not installed."""
    try:
        return fit_micro(path).reason
    except MissingExtraError:
        return ""


def with_figures(fit: Fit, operations: int, on_cpu: tuple[OnCpu, ...], figures: dict[str, str]) -> Fit:
    """The Fit of a compiled variant with the `figures` of Vela's summary; without any if nothing is on the NPU."""
    taken, seconds = operations - sum(one.count for one in on_cpu), number(figures.get("inference_time", ""))
    return dataclasses.replace(
        fit,
        fits=True,
        operations=operations,
        on_cpu=on_cpu,
        ram_bytes=_sum(figures, _SRAM) if taken else None,
        flash_bytes=_sum(figures, _FLASH) if taken else None,
        npu_ms=1e3 * seconds if seconds and seconds > 0 and taken else None,
        assumed=_assumed(figures),
    )


def _compile(folder: Path, target: str) -> Answered:
    command = [sys.executable, "-m", "ethosu.vela", str(folder / "variant.tflite"), "--accelerator-config", target]
    try:
        return ask([*command, "--output-dir", str(folder)], seconds=_MOST_S)
    except HungError as error:
        raise EdgetfError(f"Vela did not end: {error}", "try a smaller model") from error


def _why(answered: Answered) -> str:
    """The last line that says more than that there was an error."""
    lines = [one for one in (answered.stdout + "\n" + answered.stderr).splitlines() if one.strip()]
    errors = [one for one in lines if re.search("error|exception", one, re.IGNORECASE)]
    how = f"Vela died of signal {-answered.code}" if answered.code < 0 else "Vela refuses it"
    return line(f"{how}: {(errors or lines or ['it printed nothing'])[-1]}")


def _operators(content: bytes) -> list[tuple[str, str]]:
    """The kinds of all operations, with the names of their first outputs."""
    model, schema = unpack(content)
    names, found = names_of(schema.BuiltinOperator), []
    for graph in model.subgraphs:
        for operator in listed(graph.operators):
            code, outputs = model.operatorCodes[operator.opcodeIndex], listed(operator.outputs)
            kind = code.customCode.decode(errors="replace") if code.customCode else names[builtin_code(model, operator)]
            found.append((kind, tensor_name(graph.tensors[outputs[0]]) if outputs else ""))
    return found


def read_reasons(printed: str) -> dict[str, str]:
    """The reasons for operations to stay on the CPU, by the names of their outputs."""
    return {match["output"]: line(_TENSORS.sub("", match["why"])) for match in _REFUSED.finditer(printed)}


def _on_cpu(left: list[tuple[str, str]], reasons: dict[str, str]) -> tuple[OnCpu, ...]:
    counts = Counter(kind for kind, _ in left)
    why = {kind: [reasons[output] for one, output in left if one == kind and output in reasons] for kind in counts}
    return tuple(OnCpu(kind, count, tuple(dict.fromkeys(why[kind]))) for kind, count in counts.most_common())


def read_summary(path: Path) -> dict[str, str]:
    """The only row of figures. Raises EdgetfError for another file."""
    with parsing(path, "a summary of Vela", "install another version of ethos-u-vela"), path.open(newline="") as file:
        [row] = csv.DictReader(file)
        return {key: value for key, value in row.items() if isinstance(value, str)}


def _sum(figures: dict[str, str], names: tuple[str, ...]) -> int | None:
    """The bytes of memories that are listed in KiB; None if one is missing."""
    sizes = [number(figures.get(name, "")) for name in names]
    known = [size for size in sizes if size is not None and size >= 0]
    return round(sum(known) * _KIB) if len(known) == len(names) else None


def _assumed(figures: dict[str, str]) -> str:
    """The system that Vela assumed: it was given none."""
    clock = number(figures.get("core_clock", ""))
    megahertz = f"{clock / 1e6:.0f} MHz" if clock and clock > 0 else ""
    return line(", ".join(filter(None, (figures.get("system_config"), figures.get("memory_mode"), megahertz))))
