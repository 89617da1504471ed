"""`edgetf scheduler`, `edgetf worker`, `edgetf status` and `edgetf certificates`: plans on many machines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from edgetf.cli.console import PATH, force_option, json_option

scheduler_option = click.option("--scheduler", metavar="ADDRESS", help="Run on the workers of a scheduler.")
certificates_option = click.option(
    "--certificates", type=PATH, metavar="FOLDER", help="Certificates for TLS. [default: in the user's configuration]"
)


@click.command()
@click.argument("address", metavar="ADDRESS")
@certificates_option
@json_option
def scheduler(address: str, certificates: Path | None, as_json: bool) -> int:
    """Pass the steps of plans on to workers, until Ctrl-C.

    ADDRESS is where it listens, such as tls://0.0.0.0:8786. With tls://, only those with a certificate of the same set
    are let in; tcp:// is for this machine alone. Where bokeh is installed, it serves Dask's dashboard.

    \b
    Example:
      edgetf scheduler tls://0.0.0.0:8786
    """
    from edgetf.plans.fleet.services import serve_scheduler

    def started(found: str) -> None:
        click.echo(json.dumps({"address": found}) if as_json else f"listening at {found}")

    serve_scheduler(address, certificates, started)
    return 0


@click.command()
@click.argument("address", metavar="ADDRESS")
@click.option("--devices", type=PATH, help="The file that names devices. [default: devices.toml here, or the user's]")
@click.option("--name", metavar="NAME", help="Its name, different from all others. [default: that of this host]")
@click.option("--convert", is_flag=True, help="Also convert models and compute references.")
@click.option("--gpu", is_flag=True, help="Also compute references on this host's GPU.")
@certificates_option
@json_option
def worker(
    address: str,
    devices: Path | None,
    name: str | None,
    convert: bool,
    gpu: bool,
    certificates: Path | None,
    as_json: bool,
) -> int:
    """Offer the devices of this host to plans, until Ctrl-C.

    ADDRESS is that of the scheduler. Each step runs in a separate process, as the user who started the worker. Whoever
    has node-key.pem of the set can run code here.

    \b
    Example:
      edgetf worker tls://lab:8786 --devices devices.toml --convert
    """
    from edgetf.plans.fleet.services import Offered, serve_worker

    def started(own: str, offered: tuple[str, ...]) -> None:
        if as_json:
            click.echo(json.dumps({"worker": own, "offers": offered}))
        else:
            click.echo(f"{own} offers {', '.join(offered) or 'nothing'}")

    serve_worker(address, certificates, Offered(name or os.uname().nodename, convert, gpu, devices), started)
    return 0


@click.command()
@click.argument("scheduler", metavar="ADDRESS")
@certificates_option
@json_option
def status(scheduler: str, certificates: Path | None, as_json: bool) -> int:
    """Show the workers of a scheduler, their devices, what they do, and the runs that use them.

    \b
    Example:
      edgetf status tls://lab:8786
    """
    from edgetf.files import to_plain
    from edgetf.plans.fleet.status import status as look

    found = look(scheduler, certificates=certificates)
    if as_json:
        click.echo(json.dumps(to_plain(found), indent=1))
    else:
        found.show()
    return 0


@click.command()
@click.option("-o", "--out", type=PATH, help="The folder. [default: in the user's configuration]")
@force_option
@json_option
def certificates(out: Path | None, force: bool, as_json: bool) -> int:
    """Make certificates, with which a scheduler, its workers and those who run plans know each other.

    Copy ca.pem, node.pem and node-key.pem to each machine, and ca-key.pem to none. Whoever has node-key.pem can run
    code on every worker, on the scheduler, and on every machine that runs a plan or `edgetf status` with this set.
    Certificates end after 825 days; names of hosts are not checked.

    \b
    Example:
      edgetf certificates -o certificates
    """
    from edgetf.plans.fleet.security import default_folder, make_certificates

    place = default_folder() if out is None else out
    make_certificates(place, force)
    if as_json:
        click.echo(json.dumps({"certificates": str(place)}))
    else:
        click.echo(f"written to {place}: copy ca.pem, node.pem and node-key.pem to each machine")
    return 0
