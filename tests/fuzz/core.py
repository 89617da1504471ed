"""What the fuzzer's formats share: a format with its sound files, and the definition of a fault.

A Format's `use` gets its own folder and the damaged content. It may succeed or raise a clear error; everything else is
a fault.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from edgetf.errors import EdgetfError
from tests.fuzz.mutate import Mutate

Use = Callable[[Random, Path, bytes], None]


@dataclass(frozen=True)
class Format:
    """`seeds` are sound contents of a file.

    `slow` formats load TensorFlow, or another library that does not survive a fork, and get fewer cases. What edgetf
    itself reads `in_child` may crash or hang: the process and its time limit are what makes an error of that.
    """

    name: str
    seeds: tuple[bytes, ...]
    mutate: Mutate
    use: Use
    slow: bool = False
    in_child: bool = False


@dataclass(frozen=True)
class Made:
    """Folders with the results of the commands for one small network, and its files."""

    saved_model: Path
    keras_file: Path
    samples: Path
    converted: Path
    reference: Path
    benchmarked: Path


KEPT = ("float32", "int8")  # variants: the time of a case grows with the length of its document


def reduced(made: Made, folder: Path) -> Made:
    """The same in `folder` with few variants: what is read and judged for each case is short."""
    (converted := folder / "converted").mkdir()
    conversion = json.loads((made.converted / "conversion.json").read_text())
    conversion["variants"] = [one for one in conversion["variants"] if one["scheme"] in KEPT]
    (converted / "conversion.json").write_text(json.dumps(conversion))
    for name in ("ranges.json", *(f"{scheme}.tflite" for scheme in KEPT)):
        (converted / name).symlink_to(made.converted / name)
    (benchmarked := folder / "benchmarked").mkdir()
    benchmark = json.loads((made.benchmarked / "benchmark.json").read_text())
    benchmark["results"] = [one for one in benchmark["results"] if one["variant"] in KEPT]
    (benchmarked / "benchmark.json").write_text(json.dumps(benchmark))
    (benchmarked / "measurements").symlink_to(made.benchmarked / "measurements")
    return replace(made, converted=converted, benchmarked=benchmarked)


class FaultError(Exception):
    """The outcome was neither a result nor a clear error."""


def run_case(one: Format, chance: Random) -> bool:
    """Damage a seed and use it; returns whether it was accepted. Raises what `use` raises, except clear errors."""
    content = one.mutate(chance, chance.choice(one.seeds))
    with tempfile.TemporaryDirectory() as folder:
        return is_accepted(one, chance, Path(folder), content)


def is_accepted(one: Format, chance: Random, folder: Path, content: bytes) -> bool:
    """Whether the content is accepted and every use of it succeeds. Raises as `run_case`."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            one.use(chance, folder, content)
    except EdgetfError as error:
        for text in (error.message, error.hint):
            if not text.isprintable() or len(text) > 2000:
                raise FaultError(f"not a line: {text!r}") from error
        if not error.message or "Traceback" in error.message:
            raise FaultError(f"not clear: {error.message!r}") from error
        return False
    return True


def edgetf(*arguments: object) -> None:
    """Run the command in this process; its exit code is of no interest."""
    from edgetf.cli import cli

    cli.main([str(one) for one in arguments], standalone_mode=False)
