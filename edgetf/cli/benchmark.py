"""`edgetf benchmark`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, force_option, json_option, print_lines, progress
from edgetf.errors import ExitCode


@click.command()
@click.argument("variants", nargs=-1, required=True, type=PATH, metavar="VARIANT_OR_DIR...")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for benchmark.json and everything raw.")
@click.option("--device", default="local", show_default=True, metavar="NAME", help="Where to run.")
@click.option("--devices", type=PATH, help="The file that names devices. [default: devices.toml here, or the user's]")
@click.option("--reference", type=PATH, help="What `edgetf reference` wrote, to compare with.")
@click.option("--samples", type=PATH, help="The samples. [default: those of the reference]")
@click.option("--runtime", type=click.Choice(["auto", "litert", "tflite-runtime"]), help="[default: the device's]")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads while timing. [default: the device's, or 1]")
@force_option
@json_option
def benchmark(
    variants: tuple[Path, ...],
    out: Path,
    device: str,
    devices: Path | None,
    reference: Path | None,
    samples: Path | None,
    runtime: str | None,
    threads: int | None,
    force: bool,
    as_json: bool,
) -> int:
    """Run variants on a device: latency, memory, and parity with the reference.

    Each variant runs in the device-side runner, a process of its own without TensorFlow. Without --reference there is
    no parity, and without --samples the inputs are random numbers: latency only.

    \b
    Example:
      edgetf benchmark out --reference ref -o bench
      edgetf benchmark out/int8.tflite --threads 2 -o bench2
      edgetf benchmark out --reference ref --device pi -o bench3
    """
    from edgetf.benchmarks.benchmark import BenchmarkOptions
    from edgetf.benchmarks.benchmark import benchmark as run
    from edgetf.cli.results import show_benchmark
    from edgetf.device.devices import find_device, find_settings
    from edgetf.files import to_text

    place, settings = find_device(device, devices), find_settings(device, devices)
    options = BenchmarkOptions(
        reference, samples, runtime or settings.runtime, threads or settings.threads, force=force
    )
    with progress("Measuring") as on_event:
        document = run(variants, place, out, options, on_event)
    if as_json:
        click.echo(to_text(document), nl=False)
    else:
        show_benchmark(document)
        import shlex

        written = escape(shlex.quote(str(out)))
        print_lines(f"Written to {written}; a report: edgetf report {written} -o report.html")
    failed = any(result.error and result.error.code != "conversion" for result in document.results)
    return ExitCode.DEVICE_FAILED if failed else ExitCode.DONE
