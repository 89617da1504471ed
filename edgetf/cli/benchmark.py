"""`edgetf benchmark`."""

from __future__ import annotations

from pathlib import Path

import click

from edgetf.cli.console import CPUS, DURATION, PATH, escape, force_option, json_option, print_lines, progress
from edgetf.cli.history import history_option, keep_history
from edgetf.errors import ExitCode


@click.command()
@click.argument("variants", nargs=-1, required=True, type=PATH, metavar="VARIANT_OR_DIR...")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for benchmark.json and everything raw.")
@click.option("--device", default="local", show_default=True, metavar="NAME", help="Where to run.")
@click.option("--devices", type=PATH, help="The file that names devices. [default: devices.toml here, or the user's]")
@click.option("--reference", type=PATH, help="What `edgetf reference` wrote, to compare with.")
@click.option("--samples", metavar="SOURCE", help="The samples. [default: those of the reference]")
@click.option("--runtime", type=click.Choice(["auto", "litert", "tflite-runtime"]), help="[default: the device's]")
@click.option("--delegate", type=click.Choice(["xnnpack", "none", "gpu"]), help="[default: the device's, or xnnpack]")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads while timing. [default: the device's, or 1]")
@click.option("--affinity", type=CPUS, default=(), metavar="CPUS", help="CPUs to time on, such as 2,3 or 4-7.")
@click.option("--nice", type=click.IntRange(-20, 19), default=0, help="Priority while timing, as of nice(1).")
@click.option(
    "--blocks", type=click.IntRange(2, 1000), default=5, show_default=True, help="Turns of each variant, at least."
)
@click.option(
    "--sustained", type=DURATION, default=0.0, metavar="TIME", help="Load each for so long, such as 10m, too."
)
@click.option("--sequential", is_flag=True, help="Run samples only until a verdict on classes is there.")
@click.option("--max-drop", type=click.FloatRange(0), metavar="POINTS", help="The budget of --sequential. [default: 1]")
@click.option(
    "--metric", "metrics", multiple=True, metavar="MODULE:FUNCTION", help="Judge by your own function; may be repeated."
)
@history_option
@click.option("--commit", metavar="NAME", help="The model's, for the history. [default: git's, where the variants lie]")
@click.option("--mlflow", metavar="URI", help="Send the results to an MLflow server, too.")
@force_option
@json_option
def benchmark(
    variants: tuple[Path, ...],
    out: Path,
    device: str,
    devices: Path | None,
    reference: Path | None,
    samples: str | None,
    runtime: str | None,
    delegate: str | None,
    threads: int | None,
    affinity: tuple[int, ...],
    nice: int,
    blocks: int,
    sustained: float,
    sequential: bool,
    max_drop: float | None,
    metrics: tuple[str, ...],
    place: Path | None,
    commit: str | None,
    mlflow: str | None,
    force: bool,
    as_json: bool,
) -> int:
    """Run variants on a device: latency, memory, and parity with the reference.

    Each variant runs in the device-side runner, a process of its own without TensorFlow. Without --reference there is
    no parity, and without --samples the inputs are random numbers: latency only. Variants are timed in turns, in
    --blocks processes each, so that drift and heat hit all alike; in up to three times as many where their medians
    differ too much. With --sequential, samples come in a random order, and no more of them are run than are needed to
    tell, with 95 % confidence at any time and for each output, whether it keeps its budget.

    A --metric is a function of (outputs, labels), a dict of arrays by output name and an array, which returns a number
    for each sample or one for all, of which more is better; it is loaded from the current folder, and judges in the
    place of all else. Results are kept for `edgetf history`.

    \b
    Example:
      edgetf benchmark out --reference ref -o bench
      edgetf benchmark out/int8.tflite --threads 2 -o bench2
      edgetf benchmark out --reference ref --device pi -o bench3
      edgetf benchmark out --reference ref --metric detection:mean_average_precision -o bench5
      edgetf benchmark out/int8.tflite --device phone --delegate gpu --sustained 10m -o bench4
    """
    from edgetf.benchmarks.benchmark import BenchmarkOptions
    from edgetf.benchmarks.benchmark import benchmark as run
    from edgetf.benchmarks.verdict import Budgets
    from edgetf.cli.results import show_benchmark
    from edgetf.device.devices import find_device, find_settings, refuse_unfit
    from edgetf.files import to_text

    if max_drop is not None and not sequential:
        raise click.UsageError("--max-drop is for --sequential; else `edgetf check` has it")
    if sequential and metrics:
        raise click.UsageError("--metric needs all samples: leave --sequential out")
    target, settings = find_device(device, devices), find_settings(device, devices)
    delegate = delegate or settings.delegate
    refuse_unfit(settings, delegate, affinity)
    options = BenchmarkOptions(
        reference,
        samples,
        runtime or settings.runtime,
        delegate,
        threads or settings.threads,
        affinity,
        nice,
        blocks,
        sustained_s=sustained,
        sequential=Budgets(max_drop=Budgets.max_drop if max_drop is None else max_drop) if sequential else None,
        metrics=metrics,
        force=force,
    )
    with progress("Measuring") as on_event:
        document = run(variants, target, out, options, on_event)
    if as_json:
        click.echo(to_text(document), nl=False)
    else:
        show_benchmark(document)
        import shlex

        written = escape(shlex.quote(str(out)))
        print_lines(f"Written to {written}; a report: edgetf report {written} -o report.html")
    keep_history(document, variants[0], place, commit, mlflow)
    failed = any(result.error and result.error.code != "conversion" for result in document.results)
    return ExitCode.DEVICE_FAILED if failed else ExitCode.DONE
