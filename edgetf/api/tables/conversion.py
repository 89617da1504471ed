"""A conversion as a table."""

from __future__ import annotations

import shlex
from pathlib import Path

from edgetf.console.printing import escape, print_lines, print_table
from edgetf.results import Conversion, Repair, RepairKind, RepairState, Status, Variant
from edgetf.schemes import DEFAULT_SCHEMES, SCHEMES

_REPAIRS = {
    RepairKind.ROUNDING: "weights rounded for what the layers get",
    RepairKind.BIAS: "biases corrected, operation after operation",
    RepairKind.RANGES: "ranges other than min-max",
    RepairKind.EQUALIZATION: "channels between layers equalized",
}
_PRUNED = 0.2  # share of zeros that rounding alone does not reach


def show_conversion(conversion: Conversion, out: Path, everything: bool) -> None:
    """Print the variants as a table; with `everything`, also the schemes that were left out."""
    columns = ["scheme", "bytes", "of float32", "ops", "seconds", "file"]
    print_table(
        escape(f"{conversion.source.path} → TFLite"),
        columns,
        _rows(conversion, out),
        right=columns[1:5],
        optional=["seconds", "ops", "of float32"],
        long=["file"],
    )
    origin = conversion.source.origin
    for note in origin.notes if origin else ():
        print_lines(f"[yellow]export:[/] {escape(note)}")
    remarks: dict[str, list[str]] = {}
    for variant in conversion.variants:
        for line in _remarks(variant):
            remarks.setdefault(line, []).append(variant.scheme)
    for line, schemes in remarks.items():
        print_lines(f"[cyan]{escape(', '.join(schemes))}:[/] {escape(line)}")
    if not any(variant.status is Status.OK for variant in conversion.variants):
        return
    model = shlex.quote(origin.path if origin else conversion.source.path)
    print_lines(f"For a reference of the same model: edgetf reference {escape(model)} --samples TEST -o REF")
    for warning in conversion.warnings:
        print_lines(f"[yellow]samples:[/] {escape(warning)}")
    if conversion.calibration:
        used = conversion.calibration
        print_lines(f"Calibrated on {used.n} of {used.samples.n} samples of {escape(used.samples.source)}.")
    elif everything and not any(v.scheme in SCHEMES and SCHEMES[v.scheme].needs_samples for v in conversion.variants):
        left = [scheme.name for scheme in DEFAULT_SCHEMES.values() if scheme.needs_samples]
        print_lines(f"Left out because they need --samples: {', '.join(left)}.")


def repair_line(repair: Repair) -> str:
    """A repair in a line: what it is, what it changed, and whether it was kept."""
    what = _REPAIRS[repair.kind] + (f" ({repair.detail})" if repair.detail else "")
    if repair.before_db is None or repair.after_db is None:
        verb = "not tried" if repair.state is RepairState.NOT_TRIED else "failed"
        return f"{what}: {verb}, because {repair.reason}"
    figures = f"{repair.before_db:.1f} → {repair.after_db:.1f} dB on {repair.n} held-out samples"
    return f"{what}: {figures}" + ("" if repair.state is RepairState.KEPT else ", not kept")


def _rows(conversion: Conversion, out: Path) -> list[list[str]]:
    rows, base = [], next((v.bytes for v in conversion.variants if v.scheme == "float32" and v.bytes), None)
    for variant in conversion.variants:
        if variant.error:
            left_out = variant.status is Status.LEFT_OUT
            mark, why = ("[yellow]left out[/]", "because ") if left_out else ("[red]failed[/]", "")
            rows.append([escape(variant.scheme), mark, "", "", "", escape(why + variant.error.message)])
            continue
        size, ops = variant.bytes or 0, sum(variant.ops.values())
        share, file = f"{size / base:.0%}" if base else "", escape(str(out / (variant.path or "")))
        rows.append([escape(variant.scheme), f"{size:,}", share, str(ops), f"{variant.seconds:.1f}", file])
    return rows


def _remarks(variant: Variant) -> list[str]:
    """Remarks on a variant, a line each."""
    lines = []
    if variant.weight_sparsity and variant.weight_sparsity >= _PRUNED:
        share, zipped = f"{variant.weight_sparsity:.0%}", f"{variant.compressed_bytes:,}"
        lines.append(f"{share} of its weights are zero; {zipped} bytes when compressed")
    lines += [f"{name!r} takes uint8 pixels: the model gets {one.describe()}" for name, one in variant.pixels.items()]
    lines += variant.notes
    lines += [repair_line(repair) for repair in variant.repairs]
    if variant.why_official:
        lines.append(f"made by the official converter: {variant.why_official}")
    if variant.error and variant.error.hint:
        lines.append(variant.error.hint)
    return lines
