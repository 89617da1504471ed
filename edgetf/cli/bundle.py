"""`edgetf bundle` and `edgetf runner`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.console import PATH, Integer, escape, json_option, no_wait_option, print_lines
from edgetf.defaults import GOLDEN


@click.command()
@click.argument("bench", type=PATH)
@click.option("--variant", required=True, metavar="NAME", help="The variant to bundle.")
@click.option("--variants", type=PATH, multiple=True, required=True, help="Folder of the .tflite files.")
@click.option("--reference", type=PATH, required=True, help="The reference of the benchmark.")
@click.option("--samples", metavar="SOURCE", help="The samples. [default: those of the reference]")
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE", help="The bundle, such as int8.edgetf.")
@click.option("--golden", type=Integer(1), default=GOLDEN, show_default=True, help="Golden samples.")
@click.option("--labels", type=PATH, help="A text file with one class per line.")
@click.option("--preprocessing", default="", metavar="TEXT_OR_FILE", help="Description of the preprocessing of inputs.")
@click.option(
    "--postprocessing", default="", metavar="TEXT_OR_FILE", help="Description of the postprocessing of outputs."
)
@click.option(
    "--c-array",
    type=PATH,
    metavar="FILE.cc",
    help="Also write the variant as a C++ array for firmware, and its header.",
)
@click.option(
    "--unproven",
    is_flag=True,
    help="Bundle a variant that did not pass; `verify` reports it. With --c-array, also one that tflite-micro refuses.",
)
@no_wait_option
@click.option("--force", is_flag=True, help="Replace the file.")
@json_option
def bundle(
    bench: Path,
    variant: str,
    variants: tuple[Path, ...],
    reference: Path,
    samples: str | None,
    out: Path,
    golden: int,
    labels: Path | None,
    preprocessing: str,
    postprocessing: str,
    c_array: Path | None,
    unproven: bool,
    no_wait: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write a variant that passed, with golden samples and metadata, to one file that a device can verify.

    On the device, `python edgetf-runner.pyz verify FILE` checks every byte, runs the golden samples and compares the
    outputs. It reports whether the deployed model still computes what was bundled, or what has changed.

    \b
    Example:
      edgetf bundle bench --variant int8 --variants out --reference ref -o int8.edgetf
      edgetf runner -o edgetf-runner.pyz
      python edgetf-runner.pyz verify int8.edgetf
    """
    from edgetf.api.share import bundle as run
    from edgetf.files import is_stream

    made = run(
        bench,
        out,
        variant=variant,
        variants=variants,
        reference=reference,
        samples=samples,
        golden=golden,
        labels=labels,
        preprocessing=preprocessing,
        postprocessing=postprocessing,
        c_array=c_array,
        unproven=unproven,
        no_wait=no_wait,
        force=force,
    )
    if as_json:
        click.echo(made.manifest.to_json())
        return
    because = made.manifest.provenance.because
    if not is_stream(out):
        print_lines(f"{escape(variant)}, {escape(because)}: written to {escape(str(out))}")
    if c_array is not None:
        print_lines(f"As an array: {escape(str(c_array))} and {escape(str(c_array.with_suffix('.h')))}")


@click.command()
@click.option("-o", "--out", type=PATH, default=Path("edgetf-runner.pyz"), show_default=True, help="The file.")
@click.option("--force", is_flag=True, help="Replace the file.")
@json_option
def runner(out: Path, force: bool, as_json: bool) -> None:
    """Write the device-side runner: one file that needs only Python 3.9, numpy and an interpreter.

    \b
    Example:
      edgetf runner -o edgetf-runner.pyz
    """
    from edgetf.device.zipapp import build_runner
    from edgetf.files import is_stream, refuse_output, write_whole

    refuse_output(out, force)
    write_whole(out, build_runner())
    if as_json:
        click.echo(json.dumps({"runner": str(out)}))
        return
    if not is_stream(out):
        print_lines(f"Written to {escape(str(out))}: python {escape(str(out))} verify BUNDLE")
