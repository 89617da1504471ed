"""The `edgetf` command: one thin file for each subcommand, each of which imports its part only when it is called.

Errors that a person can mend are caught here, once, and become a line, a hint and an exit code. A bug keeps its
traceback.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import NoReturn

import click

from edgetf import __version__
from edgetf.cli.benchmark import benchmark
from edgetf.cli.bundle import bundle, runner
from edgetf.cli.check import check
from edgetf.cli.convert import convert
from edgetf.cli.demo import demo
from edgetf.cli.devices import devices
from edgetf.cli.gate import gate
from edgetf.cli.history import history
from edgetf.cli.inspect import inspect
from edgetf.cli.models import models
from edgetf.cli.reference import reference
from edgetf.cli.report import report
from edgetf.cli.samples import samples
from edgetf.errors import EdgetfError, ExitCode


class InOrder(click.Group):
    """Lists commands in the order in which they are used, not by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgetf")
def cli() -> None:
    """Keras models to TFLite, measured on the device, and proven against TensorFlow.

    \b
      edgetf demo                                        everything, on real digits
      edgetf convert saved_model -o out --samples train.npz
      edgetf reference saved_model --samples test.npz -o ref
      edgetf benchmark out --reference ref -o bench
      edgetf check bench --max-drop 1

    Exit codes: 0 done or passed; 1 something to mend; 2 wrong usage; 3 a budget was missed; 4 not enough data to
    tell; 5 the device failed.
    """


_RUNS = (demo, convert, reference, benchmark, check, gate, history, report, bundle, runner)
for _command in (*_RUNS, inspect, samples, models, devices):
    cli.add_command(_command)


def main() -> NoReturn:
    """Run the command line and exit."""
    for ending in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: the connection was lost
        signal.signal(ending, _interrupt)
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EdgetfError as error:
        _tell(error.message, error.hint)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _tell("interrupted: nothing was left half-written", "run the same command again to start over")
        sys.exit(ExitCode.USER)


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _tell(message: str, hint: str) -> None:
    if "--json" in sys.argv:
        click.echo(json.dumps({"error": {"message": message, "hint": hint}}))
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if hint:
        click.echo(f"{click.style(' hint:', fg='cyan')} {hint}", err=True)
