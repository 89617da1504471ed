"""References in ranges: joined by fake hosts in this process, and by real workers with TensorFlow."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgetf
from edgetf import files
from edgetf.benchmarks.reference.batches import run_batches
from edgetf.benchmarks.reference.make import make_reference
from edgetf.benchmarks.reference.options import Hosts, Place, ReferenceOptions
from edgetf.benchmarks.reference.partial import Partial
from edgetf.benchmarks.reference.probing import Habits
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.events import Answer, Event, Note, Phase
from edgetf.plans import call
from edgetf.plans.fleet import joined as joined_module
from edgetf.plans.fleet import ranges
from edgetf.plans.fleet.engine import Fleet
from edgetf.plans.fleet.joined import _difference, _Run, _Team, joined
from edgetf.plans.fleet.messages import Ask, Opened, Rows
from edgetf.plans.fleet.paths import root_of_links
from edgetf.plans.fleet.range_child import Session
from edgetf.plans.fleet.range_host import RangeHost, Work
from edgetf.plans.plan import load_plan
from edgetf.plans.record import Verb
from edgetf.results import Precision, ReferenceDevice, read_reference
from edgetf.samples import Samples
from tests.conftest import Small, ignore
from tests.performance.joined import measure
from tests.plans.fleet.lab import free_port, kill_worker, started

HABITS = Habits(4, (), (), (), ())
CPU = ReferenceDevice("cpu", "one", "TensorFlow on the CPU (one), float32")
OPENED = Opened(CPU, Precision("float32", False, False, True), {"tensorflow": "2"}, HABITS, {"y": "1"}, 0.001, 64)


def _samples(count: int) -> Samples:
    return Samples("s", {"x": np.arange(count * 3, dtype=np.float32).reshape(count, 3)}, None, "d")


def _doubled(samples: Samples, begin: int, end: int) -> Any:
    return np.asarray(samples.inputs["x"][begin:end], np.float32) * 2


class _Host:
    """Doubles its samples; `losses` is how many of its ranges are lost."""

    def __init__(self, name: str, samples: Samples, losses: int = 0, cause: Cause = Cause.LOST) -> None:
        self.name, self.sample_s, self._samples, self._losses, self._cause = name, 0.001, samples, losses, cause

    def rows(self, begin: int, end: int, habits: Habits, place: Path) -> Partial:
        if self._losses:
            self._losses -= 1
            raise DeviceError(f"{self.name} is gone", "", self._cause)
        part = Partial(place, "range")
        for k in range(begin, end, habits.batch):
            part.append({"y": _doubled(self._samples, k, min(k + habits.batch, end))}, min(end, k + 4) - begin, 4)
        part.save()
        return Partial(place, "range")


def _run(tmp_path: Path, samples: Samples, *hosts: _Host, begun: int = 0) -> tuple[np.ndarray[Any, Any], list[str]]:
    notes: list[str] = []
    team = SimpleNamespace(
        work=Work("net", root_of_links(tmp_path), samples, ReferenceOptions(), 4),
        opened=OPENED,
        lead=hosts[0],
        equal=list(hosts),
        unlike=[],
        on_event=lambda event: notes.append(event.text),
    )
    whole = Partial(tmp_path / "whole", "key")
    if begun:
        whole.append({"y": _doubled(samples, 0, begun)}, begun, 4)
    (tmp_path / "parts").mkdir()
    run: Any = _Run(team, whole, tmp_path / "parts")  # type: ignore[arg-type]
    run.until_joined(ignore)
    (tmp_path / "out").mkdir()
    return np.load(whole.finish(tmp_path / "out")["y"][0]), notes


@pytest.mark.parametrize(("count", "begun"), [(1, 0), (4, 0), (103, 0), (103, 8)])
def test_ranges_of_several_hosts_are_joined_in_the_order_of_the_samples(tmp_path: Path, count: int, begun: int) -> None:
    samples = _samples(count)
    hosts = [_Host("a", samples), _Host("b", samples), _Host("c", samples, losses=2)]
    found, _ = _run(tmp_path, samples, *hosts, begun=begun)
    np.testing.assert_array_equal(found, _doubled(samples, 0, len(samples)))
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_lost_range_is_done_by_another_host_and_a_host_that_is_unfit_gets_no_more(tmp_path: Path) -> None:
    samples = _samples(203)
    found, notes = _run(tmp_path, samples, _Host("a", samples), _Host("b", samples, 99, Cause.UNFIT))
    np.testing.assert_array_equal(found, _doubled(samples, 0, len(samples)))
    assert set(notes) <= {"b is not used any more: b is gone"}


def test_without_any_host_left_the_error_has_the_last_reason(tmp_path: Path) -> None:
    samples = _samples(50)
    with pytest.raises(DeviceError, match="no host is left that computes: a is gone") as caught:
        _run(tmp_path, samples, _Host("a", samples, losses=99))
    assert "the same command resumes" in caught.value.hint


def test_what_is_wrong_with_a_model_ends_the_run_and_is_no_hosts_fault(tmp_path: Path) -> None:
    samples, host = _samples(50), _Host("a", _samples(50))
    host.rows = lambda *_: (_ for _ in ()).throw(EdgetfError("the model is wrong"))  # type: ignore[method-assign]
    with pytest.raises(EdgetfError, match="the model is wrong") as caught:
        _run(tmp_path, samples, host)
    assert not isinstance(caught.value, DeviceError)


def test_a_range_names_samples_by_their_numbers_among_all(tmp_path: Path) -> None:
    samples = replace(_samples(8), rows=np.arange(64, 72))
    backend: Any = SimpleNamespace(ask=lambda inputs: {"y": np.full(len(inputs["x"]), np.nan)})
    with pytest.raises(EdgetfError, match="holds NaN or infinity") as caught:
        run_batches(backend, samples, HABITS, Partial(tmp_path / "p", "range"), ignore)
    assert caught.value.hint == "correct the model, or samples 65 to 68"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (OPENED, None),
        (replace(OPENED, canary={"y": "2"}), "computes y with other bits than a (one; one)"),
        (replace(OPENED, versions={"tensorflow": "3"}), "has TensorFlow 3, a has 2"),
        (replace(OPENED, precision=replace(OPENED.precision, onednn=False)), "computes in another precision than a"),
    ],
)
def test_a_host_is_like_the_lead_or_the_reason_is_named(other: Opened, why: str | None) -> None:
    found = _difference(OPENED, other, "a")
    assert found == why if why is None else (found or "").startswith(why)


def test_the_files_behind_links_are_sent_with_a_model(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "weights").write_bytes(b"w")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "graph.pb").write_bytes(b"g")
    (tmp_path / "model" / "variables").symlink_to(tmp_path / "real")
    assert set(root_of_links(tmp_path / "model").files) == {"graph.pb", "variables/weights"}


def test_hosts_without_a_scheduler_or_with_serving_are_refused(small: Small, tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="are for a scheduler"):
        edgetf.reference(small.saved_model, small.samples, tmp_path / "ref", mixed_hosts=True)
    with pytest.raises(EdgetfError, match="computes by itself"):
        edgetf.reference(small.saved_model, small.samples, tmp_path, on="serving:http://h/v1", scheduler="tcp://h:1")


def test_an_unused_session_is_closed_and_a_call_for_it_is_a_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ranges, "_UNUSED_S", 0.1)
    monkeypatch.setattr(ranges, "_KEPT_S", 0.1)
    monkeypatch.setattr(ranges, "_LOOK_S", 0.05)
    (tmp_path / "model").mkdir()
    assert ranges.begin("s1", vars(root_of_links(tmp_path / "model"))) == []
    ranges.put("s1", 0, 0, 0, b"12")
    [folder] = (tmp_path / "cache" / "worker" / "sessions").iterdir()
    while folder.exists():
        threading.Event().wait(0.05)
    with pytest.raises(DeviceError, match="was started again") as caught:
        ranges.put("s1", 0, 0, 0, b"12")
    assert caught.value.cause is Cause.LOST


def test_a_session_outlasts_another_step_of_the_worker_and_its_process_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ranges, "_UNUSED_S", 0.1)
    monkeypatch.setattr(ranges, "_LOOK_S", 0.05)
    ended, started = threading.Event(), []

    @contextmanager
    def conversing(command: object, idle_s: float) -> Iterator[Callable[[str], Answer]]:
        started.append(command)
        ended.clear()
        yield lambda request: Answer("done", {})
        ended.set()

    monkeypatch.setattr(ranges, "conversing", conversing)
    (tmp_path / "model").mkdir()
    assert ranges.begin("s2", vars(root_of_links(tmp_path / "model"))) == []
    asked = files.to_plain(Ask("rows", Rows(0, 1, {}, {}, 1, (), False), ReferenceOptions(), HABITS))
    for times in (1, 2):
        ranges.put("s2", 0, 0, 0, b"12")
        threading.Event().wait(0.3)  # the request is in the queue: the worker computes something else
        assert ranges.ask("s2", asked) == {"files": {}}
        assert len(started) == times
        assert ended.wait(10)
    ranges.close("s2")
    assert list((tmp_path / "cache" / "worker" / "sessions").iterdir()) == []


def test_a_session_of_a_model_that_is_refused_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model").mkdir()

    def call(name: str, function: Callable[..., Any], *given: Any, title: str, needs: object) -> Any:
        if function is ranges.ask:
            raise EdgetfError("the model is wrong")
        return function(*given)

    connection: Any = SimpleNamespace(offer=lambda name: None, call=call)
    work = Work("net", root_of_links(tmp_path / "model"), _samples(4), ReferenceOptions(), 4)
    host = RangeHost(connection, "a", (), work)
    host.load()  # reports nothing: `open` does
    with pytest.raises(EdgetfError, match="the model is wrong"):
        host.open(None)
    assert list((tmp_path / "cache" / "worker" / "sessions").iterdir()) == []


class _Session(Session):
    """One that counts how often it computes a canary."""

    def __init__(self) -> None:
        self._known, self.computed = None, 0

    def _opened(self, samples: Samples, given: Habits | None) -> Opened:
        self.computed += 1
        return replace(OPENED, habits=given or HABITS)


def test_a_canary_that_was_computed_while_the_first_host_loaded_is_not_computed_again() -> None:
    session, samples = _Session(), _samples(4)
    assert session.open(samples, None) == session.open(samples, HABITS)  # the first host's are the same
    assert session.computed == 1
    assert session.open(samples, replace(HABITS, batch=2)).habits.batch == 2
    assert session.computed == 2


def _noting(notes: list[str]) -> Callable[[Event], None]:
    return lambda event: notes.extend([event.text] if isinstance(event, Note) else [])


class _Opening:
    """A host that opens as `opened`, or not at all."""

    def __init__(self, name: str, opened: Opened | None) -> None:
        self.name, self.opened, self.loaded = name, opened, False

    def load(self) -> None:
        self.loaded = True

    def open(self, habits: Habits | None) -> Opened:
        if self.opened is None:
            raise DeviceError(f"{self.name} is gone")
        return self.opened

    def rows(self, begin: int, end: int, habits: Habits, place: Path) -> Partial:
        assert self.opened is not None
        part = Partial(place, "range")
        part.append({"y": np.full((end, 3), float(len(self.opened.canary["y"])))}, end, 4)
        part.save()
        return Partial(place, "range")


def _team(mixed: bool, notes: list[str], *hosts: _Opening, monkeypatch: pytest.MonkeyPatch) -> _Team:
    known = {host.name: host for host in hosts}
    monkeypatch.setattr(joined_module, "RangeHost", lambda connection, name, needs, work: known[name])
    connection: Any = SimpleNamespace(offering=lambda role: sorted(known), address="tcp://h:1")
    work: Any = SimpleNamespace(samples=_samples(300), head=64)
    return _Team(connection, "convert", work, mixed, _noting(notes))


def test_a_host_with_other_bits_is_refused_by_name_or_its_difference_is_part_of_the_noise(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts: Any = _Opening("0", None), _Opening("a", OPENED), _Opening("b", replace(OPENED, canary={"y": "22"}))
    notes: list[str] = []
    team = _team(False, notes, *hosts, monkeypatch=monkeypatch)
    assert [team.accept(host) for host in (hosts[2], hosts[0])] == [False, False]
    assert notes[:2] == [
        "0 is not used: 0 is gone",
        "b is not used: it computes y with other bits than a (one; one); --mixed-hosts uses it, with more noise",
    ]
    team = _team(True, notes, *hosts[1:], monkeypatch=monkeypatch)
    assert [host.name for host in team.unlike] == ["b"]
    assert not hosts[0].loaded
    assert hosts[2].loaded, "others load the model while the first one does"
    joint = joined_module._Joined(team, read_source(small.saved_model, None))
    [noise] = joint._noise(team.lead, team.unlike[0], HABITS, ignore)
    assert (noise.way, noise.n, noise.max_abs, noise.counts) == ("on b (one)", 128, {"y": 1.0}, True)
    alone = joined_module._Joined(_team(False, notes, hosts[1], monkeypatch=monkeypatch), joint._source)
    assert joint.decisive != alone.decisive  # what is resumed depends on who may take part


# workers ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    address = f"tcp://127.0.0.1:{free_port()}"
    with started("scheduler", address, ready="listening", log=tmp_path_factory.mktemp("scheduler") / "log"):
        yield address


@pytest.fixture(scope="module")
def workers(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Two that compute references, without devices."""
    folder = tmp_path_factory.mktemp("workers")
    (folder / "none.toml").write_text("")
    with ExitStack() as stack:

        def start(name: str) -> subprocess.Popen[bytes]:
            words = ("worker", scheduler, "--name", name, "--convert", "--devices", str(folder / "none.toml"))
            log, cache = folder / f"{name}.log", folder / f"cache-{name}"
            return stack.enter_context(started(*words, ready=f"{name} offers", log=log, cache=cache))

        yield {name: start(name) for name in "ab"}


