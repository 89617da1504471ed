"""An interrupted benchmark resumes after its last complete turn, and reports it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgetf import files
from edgetf.benchmarks.benchmark import BenchmarkOptions, benchmark
from edgetf.benchmarks.timing.resume import FOLDER, Resumable
from edgetf.device.local import LocalDevice
from edgetf.device.runner.job import Job, Measurement
from edgetf.errors import KeptInterrupt, NoRoomError, UnreachableError
from edgetf.events import Event, Note, OnEvent
from edgetf.results import Benchmark, read_benchmark
from tests.conftest import BLOCKS, SHORT, Run, ignore

QUICK = BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1)


class Interrupted(LocalDevice):
    """This machine; the run ends before turn `last` + 1, as by Ctrl-C."""

    def __init__(self, last: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.__dict__.update(ran=[], last=last, error=error or KeyboardInterrupt())

    ran: list[str]
    last: int
    error: BaseException

    def run(self, job: Job, out: Path, on_event: OnEvent) -> Measurement:
        if len(self.ran) == self.last:
            raise self.error
        self.ran.append(f"{out.parent.name}/{out.name}")
        return super().run(job, out, on_event)


def _run(variants: Sequence[Path], out: Path, device: LocalDevice, options: BenchmarkOptions = QUICK) -> list[str]:
    """The notes of a run that may be interrupted."""
    events: list[Event] = []
    try:
        benchmark(variants, device, out, options, events.append)
    except KeptInterrupt as interrupted:
        events.append(Note(interrupted.message))
    except (KeyboardInterrupt, UnreachableError):
        pass
    return [event.text for event in events if isinstance(event, Note)]


@pytest.fixture(scope="module")
def variants(converted: Path) -> list[Path]:
    return [converted / "float32.tflite", converted / "int8.tflite"]


def test_finished_turns_are_not_measured_again(variants: list[Path], reference: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "bench", BenchmarkOptions(reference, timing=SHORT, blocks=BLOCKS, patience=1)
    first, second = Interrupted(5), Interrupted(99)
    assert "5 turns kept" in _run(variants, out, first, options)[-1]
    assert [path.name for path in out.iterdir()] == [FOLDER]
    assert "resuming after 5 turns" in _run(variants, out, second, options)[0]
    assert first.ran == ["float32/block-1", "int8/block-1", "int8/block-2", "float32/block-2", "float32/samples"]
    assert second.ran == ["int8/samples"]
    document = read_benchmark(out)
    assert [[block.turn for block in result.blocks] for result in document.results] == [[1, 4], [2, 3]]
    assert document.warnings[0].startswith("the run was interrupted after 5 turns, at ")
    assert all(result.parity for result in document.results)
    assert all((out / block.measurement).is_dir() for result in document.results for block in result.blocks)
    assert not (out / FOLDER).exists()


def test_an_interruption_before_any_turn_leaves_nothing(variants: list[Path], tmp_path: Path) -> None:
    assert _run(variants, tmp_path / "bench", Interrupted(0)) == []
    assert not (tmp_path / "bench").exists()


def test_a_full_disk_is_an_interruption_that_keeps_the_turns(variants: list[Path], tmp_path: Path) -> None:
    full, events = Interrupted(2, NoRoomError("no room", "make some")), list[Event]()
    with pytest.raises(NoRoomError):
        benchmark(variants, full, tmp_path / "bench", QUICK, events.append)
    assert isinstance(events[-1], Note)
    assert "2 turns kept" in events[-1].text
    second = Interrupted(99)
    _run(variants, tmp_path / "bench", second)
    assert second.ran == ["int8/block-2", "float32/block-2"]


def test_measurements_are_kept_if_the_end_of_the_run_fails(
    variants: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    publish = files._publish
    monkeypatch.setattr(files, "_publish", full)
    with pytest.raises(OSError, match="No space left"):
        benchmark(variants, LocalDevice(), tmp_path / "bench", QUICK, ignore)
    monkeypatch.setattr(files, "_publish", publish)
    assert "resuming after 4 turns" in _run(variants, tmp_path / "bench", Interrupted(0))[0]
    assert len(read_benchmark(tmp_path / "bench").results) == 2


def test_a_lost_connection_is_an_interruption_and_not_a_failure_of_a_variant(
    variants: list[Path], tmp_path: Path
) -> None:
    lost = Interrupted(2, UnreachableError("pi cannot be reached", "is it on?"))
    with pytest.raises(UnreachableError):
        benchmark(variants, lost, tmp_path / "bench", QUICK, ignore)
    second = Interrupted(99)
    _run(variants, tmp_path / "bench", second)
    assert second.ran == ["int8/block-2", "float32/block-2"]


@pytest.mark.parametrize(
    "other",
    [
        BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1, threads=2),
        BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1, runtime="litert"),
    ],
)
def test_other_settings_start_over(variants: list[Path], tmp_path: Path, other: BenchmarkOptions) -> None:
    _run(variants, tmp_path / "bench", Interrupted(3))
    again = Interrupted(1)
    assert "has other variants, samples or settings" in _run(variants, tmp_path / "bench", again, other)[0]
    assert again.ran == ["float32/block-1"]


def test_other_variants_start_over(variants: list[Path], converted: Path, tmp_path: Path) -> None:
    _run(variants, tmp_path / "bench", Interrupted(3))
    again = Interrupted(1)
    assert "starting over" in _run([variants[0], converted / "float16.tflite"], tmp_path / "bench", again)[0]
    assert again.ran == ["float32/block-1"]


@pytest.mark.parametrize("damaged", ["progress.json", "measurements/int8/block-1/timings.npz"])
def test_damaged_progress_is_discarded_with_a_message(variants: list[Path], tmp_path: Path, damaged: str) -> None:
    _run(variants, tmp_path / "bench", Interrupted(3))
    file = tmp_path / "bench" / FOLDER / damaged
    file.write_bytes(file.read_bytes()[:-20])
    again = Interrupted(99)
    assert "is damaged: starting over" in _run(variants, tmp_path / "bench", again)[0]
    assert len(again.ran) == 4
    assert read_benchmark(tmp_path / "bench").warnings[:1] != ("the run was interrupted",)


DAMAGES: list[Callable[[dict[str, Any]], object]] = [
    lambda plain: plain.update(turns=[]),
    lambda plain: plain.update(turns=plain["turns"][::-1] * 2),
    lambda plain: plain["turns"][0].update(folder="../../.."),
    lambda plain: plain["turns"][0].update(folder="/"),
    lambda plain: plain["turns"][0].update(folder="."),
    lambda plain: plain["turns"][0].update(folder="x\0y"),
    lambda plain: plain["turns"][0].update(folder="gone"),
    lambda plain: plain["turns"][0].update(folder="x" * 5000),
    lambda plain: plain["turns"][0].update(number=None),
    lambda plain: plain.update(stops=0),
    lambda plain: plain.update(schema=[]),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_progress_never_blocks_a_rerun(tmp_path: Path, damage: Callable[[dict[str, Any]], object]) -> None:
    notes: list[Event] = []
    folder = _progress(tmp_path)
    plain = json.loads((folder / "progress.json").read_text())
    damage(plain)
    (folder / "progress.json").write_text(json.dumps(plain))
    kept = Resumable(folder, "key", notes.append)
    if len(plain["turns"]) == 2:  # the same turn twice is complete
        assert kept.find("int8/block-0") is not None
        return
    assert kept.find("int8/block-0") is None
    assert isinstance(notes[0], Note)
    assert "is damaged: starting over" in notes[0].text
    assert not folder.exists()


@pytest.mark.parametrize("content", ["", "null", "[" * 100_000, '{"schema": 1', "\xff"])
def test_progress_that_is_not_a_document_does_not_block_a_rerun(tmp_path: Path, content: str) -> None:
    folder = _progress(tmp_path)
    (folder / "progress.json").write_bytes(content.encode("latin1"))
    assert Resumable(folder, "key", ignore).stops == ()
    assert not folder.exists()


def test_a_file_where_progress_is_kept_is_removed(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("")
    kept = Resumable(tmp_path / "p", "key", ignore)
    (kept.place / "int8/block-0").mkdir(parents=True)
    kept.keep("int8/block-0", 1)


def _progress(tmp_path: Path) -> Path:
    """The folder of a run that was killed after a turn."""
    kept = Resumable(tmp_path / "p", "key", ignore)
    (kept.place / "int8/block-0").mkdir(parents=True)
    kept.keep("int8/block-0", 1)
    return tmp_path / "p"


def test_force_replaces_complete_results_and_resumes_incomplete_ones(variants: list[Path], tmp_path: Path) -> None:
    out, force = tmp_path / "bench", BenchmarkOptions(timing=SHORT, blocks=BLOCKS, patience=1, force=True)
    _run(variants, out, Interrupted(99))
    created = read_benchmark(out)
    _run(variants, out, Interrupted(3), force)
    assert read_benchmark(out) == created  # until the new one is complete
    again = Interrupted(99)
    _run(variants, out, again, force)
    assert again.ran == ["float32/block-2"]
    assert read_benchmark(out) != created


def test_turns_of_two_interruptions_are_reported_separately(tmp_path: Path) -> None:
    for k in range(3):
        kept = Resumable(tmp_path / "p", "key", ignore)
        (kept.place / f"int8/block-{k}").mkdir(parents=True)
        kept.keep(f"int8/block-{k}", k + 1)
    assert [stop.partition(", at")[0] for stop in kept.stops] == [
        "the run was interrupted after 1 turn",
        "the run was interrupted after 2 turns",
    ]


def test_a_killed_benchmark_is_resumed(variants: list[Path], edgetf: Run, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgetf", "benchmark", str(variants[1]), "-o", "bench", "--blocks", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "turn 2" in line:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "bench" / "benchmark.json").exists()
    ended = edgetf(*command[3:])
    assert ended.returncode == 0, ended.stderr
    assert "resuming after 1 turn " in ended.stderr
    assert "the run was interrupted after 1 turn, at" in ended.stdout
    found: Benchmark = read_benchmark(tmp_path / "bench")
    assert [block.turn for block in found.results[0].blocks][:2] == [1, 2]
    assert {path.name for path in (tmp_path / "bench").iterdir()} == {"benchmark.json", "measurements"}
