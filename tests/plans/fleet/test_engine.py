"""A plan on a scheduler with two workers: nothing lost, nothing twice, the same results as on one machine."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgetf
from edgetf.errors import Cause, EdgetfError, ExitCode
from edgetf.events import Event, Note
from edgetf.files import sha256_file
from edgetf.plans.engine import Here
from edgetf.plans.fleet import client, engine
from edgetf.plans.fleet import status as status_module
from edgetf.plans.fleet.engine import Fleet
from edgetf.plans.fleet.security import make_certificates
from edgetf.plans.plan import load_plan
from edgetf.plans.ran import Ran
from edgetf.plans.record import State, Verb
from edgetf.results import Verdict, read_benchmark, read_conversion
from tests.conftest import Small
from tests.limits import limited
from tests.plans.fleet.lab import await_line, free_port, kill_worker, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MODEL = '[models.{name}]\npath = "net"\nsamples = "train.npz"\ntest = "{name}.npz"\nschemes = {schemes}\n'
TOP = 'for = "size"\ndevices = ["a", "b"]\n'
REST = "\n[tuning]\nwhen = 'never'\n[options]\nblocks = 2\non = 'cpu'\n[budgets]\nmax_drop = 6.0\n"
SCHEMES = {
    "one": '["float32", "float16", "dynamic", "int8"]',
    "two": '["float32", "float16", "dynamic", "int8"]',
    "three": '["float32", "weights", "int8", "int8-io"]',
}
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def lab(small: Small, unseen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plan of three models, and the devices of two hosts."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(small.saved_model, folder / "net")
    shutil.copyfile(small.samples, folder / "train.npz")
    with np.load(unseen.parent / "samples.npz") as archive:
        for k, name in enumerate(SCHEMES):
            np.savez(folder / f"{name}.npz", **{key: values[k:] for key, values in archive.items()})
    for name in ("a", "b"):
        (folder / f"{name}.toml").write_text(f'[{name}]\nkind = "local"\n')
    _plan(folder / "edgetf.toml", *SCHEMES)
    return folder


def _plan(path: Path, *names: str, top: str = TOP, rest: str = REST) -> Path:
    path.write_text(top + "".join(MODEL.format(name=name, schemes=SCHEMES[name]) for name in names) + rest)
    return path


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGETF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = f"tcp://127.0.0.1:{free_port()}"
    with started("scheduler", address, ready="listening", log=tmp_path_factory.mktemp("scheduler") / "log"):
        yield address


@pytest.fixture
def start(scheduler: str, lab: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a worker with a device; all workers of a name share a cache."""
    with ExitStack() as stack:

        def call(name: str, *roles: str) -> subprocess.Popen[bytes]:
            words = ("worker", scheduler, "--name", name, "--devices", str(lab / f"{name}.toml"), *roles)
            folder = tmp_path_factory.mktemp(f"worker-{name}")
            return stack.enter_context(
                started(*words, ready=f"{name} offers", log=folder / "log", cache=lab / f"cache-{name}")
            )

        yield call


def _ignore(event: Event) -> None:
    pass


def _noting(notes: list[str]) -> Callable[[Event], None]:
    def note(event: Event) -> None:
        notes.extend([event.text] if isinstance(event, Note) else [])

    return note


def _states(ran: Ran) -> set[State]:
    return {step.state for step in ran.document.steps if step.verb is not Verb.TUNE}


