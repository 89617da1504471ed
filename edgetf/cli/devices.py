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
    """The devices in devices.toml: what they are, and what they lack.

    \b
    Example:
      edgetf devices list
      edgetf devices doctor local
    """


@devices.command("list")
@_devices_option
@json_option
def list_devices(file: Path | None, as_json: bool) -> None:
    """List the devices, without reaching for them.

    \b
    Example:
      edgetf devices list
    """
    from edgetf.device.settings import load_settings
    from edgetf.files import to_plain

    known = load_settings(file)
    if as_json:
        click.echo(json.dumps({name: to_plain(settings) for name, settings in known.items()}, indent=1))
        return
    rows = [
        [
            escape(name),
            s.kind.value,
            escape(s.serial or (f"{s.user + '@' if s.user else ''}{s.host}:{s.port}" if s.host else "")),
        ]
        for name, s in known.items()
    ]
    print_table("Devices", ["name", "kind", "address"], rows)


@devices.command()
@click.argument("name")
@_devices_option
@json_option
def probe(name: str, file: Path | None, as_json: bool) -> None:
    """Show what the device NAME is and has.

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
    print_table(escape(name), ["", ""], rows)


@devices.command()
@click.argument("name")
@_devices_option
@json_option
def doctor(name: str, file: Path | None, as_json: bool) -> int:
    """Say what the device NAME lacks, and the command that mends it. Exit code 1 when something keeps it from running.

    \b
    Example:
      edgetf devices doctor local
    """
    from edgetf.device.devices import find_settings
    from edgetf.device.doctor import Finding, diagnose
    from edgetf.device.facts import Facts
    from edgetf.device.probe import probe as ask
    from edgetf.device.settings import Kind
    from edgetf.errors import DeviceError
    from edgetf.files import to_plain

    settings = find_settings(name, file)
    try:
        findings = diagnose(ask(name, settings), settings)
    except DeviceError as error:  # what is known without it is told too
        unreachable = Finding(True, error.message, error.hint)
        findings = (unreachable, *(diagnose(Facts(), settings) if settings.kind is Kind.ADB else ()))
    if as_json:
        click.echo(json.dumps([to_plain(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            mark = "[red]lacks[/]" if finding.blocks else "[yellow]times[/]"
            print_lines(f"{mark} {escape(finding.problem)}", f"      {escape(finding.mend)}")
        if not findings:
            print_lines(f"{escape(name)} has all that it needs, and is quiet.")
    return ExitCode.USER if any(finding.blocks for finding in findings) else ExitCode.DONE
