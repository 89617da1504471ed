"""The documents that edgetf writes for users and for itself, with all commands that read them."""

from __future__ import annotations

import shutil
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from unittest import mock

from edgetf import files
from edgetf.flatbuffer import Contents, read_contents
from tests.fuzz.core import Format, Made, edgetf
from tests.fuzz.mutate import mutate_json
from tests.tuning.made_tuning import made_tuning

if TYPE_CHECKING:
    from edgetf.benchmarks.timing.targets import Target
    from edgetf.recipes import Tuning
    from edgetf.results import Benchmark


def formats(made: Made) -> list[Format]:
    """Those of this module."""
    seeds = {
        "benchmark.json": ((made.benchmarked / "benchmark.json").read_bytes(), use_benchmark),
        "reference.json": ((made.reference / "reference.json").read_bytes(), use_reference),
        "conversion.json": ((made.converted / "conversion.json").read_bytes(), use_conversion),
        "measurement.json": (_measurement(made).read_bytes(), use_measurement),
        "ladder": (_ladder(made.benchmarked), use_kept),
        "ranges.json": ((made.converted / "ranges.json").read_bytes(), use_ranges),
        "tuning.json": (files.to_text(_tuning(made)).encode(), use_tuning),
    }
    return [Format(name, (seed,), mutate_json, partial(use, made)) for name, (seed, use) in seeds.items()]


def use_benchmark(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    (folder / "bench").mkdir()
    (folder / "bench" / "benchmark.json").write_bytes(content)
    (folder / "bench" / "measurements").symlink_to(made.benchmarked / "measurements")
    (folder / "budgets.toml").write_text("[budgets]\nmax_drop = 1\nmin_agreement = 0.9\nmax_bytes = 9999")
    place, base = folder / "bench", folder / "history.sqlite"
    uses: list[tuple[tuple[object, ...], ...]] = [
        (("check", place),),
        (("check", place, "--max-drop", "1", "--max-latency-ms", "1", "--max-bytes", "1", "--json"),),
        (("choose", place), ("choose", place, "--for", "size", "--json")),
        (
            (
                "gate",
                folder / "budgets.toml",
                place,
                "--junit",
                folder / "j",
                "--summary",
                folder / "s",
            ),
        ),
        (("inspect", place), ("inspect", place / "benchmark.json", "--json")),
        (("report", place), ("report", place, "--json")),
        (
            ("history", "add", made.benchmarked, "--commit", "a", "--history", base),
            ("history", "add", place, "--commit", "b", "--history", base),
            ("history", "list", "--history", base),
            ("history", "compare", "a", "b", "--history", base),
        ),
    ]
    if chance.randrange(1000) == 0:  # a second of matplotlib, or two
        trend = ("history", "trend", "--device", "local", "-o", folder / "t.svg", "--history", base)
        uses = [(("report", place, "-o", folder / "report.html"),), (*uses[-1][:2], trend)]
    for arguments in chance.choice(uses):
        edgetf(*arguments)


def use_reference(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.benchmarks.pinned import load_outputs
    from edgetf.results import read_reference

    (folder / "reference.json").write_bytes(content)
    (folder / "reference").symlink_to(made.reference / "reference")
    edgetf("inspect", folder, *chance.choice([[], ["--json"]]))
    load_outputs(read_reference(folder), folder)


def use_conversion(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.benchmarks.timing import targets

    (folder / "conversion.json").write_bytes(content)
    for variant in made.converted.glob("*.tflite"):
        (folder / variant.name).symlink_to(variant)
    edgetf("inspect", folder, *chance.choice([[], ["--json"]]))
    with mock.patch.object(targets, "read_contents", _contents):  # the variants are sound, and the same for each case
        targets.find_targets([folder])


def use_measurement(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.benchmarks.rows import load_passes
    from edgetf.benchmarks.timing.figures import result_of
    from edgetf.benchmarks.timing.rounds import Course, Turn, load_timings
    from edgetf.device.local import LocalDevice
    from edgetf.device.measurements import read_measurement
    from edgetf.device.runner.job import Job

    place = folder / "m" / "again"
    shutil.copytree(_measurement(made).parent, place, copy_function=_link)
    (place / "measurement.json").unlink()
    (place / "measurement.json").write_bytes(content)
    found = read_measurement("local", place)
    load_timings(found, place)
    if found.samples is not None:
        load_passes([(found.samples, place)])
    turn = Turn(1, "again", found, None)
    course = Course(_target(made), blocks=[turn, turn], passes=[turn] if found.samples else [])
    result = result_of(course, LocalDevice(), Job(str(course.target.path), {}), folder, "m")
    files.to_text(result)


def use_kept(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    (folder / "bench" / "ladder").mkdir(parents=True)
    for name in ("benchmark.json", "measurements"):
        (folder / "bench" / name).symlink_to(made.benchmarked / name)
    (folder / "bench" / "ladder" / "int8.json").write_bytes(content)
    from edgetf.benchmarks.diagnosis.ladder import read_kept

    if chance.randrange(2000) == 0:
        edgetf("report", folder / "bench", "-o", folder / "report.html")
    for kept in read_kept(folder / "bench", _benchmark(made)):
        files.to_text(kept)


def use_ranges(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    (folder / "ranges.json").write_bytes(content)
    edgetf("inspect", folder / "ranges.json", *chance.choice([[], ["--json"]]))


def use_tuning(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.benchmarks.report.tuning import draw_candidates, find_tuning, front_of

    (folder / "tuning.json").write_bytes(content)
    (folder / "bench").symlink_to(made.benchmarked)
    edgetf("inspect", folder / "tuning.json", *chance.choice([[], ["--json"]]))
    found = find_tuning(folder / "bench", _benchmark(made))
    if found is not None:
        front_of(found)
        if chance.randrange(50) == 0:
            draw_candidates(found)


def _contents(variant: Path) -> Contents:
    return _contents_of(variant.resolve())


@cache
def _contents_of(variant: Path) -> Contents:
    return read_contents(variant)


@cache
def _target(made: Made) -> Target:
    from edgetf.benchmarks.timing.targets import find_targets

    return find_targets([made.converted])[0]


@cache
def _benchmark(made: Made) -> Benchmark:
    from edgetf.results import read_benchmark

    return read_benchmark(made.benchmarked)


@cache
def _measurement(made: Made) -> Path:
    """One with outputs."""
    found = sorted((made.benchmarked / "measurements").glob("*/*/measurement.json"))
    return next(path for path in found if '"outputs"' in path.read_text())


def _tuning(made: Made) -> Tuning:
    samples = _benchmark(made).samples
    assert samples is not None
    return made_tuning(samples)


def _link(source: str, target: str) -> None:
    Path(target).symlink_to(source)


def _ladder(bench: Path) -> bytes:
    from edgetf.benchmarks.diagnosis.ladder import LADDER_SCHEMA, Kept, Ladder, Rung
    from edgetf.benchmarks.diagnosis.layers import Layer
    from edgetf.results import Verdict, read_benchmark

    rung = Rung("float32 to int8", Verdict.FAIL, "it lost 3 points", 0.9, 1.0)
    layer = Layer("dense", "FULLY_CONNECTED", "t", 3.0, 2.0, "channel 3 is far larger", "weight decay")
    ladder = Ladder("int8", "local", 200, (rung,), "float32 to int8", Verdict.FAIL, "accuracy drop")
    return files.to_text(Kept(LADDER_SCHEMA, read_benchmark(bench).created, ladder, (layer,))).encode()
