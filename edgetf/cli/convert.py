"""`edgetf convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, print_lines, print_table, progress
from edgetf.errors import ExitCode
from edgetf.schemes import SCHEMES

if TYPE_CHECKING:
    from edgetf.results import Conversion, Variant

_SCHEMES = "\n".join(f"      {s.name:<10}{s.summary}" for s in SCHEMES.values())


@click.command(
    help=f"""Convert MODEL (a SavedModel folder, a .keras or an .h5 file, or hub:PATH_OR_HANDLE) to TFLite variants.

    \b
    Schemes:
{_SCHEMES}

    Writes OUT/SCHEME.tflite for each scheme and OUT/conversion.json, which says how each was made. A scheme that
    fails costs no other one its result.

    \b
    Example:
      edgetf convert saved_model -o out --samples train.npz
      edgetf convert model.keras -o out --scheme float32 --scheme dynamic
    """
)
@click.argument("model")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for the results.")
@click.option("--scheme", "schemes", multiple=True, metavar="NAME", help="A scheme; may be repeated. [default: all]")
@click.option("--samples", metavar="SOURCE", help="Representative samples to calibrate on, such as train.npz.")
@click.option("--like", metavar="SOURCE", help="Samples the model works on: warns when --samples lie elsewhere.")
@click.option("--calibration", type=int, default=200, show_default=True, help="How many of the samples to use.")
@click.option(
    "--shape", "shapes", multiple=True, metavar="NAME=1,224,224,3", help="Fix an input's shape. [default: batch 1]"
)
@click.option("--percentile", type=float, metavar="P", help="Ranges that hold P percent of the values, e.g. 99.99.")
@click.option("--mse", is_flag=True, help="Ranges with the least squared error of rounding and clipping.")
@click.option("--ranges", type=PATH, help="Use the ranges.json of an earlier conversion instead of samples.")
@click.option(
    "--signature", metavar="NAME", help="The signature to convert. [default: serving_default, or the only one]"
)
@click.option(
    "--runtime", metavar="NAME==VERSION", help="What must load them: tflite-runtime==2.14, or a device's name."
)
@click.option("--select-tf-ops", is_flag=True, help="Allow TensorFlow's own ops; the variant then needs Flex.")
@click.option("--trust", is_flag=True, help="Load a Keras file although it brings code (a Lambda).")
@click.option("--keep-going", is_flag=True, help="Exit with 0 although some schemes failed.")
@force_option
@json_option
def convert(
    model: str,
    out: Path,
    schemes: tuple[str, ...],
    samples: str | None,
    like: str | None,
    calibration: int,
    shapes: tuple[str, ...],
    percentile: float | None,
    mse: bool,
    ranges: Path | None,
    signature: str | None,
    runtime: str | None,
    select_tf_ops: bool,
    trust: bool,
    keep_going: bool,
    force: bool,
    as_json: bool,
) -> int:
    from edgetf.benchmarks.golden import prove
    from edgetf.convert.contract import RUNTIMES
    from edgetf.convert.convert import ConvertOptions
    from edgetf.convert.convert import convert as run
    from edgetf.convert.hub import find_model
    from edgetf.convert.ranges import Choice, RangeChoice
    from edgetf.files import to_text
    from edgetf.results import Status

    if mse and percentile is not None:
        raise click.UsageError("--percentile and --mse exclude each other")
    if runtime is not None and runtime.partition("==")[0] not in RUNTIMES:
        from edgetf.device.devices import find_settings
        from edgetf.device.probe import runtime_of

        runtime = runtime_of(runtime, find_settings(runtime, None))
    how = Choice.MSE if mse else Choice.MINMAX if percentile is None else Choice.PERCENTILE
    options = ConvertOptions(
        schemes=schemes,
        samples=samples,
        like=like,
        calibration=calibration,
        signature=signature,
        shapes=dict(map(_parse_shape, shapes)),
        choice=RangeChoice(how, 100.0 if percentile is None else percentile),
        ranges=ranges,
        select_tf_ops=select_tf_ops,
        trust=trust,
        runtime=runtime,
        force=force,
    )
    with progress("Converting", len(schemes) or len(SCHEMES)) as on_event:
        conversion = run(find_model(model), out, options, on_event)
        if runtime is not None and samples is not None:
            conversion = prove(out, conversion, samples, runtime, on_event)
    if as_json:
        click.echo(to_text(conversion), nl=False)
    else:
        show_conversion(conversion, out, everything=not schemes)
    failed = any(variant.status is Status.FAILED for variant in conversion.variants)
    return ExitCode.USER if failed and not keep_going else ExitCode.DONE


_PRUNED = 0.2  # share of zeros that rounding alone does not make


def _parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, axes = text.rpartition("=")
    try:
        shape = tuple(int(axis) for axis in axes.split(","))
    except ValueError:
        equals = ""
    if not equals:
        raise click.UsageError(f"{text!r} is no shape: give NAME=1,224,224,3")
    return name, shape


def show_conversion(conversion: Conversion, out: Path, everything: bool) -> None:
    """The variants as a table; where `everything` was asked for, also what was left out."""
    import shlex

    rows, base = [], next((v.bytes for v in conversion.variants if v.scheme == "float32" and v.bytes), None)
    for variant in conversion.variants:
        if variant.error:
            rows.append([variant.scheme, "[red]failed[/]", "", "", "", escape(variant.error.message)])
            continue
        size = variant.bytes or 0
        ops = sum(variant.ops.values())
        file = str(out / (variant.path or ""))
        rows.append(
            [
                variant.scheme,
                f"{size:,}",
                f"{size / base:.0%}" if base else "",
                str(ops),
                f"{variant.seconds:.1f}",
                escape(file),
            ]
        )
    columns = ["scheme", "bytes", "of float32", "ops", "seconds", "file"]
    print_table(escape(f"{conversion.source.path} → TFLite"), columns, rows, right=columns[1:5])
    for variant in conversion.variants:
        for line in _remarks(variant):
            print_lines(f"[cyan]{variant.scheme}:[/] {escape(line)}")
    print_lines(f"A reference of the same model: edgetf reference {shlex.quote(conversion.source.path)} --samples ...")
    for warning in conversion.warnings:
        print_lines(f"[yellow]samples:[/] {escape(warning)}")
    if conversion.calibration:
        used = conversion.calibration
        print_lines(f"Calibrated on {used.n} of {used.samples.n} samples of {escape(used.samples.source)}.")
    elif everything and not any(SCHEMES[v.scheme].needs_samples for v in conversion.variants):
        left = [scheme.name for scheme in SCHEMES.values() if scheme.needs_samples]
        print_lines(f"Left out, because they need --samples: {', '.join(left)}.")


def _remarks(variant: Variant) -> list[str]:
    """What else there is to say on a variant, a line each."""
    lines = []
    if variant.weight_sparsity and variant.weight_sparsity >= _PRUNED:
        share, zipped = f"{variant.weight_sparsity:.0%}", f"{variant.compressed_bytes:,}"
        lines.append(f"{share} of its weights are zero; {zipped} bytes when compressed")
    lines += variant.notes
    if variant.why_official:
        lines.append(f"made by the official converter: {variant.why_official}")
    if variant.error and variant.error.hint:
        lines.append(variant.error.hint)
    return lines
