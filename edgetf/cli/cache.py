"""`edgetf cache`."""

from __future__ import annotations

import json

import click

from edgetf.cli.console import Number, json_option


@click.command()
@click.option("--clean", is_flag=True, help="Remove results; one that a run makes at the moment stays.")
@click.option("--older-than", type=Number(0), metavar="DAYS", help="Only those that no run has used for so many days.")
@json_option
def cache(clean: bool, older_than: float | None, as_json: bool) -> int:
    """Show the results that `edgetf run` keeps and takes again, or remove them.

    They are in $EDGETF_CACHE, or edgetf in $XDG_CACHE_HOME or ~/.cache. The next run makes what was removed again.

    \b
    Example:
      edgetf cache
      edgetf cache --clean --older-than 30
    """
    from edgetf.files import to_plain
    from edgetf.plans.cache import cache as look

    found = look(clean=clean, older_than=older_than)
    if as_json:
        click.echo(json.dumps(to_plain(list(found.kept)), indent=1))
    else:
        found.show()
    return 0
