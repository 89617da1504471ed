"""Whether variants run on a target, as a table with the reasons."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from edgetf.console.printing import escape, print_lines, print_table
from edgetf.device.runner.compiled import NPU, OPENVINO_CPU
from edgetf.targets.aot import OPENVINO_CPU as INTEL_CPU
from edgetf.targets.aot import Compiled
from edgetf.targets.fits import ETHOS_U, MICRO, Fit
from edgetf.units import human_bytes, list_in_words


def show_fits(fits: Sequence[Fit]) -> None:
    """Print the Fits of one target (at least one)."""
    tool = next((fit.tool for fit in fits if fit.tool), "")
    show = _show_micro if fits[0].target == MICRO else _show_accelerator
    show(fits, tool)
    for fit in fits:
        name = escape(Path(fit.path).name)
        if not fit.fits:
            print_lines(f"[red]{name}[/]: {escape(fit.reason)}")
        if fit.missing:
            print_lines(f"{name}: operations that are missing there: {escape(', '.join(fit.missing))}")


def _show_micro(fits: Sequence[Fit], tool: str) -> None:
    rows = [
        [escape(Path(fit.path).name), _mark(fit), human_bytes(fit.bytes), _bytes(fit.ram_bytes), _activations(fit)]
        for fit in fits
    ]
    title = f"On microcontrollers, by {escape(tool)}"
    print_table(title, ["file", "runs", "size", "arena", "of it activations"], rows, right=["size", "arena"])
    if any(fit.fits for fit in fits):
        print_lines(
            "The rest of the arena is the interpreter's; its pointers have 64 bits here, and 32 on most boards."
        )


def _show_accelerator(fits: Sequence[Fit], tool: str) -> None:
    rows = [
        [
            escape(Path(fit.path).name),
            _mark(fit),
            f"{fit.on_npu} of {fit.operations}" if fit.fits else "",
            "" if fit.npu_ms is None else f"{fit.npu_ms:.3g}",
            *("" if size is None else human_bytes(size) for size in (fit.ram_bytes, fit.flash_bytes)),
        ]
        for fit in fits
    ]
    title = f"On {fits[0].target}, as {escape(tool)} estimates; nothing was measured"
    columns = ["file", "runs", "operations on the NPU", "ms on the NPU", "SRAM", "flash or DRAM"]
    print_table(title, columns, rows, right=columns[2:])
    assumed = next((fit.assumed for fit in fits if fit.assumed), "")
    if assumed:
        print_lines(f"Assumed: {escape(assumed)}. The time is without the operations that stay on the CPU.")
    if any(fit.on_cpu for fit in fits):
        print_lines(
            f"On a microcontroller, TFLite's interpreter for these computes what stays on the CPU: --for {MICRO}."
        )
    for fit in fits:
        by_reason: dict[tuple[str, ...], list[str]] = {}
        for one in fit.on_cpu:
            by_reason.setdefault(one.reasons, []).append(f"{one.count} {one.kind}")
        for reasons, kinds in by_reason.items():
            why = f": {'; '.join(reasons)}" if reasons else ""
            print_lines(escape(f"{Path(fit.path).name}: {list_in_words(kinds)} on the CPU{why}"))


def show_compiled(found: Sequence[Compiled], out: Path) -> None:
    """Print what was compiled for a target (at least one), with what its accelerator takes."""
    rows = [
        [
            escape(one.name),
            "" if one.operations is None else f"{one.delegated} of {one.operations}",
            "" if one.partitions is None else str(one.partitions),
            "" if one.bytes is None else human_bytes(one.bytes),
            escape(list_in_words([f"{left.count} {left.kind}" for left in one.on_cpu])) if one.on_cpu else "",
        ]
        for one in found
    ]
    columns = ["variant", "operations on the accelerator", "pieces", "size", "on the CPU"]
    print_table(f"Compiled for {escape(found[0].target)}", columns, rows, right=["pieces", "size"])
    for one in found:
        if one.path is None:
            print_lines(f"[red]{escape(one.name)}[/]: {escape(one.reason)}", f"  {escape(one.hint)}")
    if found[0].target in ETHOS_U:
        print_lines(f"Written to {escape(str(out))}. Only {found[0].target} on a board runs it: nothing was measured.")
        return
    delegate = OPENVINO_CPU if found[0].target == INTEL_CPU else NPU
    print_lines(
        f"Written to {escape(str(out))}: edgetf benchmark {escape(shlex.quote(str(out)))} --delegate {delegate}"
    )


def _mark(fit: Fit) -> str:
    if fit.fits and fit.on_npu == 0:
        return "[yellow]on the CPU[/]"
    return "[green]yes[/]" if fit.fits else "[red]no[/]"


def _bytes(size: int | None) -> str:
    return "" if size is None else f"{size:,} B"


def _activations(fit: Fit) -> str:
    return _bytes(fit.activation_bytes)