def _options(scheduler: str, mixed: bool = False) -> ReferenceOptions:
    return ReferenceOptions(on=Place.CPU, hosts=Hosts(scheduler, mixed=mixed))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_joined_reference_has_the_bits_of_a_single_machine_also_when_a_worker_is_killed_and_the_driver_interrupted(
    scheduler: str,
    workers: dict[str, subprocess.Popen[bytes]],
    small: Small,
    reference: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(joined_module, "_ALONE_S", 0.0)
    has_computed, plain = threading.Event(), RangeHost.rows

    def rows(host: RangeHost, begin: int, *others: Any) -> Partial:
        if host.name == "a" and begin:  # the second one has its turn as well
            has_computed.wait(120)
        elif host.name == "b" and not has_computed.is_set():
            kill_worker(workers["b"])
        part = plain(host, begin, *others)
        if host.name == "b":
            has_computed.set()
        return part

    def interrupt(begun: Partial, part: Partial) -> None:
        extend(begun, part)
        raise KeyboardInterrupt

    extend = Partial.extend
    with monkeypatch.context() as patched:
        patched.setattr(Partial, "extend", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_reference(small.saved_model, small.samples, tmp_path, _options(scheduler), ignore, joined)
    monkeypatch.setattr(RangeHost, "rows", rows)
    events: list[Event] = []
    made = make_reference(small.saved_model, small.samples, tmp_path, _options(scheduler), events.append, joined)
    assert has_computed.is_set()
    assert Phase("resuming after sample 64") in events
    alone = read_reference(reference)
    assert [one.sha256 for one in made.outputs] == [one.sha256 for one in alone.outputs]
    assert (made.batch, made.source.digest, made.samples) == (alone.batch, alone.source.digest, alone.samples)
    assert [(one.way, one.n) for one in made.noise] == [(one.way, one.n) for one in alone.noise]
    assert made.labels == alone.labels
    assert "outputs by the host" in made.device.sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reference", "reference.json"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_plan_lets_several_workers_make_a_reference(
    scheduler: str, workers: dict[str, subprocess.Popen[bytes]], small: Small, reference: Path, tmp_path: Path
) -> None:
    text = f'[models.net]\npath = "{small.saved_model}"\ntest = "{small.samples}"\n[options]\non = "cpu"\n'
    (tmp_path / "edgetf.toml").write_text(text)
    plan, place = load_plan(tmp_path / "edgetf.toml"), tmp_path / "ref"
    with Fleet(scheduler, None, plan, lambda text: None) as fleet:
        fleet.seat(Verb.REFERENCE, None).make(call.reference(plan.models[0], plan.options), place, True, ignore)
    made = read_reference(place)
    assert made.device.sentence.endswith("; outputs by the host a")
    assert [one.sha256 for one in made.outputs] == [one.sha256 for one in read_reference(reference).outputs]
    assert made.source.path == str(small.saved_model)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_script_that_compares_workers_with_one_host_has_the_same_bits_of_both(
    scheduler: str, workers: dict[str, subprocess.Popen[bytes]], small: Small, tmp_path: Path
) -> None:
    with np.load(small.samples) as archive:
        np.savez(tmp_path / "test.npz", x=archive["image"])
    sides = [
        measure(small.saved_model, tmp_path / "test.npz", tmp_path / name, address)
        for name, address in (("alone", None), ("joined", scheduler))
    ]
    (alone, bits), (joined_rate, others) = sides
    assert min(alone, joined_rate) > 0
    assert bits == others
