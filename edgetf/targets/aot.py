"""Variants compiled ahead of time for accelerators, by LiteRT and the makers' compilers. In: variants. Out: files.

A compiled file has one operation for each piece that the accelerator runs, beside TFLite's own for what stays on the
CPU: what was taken is counted in it. Only LiteRT's CompiledModel runs such files (`--delegate npu`).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from edgetf.device.runner.answers import in_one_line
from edgetf.device.runner.compiled import DISPATCH, why_not
from edgetf.errors import EdgetfError, MissingExtraError, nearest
from edgetf.files import sha256_file
from edgetf.flatbuffer import read_contents
from edgetf.owned import scratch
from edgetf.process import HungError, ask
from edgetf.targets.fits import ETHOS_U, OnCpu
from edgetf.texts import last_line

_MOST_S = 3600.0


@dataclass(frozen=True)
class Vendor:
    """The maker of accelerators: its module in LiteRT, the packages that its compiler needs."""

    module: str
    packages: str


@dataclass(frozen=True)
class Chip:
    """A target: whose it is, its name there, and options of its own for the compiler."""

    vendor: Vendor
    soc: str
    options: Mapping[str, str] = field(default_factory=dict)


_INTEL = Vendor("intel_openvino", "ai-edge-litert-sdk-intel openvino")
_VENDORS = {
    "intel": _INTEL,
    "qualcomm": Vendor("qualcomm", "ai-edge-litert-sdk-qualcomm"),
    "mediatek": Vendor("mediatek", "ai-edge-litert-sdk-mediatek"),
    "google": Vendor("google_tensor", "ai-edge-litert-sdk-google-tensor"),
    "samsung": Vendor("samsung", "ai-edge-litert-sdk-samsung-nightly"),
}
OPENVINO_CPU = "intel-cpu"  # OpenVINO's own device for CPUs, which every x86-64 host has


@dataclass(frozen=True)
class Compiled:
    """A variant compiled for `target`, or `reason` why not, with what may be missing as a `hint`.

    Of all `operations` of the variant those in `on_cpu` stay on the CPU; the accelerator runs the others in
    `partitions` pieces. `source_sha256` is the digest of the variant.
    """

    name: str
    target: str
    source_sha256: str
    seconds: float
    path: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    operations: int | None = None
    partitions: int | None = None
    on_cpu: tuple[OnCpu, ...] = ()
    reason: str = ""
    hint: str = ""

    @property
    def delegated(self) -> int | None:
        """The number of operations that the accelerator runs."""
        return None if self.operations is None else self.operations - sum(one.count for one in self.on_cpu)


def chips() -> dict[str, Chip]:
    """The targets by name, of the LiteRT that is installed. Raises MissingExtraError without one that can compile."""
    if find_spec("ai_edge_litert") is None or find_spec("ai_edge_litert.aot") is None:
        raise MissingExtraError("ai-edge-litert", "litert")
    found = {OPENVINO_CPU: Chip(_INTEL, "PTL", {"intel_openvino_graph_backends": "cpu"})}
    for name, vendor in _VENDORS.items():
        for soc in _socs(vendor):
            found[f"{name}-{re.sub('^tensor_', 'tensor-', soc.lower())}"] = Chip(vendor, soc)
    return found


def _socs(vendor: Vendor) -> Iterator[str]:
    """The names of a maker's chips; none if this LiteRT does not have its module."""
    try:
        target = importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor.module}.target")
        yield from (str(one.value) for one in target.SocModel if one.value != "ALL")
    except (ImportError, AttributeError):
        return


def find_chip(target: str) -> Chip:
    """The Chip called `target`. Raises EdgetfError naming those that are like it, and all."""
    known = chips()
    if target not in known:
        raise EdgetfError(f"unknown target {target!r}", nearest(target, [*ETHOS_U, *known]))
    return known[target]


def compile_file(path: Path, target: str, chip: Chip, place: Path) -> Compiled:
    """Compile the variant at `path` to the file `place`.

    A compiler that is missing or that refuses the variant is the reason in the result. Raises EdgetfError if it is no
    variant, or was compiled before.
    """
    contents = read_contents(path)
    if DISPATCH in contents.counts():
        raise EdgetfError(f"{path} is compiled already", "compile the variant that it was made from")
    begin = perf_counter()
    failed = Compiled(place.stem, target, contents.sha256, 0.0)
    with scratch() as folder:
        answer = _ask(path, chip, folder)
        seconds = perf_counter() - begin
        if "path" not in answer:
            reason = why_not(answer.get("error", ""), answer.get("log", ""))
            return dataclasses.replace(
                failed, seconds=seconds, reason=reason, hint=f"pip install {chip.vendor.packages}"
            )
        left = read_contents(Path(answer["path"])).counts()
        pieces = left.pop(DISPATCH, 0)
        if not pieces:
            reason = "its compiler takes none of the operations"
            return dataclasses.replace(failed, seconds=seconds, reason=reason)
        place.write_bytes(Path(answer["path"]).read_bytes())
    return dataclasses.replace(
        failed,
        seconds=seconds,
        path=place.name,
        bytes=place.stat().st_size,
        sha256=sha256_file(place),
        operations=sum(contents.counts().values()),
        partitions=pieces,
        on_cpu=tuple(OnCpu(kind, count) for kind, count in left.items()),
    )


def _ask(path: Path, chip: Chip, folder: Path) -> dict[str, str]:
    """The answer of the child process; an error if it has none."""
    request = {
        "path": str(path.resolve()),
        "folder": str(folder),
        "module": chip.vendor.module,
        "soc": chip.soc,
        "options": dict(chip.options),
    }
    command = [sys.executable, "-m", "edgetf.targets.aot_child"]
    try:
        answered = ask(command, given=json.dumps(request), seconds=_MOST_S)
        answer = json.loads(last_line(answered.stdout))
    except HungError as error:
        return {"error": f"the compiler did not end: {error}"}
    except ValueError:
        return {"error": in_one_line(last_line(answered.stderr)) or f"the compiler ended with {answered.code}"}
    return answer if isinstance(answer, dict) else {"error": "the compiler answered something else"}
