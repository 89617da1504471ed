"""`edgetf benchmark`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgetf.cli.budgets import Budget, metric_options
from edgetf.cli.console import (
    CPUS,
    DURATION,
    PATH,
    Integer,
    escape,
    force_option,
    json_option,
    labels_option,
    nan_option,
    no_wait_option,
    print_lines,
)
from edgetf.cli.delegates import DELEGATE, OPTION, refuse_twice
from edgetf.cli.history import history_option
from edgetf.defaults import BLOCKS, DEVICE, MAX_DROP
from edgetf.device.runner.delegates import DEFAULT_DELEGATE, DELEGATES, RUNTIME_CHOICES
from edgetf.errors import ExitCode

if TYPE_CHECKING:
    from edgetf.api.results import Bench
    from edgetf.results import Benchmark


@click.command()
@click.argument("variants", nargs=-1, required=True, type=PATH, metavar="VARIANT_OR_DIR...")
@click.option("-o", "--out", type=PATH, required=True, help="Folder for benchmark.json and all raw data.")
@click.option(
    "--device",
    "names",
    multiple=True,
    default=(DEVICE,),
    show_default=DEVICE,
    metavar="NAME",
    help="Where to run. With several devices, the results of each are in OUT/NAME.",
)
@click.option("--devices", type=PATH, help="The file that names devices. [default: devices.toml here, or the user's]")
@click.option("--reference", type=PATH, help="Folder of `edgetf reference`, to compare with.")
@click.option("--samples", metavar="SOURCE", help="The samples. [default: those of the reference]")
@click.option("--runtime", type=click.Choice(RUNTIME_CHOICES), help="[default: the device's]")
@click.option(
    "--delegate",
    type=DELEGATE,
    help="What takes the operations, or a library that does, on the device: "
    f"{', '.join(DELEGATES)}, FILE.so. [default: the device's, or {DEFAULT_DELEGATE}]",
)
@click.option(
    "--delegate-option",
    "delegate_options",
    multiple=True,
    type=OPTION,
    callback=refuse_twice,
    metavar="KEY=VALUE",
    help="An option of the delegate. Can be repeated.",
)
@click.option("--threads", type=Integer(1, 1024), help="Threads while timing. [default: the device's, or 1]")
@click.option("--affinity", type=CPUS, default=(), metavar="CPUS", help="CPUs to time on, such as 2,3 or 4-7.")
@click.option("--nice", type=Integer(-20, 19), default=0, help="Priority while timing, as of nice(1).")
@click.option(
    "--blocks",
    type=Integer(2, 1000),
    default=BLOCKS,
    show_default=True,
    help="Minimum number of turns of each variant.",
)
@click.option(
    "--max-latency-ms",
    type=Budget(),
    metavar="MS",
    help="The limit that `edgetf check` will have: more turns until it is decided, at most three times --blocks.",
)
@click.option(
    "--sustained", type=DURATION, default=0.0, metavar="TIME", help="Also load each variant for this time, such as 10m."
)
@click.option("--sequential", is_flag=True, help="Stop running samples once the verdict on classes is certain.")
@click.option(
    "--max-drop", type=Budget(), metavar="POINTS", help=f"The budget of --sequential. [default: {MAX_DROP:g}]"
)
@metric_options
@labels_option
@nan_option
@history_option
@click.option(
    "--commit", metavar="NAME", help="Commit of the model, for the history. [default: from git, at the variants]"
)
@click.option("--mlflow", metavar="URI", help="Also send the results to an MLflow server.")
@no_wait_option
@force_option
@json_option
def benchmark(
    variants: tuple[Path, ...],
    out: Path,
    names: tuple[str, ...],
    devices: Path | None,
    reference: Path | None,
    samples: str | None,
    runtime: str | None,
    delegate: str | None,
    delegate_options: tuple[tuple[str, str], ...],
    threads: int | None,
    affinity: tuple[int, ...],
    nice: int,
    blocks: int,
    max_latency_ms: float | None,
    sustained: float,
    sequential: bool,
    max_drop: float | None,
    metrics: tuple[str, ...],
    metric_less_is_better: bool,
    labels_are: str | None,
    allow_nan: bool,
    place: Path | None,
    commit: str | None,
    mlflow: str | None,
    no_wait: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Run variants on a device: latency, memory, and parity with the reference.

    Each variant runs in the device-side runner, a separate process without TensorFlow. Without --reference there is no
    parity. Without samples, inputs are random numbers and only latency is measured. Variants are timed in turns, in
    --blocks processes each, so that drift and heat affect all of them equally. Up to three times as many are used for
    those whose order, or whose --max-latency-ms, is not decided. With --sequential, samples are run in a random order,
    until it is certain (with 95 % confidence at any time and for each output) whether the budget is kept.

    A --metric is a function of (outputs, labels): a dict of arrays by output name, and an array. It returns a number
    for each sample, or one for all samples. Higher is better, unless --metric-less-is-better is given. It is loaded
    from the current folder and replaces all other figures in the verdict. `edgetf history` keeps the results.

    If another run holds the device, the command waits. An interrupted run (Ctrl-C, a lost connection, a crash) is
    resumed after its last complete turn when the same command is run again. Other variants, samples or settings start
    a new run.

    \b
    Example:
      edgetf benchmark out --reference ref -o bench
      edgetf benchmark out/int8.tflite --threads 2 -o bench2
      edgetf benchmark out --reference ref --device pi -o bench3
      edgetf benchmark out --reference ref --device local --device pi -o bench6
      edgetf benchmark out --reference ref --metric detection:mean_average_precision -o bench5
      edgetf benchmark out/int8.tflite --device phone --delegate gpu --sustained 10m -o bench4
      edgetf benchmark out/int8.tflite --device pi --delegate libedgetpu.so.1 --delegate-option device=usb -o bench7
    """
    from edgetf.api.benchmark import benchmark as run

    if max_drop is not None and not sequential:
        raise click.UsageError("--max-drop needs --sequential; otherwise give it to `edgetf check`")
    if sequential and metrics:
        raise click.UsageError("--metric needs all samples: do not give --sequential")
    if metric_less_is_better and not metrics:
        raise click.UsageError("--metric-less-is-better needs --metric")
    if len(set(names)) < len(names):
        raise click.UsageError(f"--device names a device twice: {', '.join(names)}")
    bench = run(
        variants,
        out,
        reference=reference,
        samples=samples,
        device=names,
        devices=devices,
        runtime=runtime,
        delegate=delegate,
        delegate_option=dict(delegate_options) or None,
        threads=threads,
        affinity=affinity,
        nice=nice,
        blocks=blocks,
        max_latency_ms=max_latency_ms,
        sustained=sustained,
        sequential=sequential,
        max_drop=max_drop,
        metric=metrics,
        metric_less_is_better=metric_less_is_better,
        labels_are=labels_are,
        allow_nan=allow_nan,
        history=place,
        commit=commit,
        mlflow=mlflow,
        no_wait=no_wait,
        force=force,
    )
    documents = list(bench.documents.values())
    _show(bench, quiet=as_json)
    if as_json:
        _print_json(documents, several=len(names) > 1)
    failures = list(bench.failures.values())
    for failure in failures[:-1]:
        click.echo(f"error: {failure.message}; {failure.hint}", err=True)
    if failures:
        raise failures[-1]
    failed = any(result.error and result.error.code != "conversion" for d in documents for result in d.results)
    return ExitCode.DEVICE_FAILED if failed else ExitCode.DONE


def _show(bench: Bench, quiet: bool) -> None:
    """Print each device's results, unless `quiet`; stale results go to standard error."""
    import shlex

    from edgetf.api.tables.benchmark import show_benchmark, show_stale

    for device, document in bench.documents.items():
        show_stale(document)
        if not quiet:
            show_benchmark(document)
            written = escape(shlex.quote(str(bench.folders[device])))
            print_lines(f"Written to {written}; for a report: edgetf report {written} -o report.html")


def _print_json(documents: Sequence[Benchmark], several: bool) -> None:
    """Print the document as JSON, or a list of documents for several devices."""
    from edgetf.files import to_plain, to_text

    if several:
        click.echo(json.dumps([to_plain(document) for document in documents], indent=1))
    else:
        click.echo(to_text(documents[0]), nl=False)
