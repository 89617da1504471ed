"""`edgetf bundle` and `edgetf runner`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, json_option, print_lines, progress


@click.command()
@click.argument("bench", type=PATH)
@click.option("--variant", required=True, metavar="NAME", help="The variant to bundle.")
@click.option("--variants", "places", type=PATH, multiple=True, required=True, help="Where the .tflite files are.")
@click.option("--reference", type=PATH, required=True, help="What the benchmark was compared with.")
@click.option("--samples", metavar="SOURCE", help="The samples. [default: those of the reference]")
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE", help="The bundle, such as int8.edgetf.")
@click.option("--golden", type=click.IntRange(1), default=16, show_default=True, help="Golden samples.")
@click.option("--labels", type=PATH, help="A text file with a class a line.")
@click.option("--preprocessing", default="", metavar="TEXT_OR_FILE", help="What is done to inputs, in words.")
@click.option("--postprocessing", default="", metavar="TEXT_OR_FILE", help="What is done to outputs, in words.")
@click.option("--unproven", is_flag=True, help="Bundle what did not pass; `verify` will say so.")
@click.option("--force", is_flag=True, help="Replace the file.")
@json_option
def bundle(
    bench: Path,
    variant: str,
    places: tuple[Path, ...],
    reference: Path,
    samples: str | None,
    out: Path,
    golden: int,
    labels: Path | None,
    preprocessing: str,
    postprocessing: str,
    unproven: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Put a variant that passed, golden samples and all that belongs to it into one file, which a device can prove.

    On the device, `python edgetf-runner.pyz verify FILE` checks every byte, runs the golden samples and compares: the
    deployed model still does what was signed for, or what has changed.

    \b
    Example:
      edgetf bundle bench --variant int8 --variants out --reference ref -o int8.edgetf
      edgetf runner -o edgetf-runner.pyz
      python edgetf-runner.pyz verify int8.edgetf
    """
    from edgetf.benchmarks.bundle import BundleOptions, make_bundle
    from edgetf.benchmarks.ladder import LadderOptions

    asked = LadderOptions(variant, places, reference, samples)
    options = BundleOptions(asked, golden, labels, preprocessing, postprocessing, unproven, force)
    with progress("Bundling") as on_event:
        manifest = make_bundle(bench, out, options, on_event)
    if as_json:
        click.echo(json.dumps(manifest, indent=1))
        return
    print_lines(f"{escape(variant)}, {escape(manifest['provenance']['because'])}: written to {escape(str(out))}")


@click.command()
@click.option("-o", "--out", type=PATH, default=Path("edgetf-runner.pyz"), show_default=True, help="The file.")
@click.option("--force", is_flag=True, help="Replace the file.")
def runner(out: Path, force: bool) -> None:
    """Write the device-side runner: one file that needs Python 3.9, numpy and an interpreter, nothing else.

    \b
    Example:
      edgetf runner -o edgetf-runner.pyz
    """
    from edgetf.device.zipapp import build_runner
    from edgetf.errors import EdgetfError
    from edgetf.files import write_whole

    if out.exists() and not force:
        raise EdgetfError(f"{out} already exists", "give another file with -o, or --force to replace it")
    write_whole(out, build_runner())
    print_lines(f"Written to {escape(str(out))}: python {escape(str(out))} verify BUNDLE")
