"""State that a run leaves for the next one, files that people write, bundles and histories."""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np

from edgetf import files
from edgetf.errors import EdgetfError, clean
from edgetf.models.training import TRAINING_SCHEMA, Training
from edgetf.system import explained
from tests.fuzz import answers
from tests.fuzz.arrays import npy_bytes
from tests.fuzz.core import Format, Made, edgetf
from tests.fuzz.mutate import mutate_bytes, mutate_json, mutate_npy, mutate_place, mutate_text, mutate_zip


def formats(made: Made) -> list[Format]:
    """Those of this module."""
    training = Training(TRAINING_SCHEMA, "1", "2026", "cnn", 3.5, {"test_accuracy": 0.9}, 100, 50, {"tensorflow": "2"})
    return [
        Format("training.json", (files.to_text(training).encode(),), mutate_json, partial(use_training, made)),
        Format("devices.toml", (answers.DEVICES,), mutate_text, partial(use_devices, made)),
        Format("budgets.toml", (answers.BUDGETS,), mutate_text, partial(use_budgets, made)),
        Format("job.json", (_job(made),), mutate_json, partial(use_job, made)),
        Format("progress.json of a reference", (_partial(),), mutate_json, partial(use_partial, made)),
        Format("progress.json of a benchmark", (_resume(),), mutate_json, partial(use_resume, made)),
        Format(
            "bundle",
            (_bundle(made),),
            mutate_zip({".json": mutate_json, ".npy": mutate_npy}),
            partial(use_bundle, made),
        ),
        Format("history", (_history(made),), _mutate_history, partial(use_history, made)),
        Format("notes.json", (_notes(),), mutate_json, use_notes),
        Format(".edgetf-partial-devices.json", (_finished(made),), mutate_json, partial(use_finished, made)),
        Format("moves.json", (_MOVES,), mutate_json, use_moves),
        Format("edgetf.toml", (_PLAN,), mutate_text, use_plan),
        Format("run.json", (_run(made),), mutate_json, use_run),
    ]


_PLAN = b"""
out = "ship"
for = "size"
[models.digits]
path = "m.keras"
test = "tfds:mnist?split=test"
samples = "${HOME}/train.npz"
shapes = { x = [1, 28] }
devices = ["local", "shelf"]
[classes]
shelf = ["a", "b"]
[budgets]
max_drop = 1.5
max_latency_ms = { local = 2.0 }
[budgets.of.int8]
max_bytes = 500_000
[tuning]
when = "never"
[options]
blocks = 3
"""


