"""`make chaos`: rounds of random kills over convert, reference, benchmark, tune, run, bundle and history.

    python -m tests.chaos [--rounds 20] [--seed S] [COMMAND...]

The exit code is 1 if anything did not hold. The same seed gives the same delays and signals.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from edgetf.results import read_benchmark, read_conversion, read_reference
from tests.chaos.model import make
from tests.chaos.rounds import (
    Command,
    Place,
    Round,
    complete_bundle,
    complete_folder,
    complete_history,
    complete_run,
    complete_tuning,
    play,
)


def commands(made: Path, out: Path) -> list[Command]:
    """The commands, on what `model.make` left in `made`; each writes below `out`."""
    model, samples, bench = str(made / "saved_model"), str(made / "samples.npz"), str(made / "bench")
    variants, reference = str(made / "variants"), str(made / "reference")
    int8 = str(made / "variants" / "int8.tflite")
    places = [out / name / "out" for name in ("convert", "reference", "benchmark", "tune", "run")]
    two = ("--scheme", "float32", "--scheme", "int8")
    bundle, history = out / "bundle" / "float32.edgetf", out / "history" / "history.sqlite"
    of_bundle = ("bundle", bench, "--variant", "float32", "--unproven", "--variants", variants)
    return [
        Command(
            "convert",
            ("convert", model, "-o", str(places[0]), "--samples", samples),
            places[0],
            complete_folder(read_conversion, "path"),
        ),
        Command(
            "reference",
            ("reference", model, "--samples", samples, "-o", str(places[1]), "--on", "cpu"),
            places[1],
            complete_folder(read_reference, "file"),
        ),
        Command(
            "benchmark",
            ("benchmark", int8, "--reference", reference, "-o", str(places[2]), "--blocks", "2"),
            places[2],
            complete_folder(read_benchmark, "measurement"),
        ),
        Command(
            "tune",
            ("tune", str(made / "pair"), "--reference", str(made / "others"), "-o", str(places[3]), "--max-drop", "6"),
            places[3],
            complete_tuning,
        ),
        Command(
            "run",
            ("run", model, "--samples", samples, "--test", samples, *two, "--max-drop", "6", "-o", str(places[4])),
            places[4],
            complete_run,
        ),
        Command("bundle", (*of_bundle, "--reference", reference, "-o", str(bundle)), bundle, complete_bundle),
        Command(
            "history", ("history", "add", bench, "--history", str(history)), history, complete_history, fresh=bench
        ),
    ]


def rounds_of(command: Command, folder: Path, count: int, chance: random.Random) -> list[Round]:
    """Run it once undisturbed to measure its duration; then `count` rounds, every other without earlier results."""
    place = Place(folder)
    command.out.parent.mkdir(parents=True, exist_ok=True)
    seconds = place.seconds(command.arguments)
    print(f"{command.name}: {seconds:.1f} s undisturbed", flush=True)
    played = []
    for k in range(count):
        if command.fresh:
            _renew(Path(command.fresh) / "benchmark.json")
        elif k % 2 == 1:
            _forget(command.out)
            shutil.rmtree(place.cache, ignore_errors=True)
        played.append(play(command, place, chance.uniform(0, 1.05 * seconds), chance))
        print(f"  {k + 1:3}  {played[-1]}", flush=True)
    return played


def _renew(file: Path) -> None:
    """Make it a different benchmark: one that the history has already adds nothing."""
    text = file.read_text()
    file.write_text(re.sub(r'"created": "\d+', lambda found: f'"created": "{int(found[0][-4:]) + 1}', text, count=1))


def _forget(out: Path) -> None:
    if out.is_dir():
        shutil.rmtree(out)
    else:
        out.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description="Rounds of random kills.")
    parser.add_argument("--rounds", type=int, default=20, help="of each command")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("names", nargs="*", help="commands, instead of all")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    summary = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        made = make(Path(folder, "made"))
        for command in commands(made, Path(folder, "out")):
            if not asked.names or command.name in asked.names:
                chance = random.Random(f"{asked.seed} {command.name}")
                played = rounds_of(command, Path(folder, "place", command.name), asked.rounds, chance)
                summary.append((command.name, played))
    print(f"\n{'command':10} {'rounds':>7} {'cut off':>8} {'kill -9':>8} {'faults':>7}")
    for name, played in summary:
        cut = sum(one.ended != 0 for one in played)
        killed = sum(one.ended == -9 for one in played)
        print(f"{name:10} {len(played):7} {cut:8} {killed:8} {sum(bool(one.faults) for one in played):7}")
    return int(any(one.faults for _, played in summary for one in played))


if __name__ == "__main__":
    sys.exit(main())