def test_a_plan_on_two_workers_gives_the_results_of_one_machine_and_nothing_is_made_twice(
    scheduler: str, start: Start, lab: Path, converted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker is killed meanwhile, and started again by its nanny."""
    first = start("a", "--convert")
    start("b")
    status = edgetf.status(scheduler)
    assert [(one.name, one.devices, one.roles) for one in status.workers] == [
        ("a", ("a",), ("convert",)),
        ("b", ("b",), ()),
    ]
    killed = threading.Event()

    def kill_once(event: Event) -> None:
        if isinstance(event, Note) and "benchmark on a" in event.text and not killed.is_set():
            killed.set()  # the next step on a is lost
            kill_worker(first)

    ran = edgetf.run(lab / "edgetf.toml", lab / "ship", scheduler=scheduler, on_event=kill_once)
    assert killed.is_set()
    assert ran.exit_code is ExitCode.DONE, [step for step in ran.document.steps if step.error]
    assert list(ran) == [f"{model}/{device}" for model in SCHEMES for device in "ab"]
    assert {one.ran_on for one in ran.values()} == {"a", "b"}
    assert _states(ran) == {State.DONE, State.STORED}  # `one` and `two` share their conversion
    variants = {one.scheme: one.sha256 for one in read_conversion(lab / "ship" / "one" / "a" / "variants").variants}
    for scheme in ("float32", "float16", "dynamic", "int8"):
        assert variants[scheme] == sha256_file(converted / f"{scheme}.tflite")
    bench = read_benchmark(lab / "ship" / "one" / "a" / "bench")
    assert all(result.path is not None and Path(result.path).is_file() for result in bench.results)
    assert bench.samples is not None
    assert bench.samples.source == str(lab / "one.npz")
    assert all(result.parity is not None and result.parity.verdict is not Verdict.FAIL for result in bench.results)
    again = edgetf.run(lab / "edgetf.toml", lab / "ship", scheduler=scheduler, on_event=_ignore)
    assert _states(again) == {State.STORED}
    assert edgetf.status(scheduler).runs == ()


def test_a_killed_driver_resumes_and_a_device_that_vanishes_stops_only_its_own_steps(
    scheduler: str, start: Start, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("a", "--convert")
    gone = start("b")
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    plan = _plan(lab / "killed.toml", "three")
    words = [sys.executable, "-m", "edgetf", "run", str(plan), "-o", str(tmp_path / "ship"), "--scheduler", scheduler]
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    await_line(tmp_path / "log", "three: reference", driver)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    os.killpg(gone.pid, signal.SIGKILL)
    while "b" in {one.name for one in edgetf.status(scheduler).workers}:  # until the scheduler has noticed
        time.sleep(0.2)
    monkeypatch.setattr(client, "PATIENCE_S", 5.0)
    notes: list[str] = []
    ran = edgetf.run(plan, tmp_path / "ship", scheduler=scheduler, on_event=_noting(notes))
    assert "waiting for a worker that has b" in notes
    assert ran.exit_code is ExitCode.DEVICE_FAILED
    states = {(step.verb, step.device): step.state for step in ran.document.steps}
    assert (states[Verb.CONVERT, None], states[Verb.REFERENCE, None]) == (State.STORED, State.STORED)
    assert (states[Verb.BENCHMARK, "a"], states[Verb.BENCHMARK, "b"]) == (State.DONE, State.FAILED)
    failed = ran.document.step(Verb.BENCHMARK, "three", "b")
    assert failed is not None
    assert failed.cause is Cause.UNREACHABLE
    assert "no worker of" in failed.error
    assert list(ran) == ["three/a"]


def test_a_device_of_a_class_takes_over_and_one_whose_worker_is_killed_is_not_tried_again_and_again(
    scheduler: str, start: Start, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("a", "--convert")
    lost = start("b")
    monkeypatch.setattr(client, "PATIENCE_S", 3.0)
    top = 'for = "size"\ndevices = ["b", "rack", "shelf"]\n'
    classes = '[classes]\nrack = ["b"]\nshelf = ["b", "a"]\n'
    plan = _plan(lab / "class.toml", *SCHEMES, top=top, rest=REST + classes)

    def lose(event: Event) -> None:
        if isinstance(event, Note) and "one: reference" in event.text and lost.poll() is None:
            os.killpg(lost.pid, signal.SIGKILL)
            lost.wait()

    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    ran = edgetf.run(plan, tmp_path / "ship", scheduler=scheduler, on_event=lose)
    assert ran.exit_code is ExitCode.DEVICE_FAILED
    failed = [step for step in ran.document.steps if step.state is State.FAILED]
    assert {(step.device, step.verb) for step in failed} == {("b", Verb.BENCHMARK), ("rack", Verb.BENCHMARK)}
    assert {step.cause for step in failed} == {Cause.UNREACHABLE}
    assert all("b has been away" in step.error or "has the device b" in step.error for step in failed)
    assert {one.ran_on for one in ran.values()} == {"a"}
    assert {one.device for one in ran.values()} == {"shelf"}


def test_status_shows_a_run_during_a_long_step_and_serving_is_asked_from_here(
    scheduler: str, start: Start, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("a", "--convert")
    monkeypatch.setattr(engine, "_PUBLISH_S", 0.2)
    monkeypatch.setattr(status_module, "_FRESH_S", 2.0)
    plan = load_plan(_plan(lab / "status.toml", "one"))
    served = replace(plan, options=replace(plan.options, on="serving:http://localhost:8501"))
    with Fleet(scheduler, None, served, lambda text: None) as fleet:
        fleet.count("a", 1)
        time.sleep(3)  # longer than a run may be silent
        [run] = edgetf.status(scheduler).runs
        assert (run.plan, run.running) == (str(plan.out), 1)
        assert isinstance(fleet.seat(Verb.REFERENCE, None), Here)
        assert not isinstance(fleet.seat(Verb.CONVERT, None), Here)
    assert edgetf.status(scheduler).runs == ()


def test_what_is_wrong_with_a_plan_is_no_devices_fault_and_is_tried_once(
    scheduler: str, start: Start, lab: Path, tmp_path: Path
) -> None:
    start("a", "--convert")
    np.savez(lab / "wrong.npz", other=np.zeros((300, 3), np.float32))
    text = _plan(lab / "wrong.toml", "one", top='for = "size"\ndevices = ["a"]\n').read_text()
    (lab / "wrong.toml").write_text(text.replace('test = "one.npz"', 'test = "wrong.npz"'))
    notes: list[str] = []
    ran = edgetf.run(lab / "wrong.toml", tmp_path / "ship", scheduler=scheduler, on_event=_noting(notes))
    assert ran.exit_code is ExitCode.USER
    [failed] = [step for step in ran.document.steps if step.state is State.FAILED]
    assert (failed.verb, failed.exit_code, failed.cause) == (Verb.REFERENCE, ExitCode.USER, None)
    assert not [text for text in notes if "attempt" in text]


def test_a_full_disk_at_the_driver_leaves_nothing_half_written(
    scheduler: str, start: Start, lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("a", "--convert")
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    plan = _plan(lab / "full.toml", "two", top='for = "size"\ndevices = ["a"]\n')
    with limited(resource.RLIMIT_FSIZE, 4096), pytest.raises(EdgetfError, match="File too large"):
        edgetf.run(plan, tmp_path / "ship", scheduler=scheduler, on_event=_ignore)
    kept = tmp_path / "cache" / "plans" / "convert"
    assert not kept.is_dir() or not list(kept.iterdir())
    ran = edgetf.run(plan, tmp_path / "ship", scheduler=scheduler, on_event=_ignore)
    assert ran.exit_code is ExitCode.DONE


def test_a_foreign_certificate_and_plain_tcp_are_refused(tmp_path: Path) -> None:
    for name in ("own", "foreign"):
        make_certificates(tmp_path / name, force=False)
    port = free_port()
    address, own = f"tls://127.0.0.1:{port}", tmp_path / "own"
    with started("scheduler", address, "--certificates", str(own), ready="listening", log=tmp_path / "log"):
        assert edgetf.status(address, certificates=own).workers == ()
        refused = ((tmp_path / "foreign", address, "not of the same set"), (own, f"tcp://127.0.0.1:{port}", "tls://"))
        for folder, where, why in refused:
            with pytest.raises(EdgetfError, match="cannot reach the scheduler") as caught:
                edgetf.status(where, certificates=folder)
            assert why in caught.value.message + caught.value.hint