def use_plan(chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.plans.facts import of_budgets
    from edgetf.plans.plan import load_plan
    from edgetf.plans.written import plan_as_toml

    (folder / "edgetf.toml").write_bytes(content)
    plan = load_plan(folder / "edgetf.toml")
    of_budgets(plan.budgets)
    (folder / "again.toml").write_text(plan_as_toml(plan, folder))
    assert load_plan(folder / "again.toml").models == plan.models


def use_run(chance: Random, folder: Path, content: bytes) -> None:
    import edgetf as api
    from edgetf.plans.page import render
    from edgetf.plans.plan import NO_BUDGETS
    from edgetf.plans.table import step_in_words

    (folder / "run.json").write_bytes(content)
    found = api.load(folder)
    str(found)
    found.records(), found.exit_code, found.shipped
    for step in found.document.steps:
        step_in_words(step)
    if not chance.randrange(10):
        render(found.document, NO_BUDGETS, folder)
        edgetf("inspect", folder / "run.json", *chance.choice([[], ["--json"]]))


def _run(made: Made) -> bytes:
    from edgetf.errors import ExitCode
    from edgetf.plans.record import RUN_SCHEMA, Answer, Because, RunRecord, State, StepRecord, Verb
    from edgetf.results import Verdict

    steps = (
        StepRecord(
            Verb.CONVERT, "m", None, State.DONE, Because.CHANGED, ("model",), "0" * 16, {"model": "1"}, "p", 1.5
        ),
        StepRecord(Verb.BENCHMARK, "m", "pi", State.FAILED, exit_code=ExitCode.DEVICE_FAILED, error="e", hint="h"),
    )
    answer = Answer("m", "pi", "pi", "int8", Verdict.PASS, "int8: good", 9, "ab", "f", "b", "r", str(made.benchmarked))
    return files.to_text(RunRecord(RUN_SCHEMA, "1", "2026", "edgetf.toml", 2.5, steps, (answer,))).encode()


def use_training(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.models.training import in_words

    (folder / "training.json").write_bytes(content)
    in_words(files.read_document(folder / "training.json", Training, TRAINING_SCHEMA))


def use_devices(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.device.devices import find_device
    from edgetf.device.devices_toml import load_settings
    from edgetf.device.doctor import diagnose
    from edgetf.device.facts import Facts

    (folder / "devices.toml").write_bytes(content)
    for name, settings in load_settings(folder / "devices.toml").items():
        find_device(name, folder / "devices.toml")
        diagnose(Facts("aarch64"), settings)


def use_budgets(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    (folder / "budgets.toml").write_bytes(content)
    edgetf("gate", folder / "budgets.toml", made.benchmarked, "--junit", folder / "junit.xml")


def use_job(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.device.runner.interpreter import JobError
    from edgetf.device.runner.job import read_job
    from edgetf.device.runner.outputs import load_inputs

    (folder / "job.json").write_bytes(content)
    (folder / "image.npy").write_bytes(npy_bytes(np.zeros((12, 4, 4, 1), np.float32)))
    try:
        load_inputs(read_job(folder / "job.json"))
    except JobError as error:
        raise EdgetfError(str(error)) from error


def use_partial(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.benchmarks.reference.partial import Partial

    (folder / "p").mkdir()
    (folder / "p" / "progress.json").write_bytes(content)
    (folder / "p" / "output-0.npy").write_bytes(bytes(256 + 24 * 4))
    (folder / "p" / "output-0.npy.shapes").write_bytes(np.full((8, 1), 3, "<i8").tobytes())
    begun = Partial(folder / "p", "key")
    if begun.progress is not None:
        begun.append({"o": np.zeros((2, 3), np.float32)}, 10, 2)
        begun.finish(folder)


def use_resume(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.benchmarks.timing.resume import Resumable

    (folder / "p" / "measurements" / "int8").mkdir(parents=True)
    (folder / "p" / "progress.json").write_bytes(content)
    Resumable(folder / "p", "key", lambda event: None)


def use_bundle(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    from edgetf.device.runner.interpreter import JobError
    from edgetf.device.runner.verify import _unpack

    (folder / "b.zip").write_bytes(content)
    if chance.random() < 0.3:  # its tables cost ten times what a verification reads
        edgetf("inspect", folder / "b.zip")
    try:
        (folder / "b").mkdir()
        _unpack(folder / "b.zip", folder / "b")
    except JobError as error:
        raise EdgetfError(str(error)) from error


def use_history(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    (folder / "h.sqlite").write_bytes(content)
    edgetf("history", "list", *chance.choice([[], ["--json"]]), "--history", folder / "h.sqlite")
    with mock.patch("edgetf.benchmarks.history.store._ask_git", return_value=""):  # two processes for each case
        edgetf("history", "compare", "a", "b", "--history", folder / "h.sqlite")


def use_notes(chance: Random, folder: Path, content: bytes) -> None:
    """What `tune` does with the results of an interrupted run."""
    from edgetf.recipes import Evaluation
    from edgetf.tuning.notebook import Notebook
    from edgetf.tuning.running import Score

    (folder / "p").mkdir()
    (folder / "p" / "notes.json").write_bytes(content)
    notes = Notebook(folder / "p", _SCORED, {}, lambda event: None)
    for score in notes.scores.values():
        assert -1e4 < Score(**score).db < 1e4
    for evaluation in notes.evaluations.values():
        files.to_text(files.from_plain(evaluation, Evaluation))
    assert all(0 <= latency < 1e12 for latency in notes.latencies.values())
    assert all(clean(reason) == reason for reason in notes.refused.values())
    notes.scores["a mixture"] = asdict(Score(9))
    notes.save()
    assert Notebook(folder / "p", _SCORED, {}, lambda event: None).scores.keys() == notes.scores.keys()


def use_finished(made: Made, chance: Random, folder: Path, content: bytes) -> None:
    (folder / ".edgetf-partial-devices.json").write_bytes(content)
    with _finishing(made, folder) as finished:
        assert set(finished.names) <= {"local"}
        finished.add("local")
        assert finished.names == ["local"]
        finished.forget()


def use_moves(chance: Random, folder: Path, content: bytes) -> None:
    """A process was killed while it moved files into the folder of results."""
    (out := folder / "out").mkdir()
    (root := out / ".edgetf-staging-99999999-0").mkdir()  # no process has this number
    for place in (folder / "theirs", out / "moved", root / "new" / "benchmark.json", root / "old" / "benchmark.json"):
        place.parent.mkdir(exist_ok=True)
        place.write_text(place.parent.name)
    (root / "moves.json").write_bytes(content)
    with explained():
        files.recover(out)
    assert (folder / "theirs").read_text() == folder.name  # nothing outside of the results' folder
    assert not root.exists()


_MOVES = b'[["moved", ".edgetf-staging-99999999-0/new/moved"], ["benchmark.json", ".edgetf-staging-99999999-0/new/b"]]'
_SCORED = {"variants": "digests"}


def _notes() -> bytes:
    from edgetf.recipes import Evaluation
    from edgetf.results import Verdict
    from edgetf.tuning.notebook import Notebook
    from edgetf.tuning.running import Score

    judged = Evaluation(Verdict.PASS, "accuracy drop +0.10", 128, 500, "accuracy", 0.1, -0.2, 0.4, 1.0)
    with tempfile.TemporaryDirectory() as folder:
        notes = Notebook(Path(folder, "p"), _SCORED, {}, lambda event: None)
        notes.scores |= {"[]": asdict(Score(900, {"y": 1e-4}, 1)), "[1]": asdict(Score(0, problem="it does not load"))}
        notes.evaluations["5" * 64], notes.latencies["5" * 64] = files.to_plain(judged), 1.25
        notes.refused["6" * 64] = "it does not run on pi: no such operation"
        notes.save()
        return Path(folder, "p", "notes.json").read_bytes()


@contextlib.contextmanager
def _finishing(made: Made, out: Path) -> Iterator[Any]:
    """The finished devices of a benchmark of several in the folder `out`, the first of which has results."""
    from edgetf.api import benchmark
    from edgetf.benchmarks.benchmark import BenchmarkOptions

    runs = [benchmark._Run((), name, None, out / name, BenchmarkOptions()) for name in ("local", "pi")]
    (out / "local").mkdir()
    (out / "local" / "benchmark.json").symlink_to(made.benchmarked / "benchmark.json")
    with mock.patch.object(benchmark, "find_targets", return_value=[]):  # the variants are the same for each case
        yield benchmark._Finished(out, runs)


def _finished(made: Made) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        with _finishing(made, Path(folder)) as finished:
            finished.add("local")
        return Path(folder, ".edgetf-partial-devices.json").read_bytes()


def _job(made: Made) -> bytes:
    from edgetf.device.runner.job import Job, to_json

    return to_json(Job(str(made.converted / "int8.tflite"), {"image": "image.npy"}, affinity=[0])).encode()


def _partial() -> bytes:
    from edgetf.benchmarks.reference.partial import _SCHEMA, Progress, Written

    return files.to_text(Progress(_SCHEMA, "key", 2, 8, (Written("o", "output-0.npy", "<f4", (3,), 8),))).encode()


def _resume() -> bytes:
    from edgetf.benchmarks.timing.resume import _SCHEMA, Finished, Progress

    digest = files.sha256_tree(Path("/nonexistent"))
    return files.to_text(Progress(_SCHEMA, "key", (Finished("int8", 1, "2026", digest),), ("once",))).encode()


def _bundle(made: Made) -> bytes:
    from edgetf.benchmarks.bundle import BundleOptions, make_bundle
    from edgetf.benchmarks.diagnosis.twins import LadderOptions

    with tempfile.TemporaryDirectory() as folder:
        asked = LadderOptions("int8", [made.converted], made.reference, str(made.samples))
        make_bundle(made.benchmarked, Path(folder, "b.zip"), BundleOptions(asked, 2, unproven=True), lambda event: None)
        return Path(folder, "b.zip").read_bytes()


def _history(made: Made) -> bytes:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        base = Path(folder, "h.sqlite")
        edgetf("history", "add", made.benchmarked, "--commit", "a", "--history", base)
        edgetf("history", "add", made.benchmarked, "--commit", "b", "--history", base)
        with contextlib.closing(sqlite3.connect(base)) as opened, opened:  # the same benchmark counts once
            opened.execute("insert into result select id + 1000, digest || 'x', created, 'b', name, model, variant,"
                           " device, machine, settings, samples, result from result")  # fmt: skip
        return base.read_bytes()


def _mutate_history(chance: Random, content: bytes) -> bytes:
    """Another value in a cell, or in the document that a cell holds; else as bytes."""
    if chance.random() < 0.4:
        return mutate_bytes(chance, content)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "h.sqlite")
        base.write_bytes(content)
        with contextlib.closing(sqlite3.connect(base)) as opened, opened:
            row = chance.choice(opened.execute("select id, result from result").fetchall())
            if chance.random() < 0.6:
                column, value = "result", mutate_json(chance, row[1].encode())
                cell: Any = value if chance.random() < 0.1 else value.decode(errors="replace")
            else:
                holder = {"value": "text"}
                mutate_place(chance, holder, "value")
                column = chance.choice(["created", '"commit"', "name", "variant", "device", "samples", "settings"])
                cell = holder.get("value")
                cell = cell if isinstance(cell, (str, int, float)) and abs(hash(cell)) < 2**62 else json.dumps(cell)
                cell = cell.encode(errors="replace").decode() if isinstance(cell, str) else float(cell)
            with contextlib.suppress(sqlite3.Error):
                opened.execute(f"update result set {column} = ? where id = ?", (cell, row[0]))
        return base.read_bytes()
