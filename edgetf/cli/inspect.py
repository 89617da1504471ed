"""`edgetf inspect`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, json_option, print_lines, print_table


@click.command()
@click.argument("variant", type=PATH, metavar="VARIANT_OR_MODEL")
@json_option
def inspect(variant: Path, as_json: bool) -> None:
    """Show what is in a .tflite file: inputs, outputs, quantization, ops, weights.

    For a SavedModel folder: the inputs and outputs of its signature, and how to save samples for them. For a
    ranges.json: the range of each activation, and the sample that made it so wide.

    \b
    Example:
      edgetf inspect out/int8.tflite
      edgetf inspect saved_model
      edgetf inspect out/ranges.json
    """
    if variant.is_dir():
        _inspect_model(variant, as_json)
        return
    if variant.suffix == ".json":
        _inspect_ranges(variant, as_json)
        return
    from edgetf.cli.results import human_bytes
    from edgetf.convert.contract import smallest_runtimes
    from edgetf.files import to_text
    from edgetf.flatbuffer import read_contents

    contents = read_contents(variant)
    if as_json:
        click.echo(to_text(contents), nl=False)
        return
    rows = []
    for kind, tensors in (("input", contents.inputs), ("output", contents.outputs)):
        for tensor in tensors:
            shape = ", ".join("any" if axis is None else str(axis) for axis in tensor.shape)
            q = tensor.quantization
            quantized = f"scale {q.scale:.6g}, zero point {q.zero_point}" if q else "none"
            rows.append([kind, escape(tensor.name), tensor.dtype, f"\\[{shape}]", quantized])
    oldest = " or ".join(map(str, smallest_runtimes(contents.ops))) or "none that was measured"
    signatures = ", ".join(contents.signatures) or "none"
    print_lines(
        f"[bold]{escape(str(variant))}[/]: {human_bytes(contents.bytes)} ({human_bytes(contents.compressed_bytes)} "
        f"compressed), sha256 {contents.sha256[:12]}…",
        f"signatures: {escape(signatures)}; the oldest runtime that has its ops: {oldest}",
    )
    print_table("Inputs and outputs", ["", "name", "dtype", "shape", "quantization"], rows)
    rows = []
    for op in contents.ops:
        runtimes = " or ".join(map(str, smallest_runtimes([op]))) or "none: custom, or Flex"
        rows.append([op.name, str(op.version), str(op.count), runtimes])
    print_table("Ops", ["op", "version", "count", "oldest runtime"], rows, right=["version", "count"])
    weights = ", ".join(f"{dtype} {human_bytes(size)}" for dtype, size in contents.weights.items())
    print_lines(f"Constants: {weights or 'none'}; {contents.weight_sparsity:.1%} of the weights are zero")


def _inspect_model(saved_model: Path, as_json: bool) -> None:
    from edgetf.convert.savedmodel import read_source
    from edgetf.files import to_text

    source = read_source(saved_model, None)
    if as_json:
        click.echo(to_text(source), nl=False)
        return
    print_lines(f"[bold]{escape(str(saved_model))}[/]: signature {escape(source.signature)}")
    rows = [["input", escape(spec.name), escape(spec.describe())] for spec in source.inputs]
    rows += [["output", escape(spec.name), escape(spec.describe())] for spec in source.outputs]
    print_table("Inputs and outputs", ["", "name", "dtype and shape"], rows)
    arrays = ", ".join(f"{spec.name}=array.astype({spec.dtype!r})" for spec in source.inputs)
    print_lines(f"Samples for it: {escape(f'np.savez({chr(39)}samples.npz{chr(39)}, {arrays}, labels=labels)')}")


def _inspect_ranges(file: Path, as_json: bool) -> None:
    from edgetf.convert.ranges import RANGES_SCHEMA, Ranges
    from edgetf.files import read_document, to_text

    ranges = read_document(file, Ranges, RANGES_SCHEMA)
    if as_json:
        click.echo(to_text(ranges), nl=False)
        return
    used, choice = ranges.calibration, ranges.choice
    how = f"{choice.how.value} {choice.percentile:g}" if choice.percentile < 100 else choice.how.value
    print_lines(
        f"[bold]{escape(str(file))}[/]: {how}, of {used.n} of {used.samples.n} samples of {escape(used.samples.source)}"
    )
    rows = [
        [escape(one.tensor), f"{one.low:.6g}", f"{one.high:.6g}", str(one.widest_sample), f"{one.stretch:.2f}"]
        for one in ranges.ranges
    ]
    print_table("Ranges", ["tensor", "low", "high", "widest sample", "times the next"], rows, right=["low", "high"])
