"""`edgetf devices list | probe | doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgetf.cli.console import PATH, escape, json_option, print_lines, print_table
from edgetf.errors import ExitCode

_devices_option = click.option(
    "--devices", "file", type=PATH, help="The file that names devices. [default: devices.toml here, or the user's]"
)


@click.group()
def devices() -> None:
    """List, probe and diagnose the devices in devices.toml.

    \b
    Example:
      edgetf devices list
      edgetf devices doctor local
    """


@devices.command("list")
@_devices_option
@json_option
def list_devices(file: Path | None, as_json: bool) -> None:
    """List the devices, without connecting to them.

    \b
    Example:
      edgetf devices list
    """
    from edgetf.device.devices_toml import load_settings
    from edgetf.device.kinds import KINDS
    from edgetf.files import to_plain

    known = load_settings(file)
    if as_json:
        click.echo(json.dumps({name: to_plain(settings) for name, settings in known.items()}, indent=1))
        return
    rows = [[escape(name), one.kind.value, escape(KINDS[one.kind].address(one))] for name, one in known.items()]
    print_table("Devices", ["name", "kind", "address"], rows)


@devices.command()
@click.argument("name")
@_devices_option
@json_option
def probe(name: str, file: Path | None, as_json: bool) -> None:
    """Show the facts of the device NAME: hardware, system, runtimes.

    \b
    Example:
      edgetf devices probe local
    """
    from edgetf.device.devices import find_settings
    from edgetf.device.probe import probe as ask
    from edgetf.files import to_plain, to_text

    facts = ask(name, find_settings(name, file))
    if as_json:
        click.echo(to_text(facts), nl=False)
        return
    rows = [[key.replace("_", " "), escape(value)] for key, value in to_plain(facts).items() if value]
    print_table(escape(name), ["", "value"], rows, long=["value"])


@devices.command()
@click.argument("name")
@_devices_option
@json_option
def doctor(name: str, file: Path | None, as_json: bool) -> int:
    """Diagnose the device NAME: report what is missing, and the command that installs it. Exit code 1 if it cannot run.

    \b
    Example:
      edgetf devices doctor local
    """
    from edgetf.device.devices import find_settings
    from edgetf.device.doctor import examine
    from edgetf.files import to_plain

    findings = examine(name, find_settings(name, file))
    if as_json:
        click.echo(json.dumps([to_plain(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            mark = "[red]lacks[/]" if finding.blocks else "[yellow]note[/] "
            print_lines(f"{mark} {escape(finding.problem)}", f"      {escape(finding.hint)}")
        if not findings:
            print_lines(f"{escape(name)} has everything that it needs, and is idle.")
    return ExitCode.USER if any(finding.blocks for finding in findings) else ExitCode.DONE
