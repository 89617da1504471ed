"""What `edgetf inspect --for TARGET` finds out: whether a variant runs on a target that is not at hand.

In: the path of a variant, or a folder of them, and the name of a target. Out: a Fit for each. The tools of the targets
are asked (tflite-micro, Vela); a variant that a tool refuses is a Fit with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgetf.errors import EdgetfError, MissingExtraError, nearest

MICRO = "micro"
# the accelerator configurations of Vela 5.2
ETHOS_U = (
    *("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512"),
    *("ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048"),
)
TARGETS = (MICRO, *ETHOS_U)


@dataclass(frozen=True)
class OnCpu:
    """The operations of one kind that an accelerator does not take: how many, and the reasons of its compiler."""

    kind: str
    count: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fit:
    """Whether a variant runs on `target`, by `tool`; if not, `reason` says why, and there are no figures.

    `flash_bytes` is what is stored, `ram_bytes` the memory while it runs. Of microcontrollers, that is the arena: of it
    `activation_bytes` are tensors, the rest are the interpreter's structures; `missing` are operations that it lacks.
    Of accelerators, of all `operations` of the file those in `on_cpu` stay on the CPU, and `npu_ms` is the tool's
    estimate for the others, with the assumptions in `assumed`; None if nothing is on the NPU.
    """

    path: str
    sha256: str
    bytes: int
    target: str
    tool: str
    fits: bool
    reason: str = ""
    ram_bytes: int | None = None
    flash_bytes: int | None = None
    activation_bytes: int | None = None
    missing: tuple[str, ...] = ()
    operations: int | None = None
    on_cpu: tuple[OnCpu, ...] = ()
    npu_ms: float | None = None
    assumed: str = ""

    @property
    def on_npu(self) -> int | None:
        """The number of operations that the accelerator takes."""
        return None if self.operations is None else self.operations - sum(one.count for one in self.on_cpu)


def refuse_unknown(target: str) -> None:
    """Raise EdgetfError for an unknown target."""
    if target not in TARGETS:
        raise EdgetfError(f"unknown target {target!r}", nearest(target, TARGETS))


def find_fits(place: Path, target: str) -> dict[str, Fit]:
    """The Fit of the `.tflite` file at `place`, or of each in that folder, by the names of the files.

    Raises EdgetfError for an unknown target, a tool that is not installed, and a place without variants.
    """
    refuse_unknown(target)
    found = sorted(place.glob("*.tflite")) if place.is_dir() else [place]
    if not found:
        raise EdgetfError(f"there are no variants in {place}", "make some with: edgetf convert MODEL -o OUT")
    look = _tools()[target]
    if place.is_dir():
        return {path.stem: _or_reason(look, path, target) for path in found}
    return {place.stem: look(place)}


def _or_reason(look: Callable[[Path], Fit], path: Path, target: str) -> Fit:
    """The Fit of one file of several: a damaged one keeps no other from being looked at."""
    try:
        return look(path)
    except MissingExtraError:
        raise
    except EdgetfError as error:
        return Fit(str(path), "", path.stat().st_size, target, "", fits=False, reason=error.message)


def _tools() -> Mapping[str, Callable[[Path], Fit]]:
    from edgetf.targets.micro import fit_micro
    from edgetf.targets.vela import fit_ethos

    return {MICRO: fit_micro, **{name: _with(fit_ethos, name) for name in ETHOS_U}}


def _with(look: Callable[[Path, str], Fit], target: str) -> Callable[[Path], Fit]:
    return lambda path: look(path, target)
