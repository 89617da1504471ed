"""`edgetf demo`: all steps from training to the report, with the functions that the other commands call."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from edgetf.cli.console import (
    PATH,
    escape,
    force_option,
    json_option,
    labels_option,
    nan_option,
    no_wait_option,
    print_lines,
    progress,
    trust_option,
)
from edgetf.errors import KeptInterrupt

if TYPE_CHECKING:
    from edgetf.conversion.convert import ConvertOptions

_TITLES = ("1/4 Converting", "2/4 Reference", "3/4 Measuring", "4/4 Report")
_GAMES = 20  # games that each variant of dqn plays


@click.command()
@click.option(
    "--model",
    "name",
    default="cnn",
    show_default=True,
    help="A model of `edgetf models list`, a Keras file or a SavedModel.",
)
@click.option("--samples", metavar="SOURCE", help="For your own model: samples for calibration.")
@click.option("--test", metavar="SOURCE", help="For your own model: test samples. [default: --samples]")
@click.option("--signature", metavar="NAME", help="For your own model: its signature. [default: as for convert]")
@labels_option
@nan_option
@trust_option
@click.option("-o", "--out", type=PATH, default=Path("demo"), show_default=True, help="Folder for all files.")
@no_wait_option
@force_option
@json_option
def demo(
    name: str,
    samples: str | None,
    test: str | None,
    signature: str | None,
    labels_are: str | None,
    allow_nan: bool,
    trust: bool,
    out: Path,
    no_wait: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Run all steps for a model of the zoo, or your own model: train, convert, benchmark, compare, report.

    The folder then contains the SavedModel, a .tflite file for every scheme that suits the model, conversion.json,
    reference.json, benchmark.json and report.html.

    \b
    Example:
      edgetf demo -o demo
      edgetf demo --model gru -o gru
      edgetf demo --model model.keras --samples train.npz --test test.npz -o mine
    """
    from edgetf.api.tables.benchmark import show_benchmark
    from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
    from edgetf.benchmarks.judging.check import check, exit_code
    from edgetf.benchmarks.judging.verdict import Budgets
    from edgetf.benchmarks.reference.make import make_reference
    from edgetf.benchmarks.reference.options import ReferenceOptions
    from edgetf.benchmarks.report.render import write_report
    from edgetf.conversion.convert import ConvertOptions, convert
    from edgetf.device.devices import find_device
    from edgetf.files import to_text
    from edgetf.results import LabelsAre

    begin = perf_counter()
    if own := _is_own(name):
        how = ConvertOptions(samples=samples, signature=signature, allow_nan=allow_nan, trust=trust, force=force)
        start = _own(name, how, test)
    else:
        start = _train(name, (samples, test, signature, labels_are, allow_nan, trust), out, force)
    titles = iter(_TITLES if own else [f"{k}/5 {title[4:]}" for k, title in enumerate(_TITLES, 2)])
    with progress(next(titles)) as on_event:
        conversion = convert(start.model, out, start.options, on_event)
    with progress(next(titles)) as on_event:
        asked = ReferenceOptions(
            signature=signature,
            labels_are=LabelsAre(labels_are) if labels_are else None,
            allow_nan=allow_nan,
            trust=trust,
            force=force,
        )
        make_reference(Path(conversion.source.path), start.test, out, asked, on_event)
    options = BenchmarkOptions(reference=out, wait=not no_wait, force=force)
    with progress(next(titles)) as on_event, _hint_to_go_on(out):
        document = benchmark([out], find_device("local"), out, options, on_event)
    with progress(next(titles)):
        write_report(out, out / "report.html", force)
    code = exit_code(check(document, Budgets(), explicit_drop=False))
    if as_json:
        click.echo(to_text(document), nl=False)
        return code
    print_lines(escape(start.words))
    show_benchmark(document)
    if name == "dqn":
        _show_games(out, [result.variant for result in document.results if result.bytes])
    print_lines(f"Done in {perf_counter() - begin:.0f} s. Open {escape(str(out / 'report.html'))} in a browser.")
    return code


@contextmanager
def _hint_to_go_on(out: Path) -> Iterator[None]:
    """If the benchmark ends early, add a hint how to continue without the finished steps."""
    import shlex

    place = shlex.quote(str(out))
    how = f"to continue from here: edgetf benchmark {place} --reference {place} -o {place}"
    try:
        yield
    except KeptInterrupt as error:
        raise KeptInterrupt(error.message, how) from error
    except BaseException:
        click.echo(how, err=True)
        raise


@dataclass(frozen=True)
class _Start:
    """The input of the demo: a model with its conversion options, and the test samples."""

    model: Path
    options: ConvertOptions
    test: str | Path
    words: str


def _is_own(name: str) -> bool:
    from edgetf.conversion.keras_file import is_keras_file

    return Path(name).is_dir() or is_keras_file(Path(name))


def _own(name: str, options: ConvertOptions, test: str | None) -> _Start:
    """The user's own model."""
    from edgetf.errors import EdgetfError

    judged = test or options.samples
    if judged is None:
        raise EdgetfError(f"{name} has no samples", "give some: --samples train.npz --test test.npz")
    return _Start(Path(name), options, judged, f"Using {name} unchanged, with the test samples {judged}.")


def _train(name: str, own: tuple[object, ...], out: Path, force: bool) -> _Start:
    """A model of the zoo, trained."""
    from edgetf.conversion.convert import ConvertOptions
    from edgetf.models.run import Run
    from edgetf.models.training import in_words, train_and_export

    if any(own):
        theirs = "--samples, --test, --signature, --labels-are, --allow-nan and --trust"
        raise click.UsageError(f"{theirs} are for your own file; {name} has its own data")
    model = out / "model"
    with progress("1/5 Training") as on_event:
        training = train_and_export(name, model, out / "saved_model", force, Run(on_event))
    words = f"Trained {name} on {training.train_samples:,} samples: {in_words(training)}."
    options = ConvertOptions(samples=model / "train.npz", force=force)
    return _Start(out / "saved_model", options, model / "test.npz", words)


def _show_games(out: Path, variants: list[str]) -> None:
    """Print the returns of games that the variants play in the runner's interpreter."""
    from edgetf.device.greedy import greedy_policy
    from edgetf.models.cartpole import INPUT, play

    for variant in variants:
        returns, _ = play(greedy_policy(out / f"{variant}.tflite", INPUT, (4,)), _GAMES, seed=0)
        print_lines(
            f"{escape(variant)}: mean return {returns.mean():.0f} over {_GAMES} games, minimum {returns.min():.0f}."
        )
