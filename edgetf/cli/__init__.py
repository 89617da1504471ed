"""The `edgetf` command: one thin file for each subcommand, which imports its package only when it is called."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import NamedTuple, NoReturn

import click

from edgetf import __version__


class Command(NamedTuple):
    """Where a command is (its function has its name), and its line in `edgetf --help`, which imports none of them."""

    module: str
    line: str


# in the order in which they are used
_COMMANDS = {
    "demo": Command("demo", "All of it on real digits: train, convert, benchmark, check."),
    "run": Command("run", "All steps of a model, or of a plan of many, none twice."),
    "convert": Command("convert", "Make TFLite variants of a Keras model or a SavedModel."),
    "compile": Command("compile", "Compile variants for an accelerator (NPU)."),
    "reference": Command("reference", "Run a model in TensorFlow, and keep its outputs."),
    "benchmark": Command("benchmark", "Run variants on devices: latency, memory, parity."),
    "check": Command("check", "Judge a benchmark against budgets."),
    "choose": Command("choose", "Name the best variant within the budgets."),
    "tune": Command("tune", "Mix schemes into the best file that is proven."),
    "explain": Command("explain", "Name the step that broke a variant, and the layers."),
    "gate": Command("gate", "Judge benchmarks against a file of budgets, in CI."),
    "cache": Command("cache", "What `edgetf run` keeps, to show or to clean."),
    "status": Command("fleet", "The workers of a scheduler, and what they do."),
    "scheduler": Command("fleet", "Pass the steps of plans on to workers."),
    "worker": Command("fleet", "Offer the devices of this host to plans."),
    "certificates": Command("fleet", "Make certificates for a scheduler and its workers."),
    "history": Command("history", "What was measured before, and what changed."),
    "report": Command("report", "Print a benchmark again, or write it as HTML."),
    "bundle": Command("bundle", "Put a variant that passed, with its proof, into one file."),
    "verify": Command("verify", "Prove that a bundle is whole and computes the same."),
    "runner": Command("bundle", "Write the runner for devices, as one file."),
    "inspect": Command("inspect", "Show what is in anything that edgetf reads."),
    "samples": Command("samples", "Show samples, or convert them to another format."),
    "models": Command("models", "The zoo: models to train, export and compress."),
    "devices": Command("devices", "The devices in devices.toml: what they are and lack."),
}


class Lazy(click.Group):
    """Imports a command when it is called, and none of them for their list, which `edgetf --help` prints."""

    @property
    def commands(self) -> dict[str, click.Command]:
        """All commands, imported."""
        return {name: self._load(name) for name in _COMMANDS}

    @commands.setter
    def commands(self, given: object) -> None:
        """click's constructor sets an empty dict."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._load(cmd_name) if cmd_name in _COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.line) for name, command in _COMMANDS.items()])

    def _load(self, name: str) -> click.Command:
        found = getattr(import_module(f"edgetf.cli.{_COMMANDS[name].module}"), name)
        assert isinstance(found, click.Command)
        return found


# the packages that contain a runtime, the usual one first
_RUNTIMES = {
    "litert": ("ai-edge-litert", "ai-edge-litert-nightly"),
    "tflite-runtime": ("tflite-runtime",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tf-nightly"),
}


def _print_version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    """Print the version, and those of the installed runtimes without importing them."""
    if not asked or ctx.resilient_parsing:
        return
    click.echo(f"edgetf {__version__}")
    for runtime, packages in _RUNTIMES.items():
        found = [version for package in packages if (version := _version_of(package))]
        click.echo(f"  {runtime} {found[0] if found else 'not installed'}")
    ctx.exit()


def _version_of(package: str) -> str | None:
    from importlib import metadata  # not for --help

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version, and those of the installed runtimes.",
)
def cli() -> None:
    """Convert Keras models to TFLite, measure them on the device, and compare them with TensorFlow.

    \b
      edgetf demo                                        all steps, on images of digits
      edgetf run model.keras --samples train.npz --test test.npz -o ship

    \b
      edgetf convert saved_model -o out --samples train.npz
      edgetf reference saved_model --samples test.npz -o ref
      edgetf benchmark out --reference ref -o bench
      edgetf check bench --max-drop 1
      edgetf choose bench
      edgetf tune out --reference ref --samples train.npz -o tuned

    Exit codes: 0 done or passed; 1 an error that you can correct; 2 wrong usage; 3 a budget was missed; 4 not enough
    data to decide; 5 the device failed.
    """


def main() -> NoReturn:
    """Run the command line and exit."""
    from edgetf.cli.ending import run

    sys.exit(run(partial(cli.main, standalone_mode=False)))
