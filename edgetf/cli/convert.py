"""`edgetf convert`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.console import PATH, SCHEME, Integer, Number, force_option, json_option, nan_option, trust_option
from edgetf.defaults import CALIBRATION
from edgetf.errors import EdgetfError, ExitCode
from edgetf.pixels import parse_map
from edgetf.schemes import SCHEMES

_WIDTH = max(map(len, SCHEMES)) + 3
_SCHEMES = "\n".join(f"      {s.name:<{_WIDTH}}{s.summary}" for s in SCHEMES.values())


@click.command(
    help=f"""Convert MODEL (a SavedModel folder, a .keras or an .h5 file, or hub:PATH_OR_HANDLE) to TFLite variants.

    \b
    Schemes:
{_SCHEMES}

    Writes OUT/SCHEME.tflite for each scheme, and OUT/conversion.json, which records how each was made. Each variant is
    run here on a few of the samples. If a scheme fails, the others are still converted. Without --scheme, schemes that
    do not suit the model are left out. Exit code: 1 if a scheme given with --scheme failed, or no variant was made.

    \b
    Example:
      edgetf convert saved_model -o out --samples train.npz
      edgetf convert model.keras -o out --scheme float32 --scheme dynamic
      edgetf convert saved_model -o out --samples train.npz --scheme uint8-io --pixels 0..1
    """
)
@click.argument("model")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for the results.")
@click.option(
    "--scheme", "schemes", type=SCHEME, multiple=True, metavar="NAME", help="A scheme. May be repeated. [default: all]"
)
@click.option("--samples", metavar="SOURCE", help="Representative samples for calibration, such as train.npz.")
@click.option("--like", metavar="SOURCE", help="Samples known to be right: warns if --samples have another range.")
@click.option(
    "--calibration", type=Integer(1), default=CALIBRATION, show_default=True, help="Number of samples to use."
)
@click.option(
    "--shape", "shapes", multiple=True, metavar="NAME=1,224,224,3", help="Fix an input's shape. [default: batch 1]"
)
@click.option(
    "--percentile",
    type=Number(50, 100, min_open=True),
    metavar="P",
    help="Use ranges that hold P percent of the values, e.g. 99.99.",
)
@click.option("--mse", is_flag=True, help="Use ranges with the least squared error of rounding and clipping.")
@click.option(
    "--ranges",
    metavar="auto|minmax|FILE",
    help="Choose ranges by their result, take min-max, or use an earlier ranges.json. [default: auto]",
)
@click.option(
    "--signature", metavar="NAME", help="The signature to convert. [default: serving_default, or the only one]"
)
@click.option(
    "--runtime",
    metavar="NAME==VERSION",
    help="The runtime that must load them: tflite-runtime==2.14, or a device's name.",
)
@click.option("--select-tf-ops", is_flag=True, help="Allow TensorFlow's own ops; the variant then needs Flex.")
@click.option(
    "--keep-float",
    multiple=True,
    metavar="LAYER",
    help="Keep this Keras layer, or a pattern, in float; may be repeated.",
)
@click.option(
    "--pixels",
    multiple=True,
    metavar="[NAME=]MAP",
    help="Take uint8 pixels: 0..1, -1..1, or 'mean=M std=S', each a number or R,G,B; (pixel - M) / S. May be repeated.",
)
@nan_option
@trust_option
@click.option("--keep-going", is_flag=True, help="Exit with 0 if any scheme succeeded.")
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
    ranges: str | None,
    signature: str | None,
    runtime: str | None,
    select_tf_ops: bool,
    trust: bool,
    keep_float: tuple[str, ...],
    pixels: tuple[str, ...],
    allow_nan: bool,
    keep_going: bool,
    force: bool,
    as_json: bool,
) -> int:
    from edgetf.api.convert import convert as run
    from edgetf.api.tables.conversion import show_conversion
    from edgetf.files import to_text
    from edgetf.results import Status

    if mse + (percentile is not None) + (ranges is not None) > 1:
        raise click.UsageError("--percentile, --mse and --ranges exclude each other")
    conversion = run(
        model,
        out,
        samples=samples,
        schemes=schemes,
        like=like,
        calibration=calibration,
        shapes=dict(map(_parse_shape, shapes)),
        percentile=percentile,
        mse=mse,
        ranges=ranges,
        signature=signature,
        runtime=runtime,
        select_tf_ops=select_tf_ops,
        keep_float=keep_float,
        pixels=_parse_pixels(pixels),
        allow_nan=allow_nan,
        trust=trust,
        force=force,
    ).document
    if as_json:
        click.echo(to_text(conversion), nl=False)
    else:
        show_conversion(conversion, out, everything=not schemes)
    states = {variant.status for variant in conversion.variants}
    done = Status.OK in states and (keep_going or Status.FAILED not in states)
    return ExitCode.DONE if done else ExitCode.USER


def _parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, equals, axes = text.rpartition("=")
    try:
        shape = tuple(int(axis) for axis in axes.split(","))
    except ValueError:
        equals = ""
    if not equals:
        raise click.UsageError(f"{text!r} is not a shape: give NAME=1,224,224,3")
    return name, shape


def _parse_pixels(given: tuple[str, ...]) -> dict[str, str]:
    """The maps by input name. What is before the first `=` is a name, unless a map has it."""
    found: dict[str, str] = {}
    for text in given:
        head, equals, rest = text.partition("=")
        is_named = equals and (head not in ("mean", "std") or ".." in rest or "=" in rest.partition(" ")[0])
        name, described = (head, rest) if is_named else ("", text)
        try:
            parse_map(described)
        except EdgetfError as error:
            raise click.UsageError(f"--pixels: {error.message}; {error.hint}") from error
        if name in found:
            raise click.UsageError(f"--pixels maps {repr(name) if name else 'the input'} twice")
        found[name] = described
    return found
