"""What a worker does, called in this process."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import resource
import shutil
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import time
from typing import Any

import numpy as np
import pytest

import edgetf
from edgetf.errors import Cause, DeviceError, EdgetfError
from edgetf.events import Note, OnEvent, to_line
from edgetf.files import read_plain, sha256_file, to_plain
from edgetf.plans.fleet import host_side
from edgetf.plans.fleet.messages import Reply, Request, Root
from edgetf.plans.fleet.paths import file_of, modules_of, root_of, roots_of
from edgetf.process import Ended, run_child
from tests.conftest import Small
from tests.limits import limited


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))


def _call(request: Request) -> Reply:
    return read_plain(host_side.call(to_plain(request)), Reply)


def _send(*roots: Root) -> None:
    for root in roots:
        for name, digest in root.files.items():
            host_side.put(digest, "a1", 0, file_of(root, name).read_bytes(), True)


def _request(small: Small, **changed: object) -> Request:
    roots = [root_of(str(one)) for one in (small.saved_model, small.samples)]
    arguments = {"model": str(small.saved_model), "samples": str(small.samples), "schemes": ["float32"]} | changed
    return Request("k1", "convert", "net: convert", arguments, None, tuple(one for one in roots if one))


def _file(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return sha256_file(path)


def _names(folder: str) -> list[str]:
    place = host_side.home() / folder
    return sorted(one.name for one in place.iterdir()) if place.is_dir() else []


def test_files_come_in_pieces_and_count_only_when_they_are_whole(tmp_path: Path) -> None:
    content = os.urandom(1000)
    digest = _file(tmp_path / "file", content)
    host_side.put(digest, "a1", 0, content[:600], False)
    assert not (host_side.home() / "files" / digest).exists()
    host_side.put(digest, "a1", 600, content[600:], True)
    assert (host_side.home() / "files" / digest).read_bytes() == content
    host_side.put(digest, "a1", 600, content[600:], True)  # the same piece again: its answer was lost
    with pytest.raises(EdgetfError, match="arrived damaged"):
        host_side.put("0" * 64, "a1", 0, content, True)
    assert _names("files") == [digest]


def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    digest = _file(tmp_path / "file", b"")
    host_side.put(digest, "a1", 0, b"", True)
    assert (host_side.home() / "files" / digest).read_bytes() == b""


@pytest.mark.parametrize(("digest", "part"), [("0" * 64, "../x"), ("0" * 64, ""), ("../x", "a1"), ("", "a1")])
def test_a_part_of_another_name_is_refused(digest: str, part: str) -> None:
    with pytest.raises(EdgetfError, match="is not the name of a part"):
        host_side.put(digest, part, 0, b"x", True)


def test_many_may_send_one_file_at_once(tmp_path: Path) -> None:
    content = os.urandom(64_000)
    digest, together = _file(tmp_path / "file", content), threading.Barrier(4)

    def send(part: str) -> None:
        together.wait()
        for offset in range(0, len(content), 1000):
            host_side.put(digest, part, offset, content[offset : offset + 1000], offset + 1000 >= len(content))

    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(send, part) for part in "abcd"]:
            one.result()
    assert (host_side.home() / "files" / digest).read_bytes() == content
    assert _names("files") == [digest]


def test_a_file_that_two_have_begun_is_whole_when_the_first_ends(tmp_path: Path) -> None:
    digest = _file(tmp_path / "file", b"abcd")
    host_side.put(digest, "a", 0, b"ab", False)
    host_side.put(digest, "b", 0, b"ab", False)
    host_side.put(digest, "b", 2, b"cd", True)
    host_side.put(digest, "a", 2, b"cd", True)
    assert _names("files") == [digest]


@pytest.mark.slow
def test_a_call_asks_for_files_runs_once_and_names_what_it_made(small: Small, tmp_path: Path) -> None:
    request = _request(small)
    first = _call(request)
    assert set(first.missing) == {digest for root in request.roots for digest in root.files.values()}
    _send(*request.roots)
    made = _call(request)
    assert (made.exit_code, made.missing) == (0, ())
    assert made.files is not None
    assert {"conversion.json", "float32.tflite"} <= set(made.files)
    assert _names("work") == []
    (tmp_path / "float32.tflite").write_bytes(host_side.get("k1", "", "float32.tflite", 0))
    assert sha256_file(tmp_path / "float32.tflite") == made.files["float32.tflite"]
    document = host_side.home() / "results" / "k1" / "conversion.json"
    before = document.stat().st_mtime_ns
    shutil.rmtree(host_side.home() / "files")  # its files are not asked for again
    for _ in range(2):  # another driver, while the first may still read
        again = _call(request)
        assert (again.files, again.places) == (made.files, made.places)
        assert host_side.get("k1", "", "float32.tflite", 0)
    assert document.stat().st_mtime_ns == before
    fresh = replace(request, nonce="n1")
    assert _call(fresh).missing
    _send(*request.roots)
    assert _call(fresh).exit_code == 0
    assert _names("results") == ["k1", "k1-n1"]
    assert host_side.get("k1", "n1", "float32.tflite", 0)
    assert document.stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_relative_cache_behind_a_link_and_names_with_spaces_do_no_harm(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "my link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGETF_CACHE", "my link/cache")
    (tmp_path / "own.py").write_text("")
    shutil.copyfile(small.samples, tmp_path / "my samples.npz")
    source = str(tmp_path / "my samples.npz")
    roots = roots_of([str(small.saved_model), source])
    request = replace(_request(small, samples=source), roots=roots, modules=modules_of(tmp_path))
    _send(*roots, modules_of(tmp_path))
    reply = _call(request)
    assert (reply.exit_code, reply.message) == (0, "")
    assert reply.places is not None
    place = tmp_path / "real" / "cache" / "worker" / "results" / "k1"
    assert reply.places[""] == str(place)
    assert edgetf.load(place).document.source.path == reply.places[str(small.saved_model)]


def test_roots_at_the_path_of_the_modules_are_laid_out_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text("1")
    for k in range(2):
        (tmp_path / f"x-0000{k}-of-00002.tfrecord").write_bytes(b"%d" % k)
    roots, modules = roots_of([str(tmp_path / "x.tfrecord")]), modules_of(tmp_path)
    _send(*roots, modules)
    asked = _child_that(monkeypatch, "import sys; sys.stdin.read()")
    _call(Request("k3", "convert", "t", {"samples": str(tmp_path / "x.tfrecord")}, None, roots, modules))
    [request] = asked
    laid = Path(request["modules"])
    assert sorted(one.name for one in laid.iterdir()) == ["own.py", *roots[0].files]
    assert request["arguments"] == {"samples": str(laid / "x.tfrecord")}


def _child_that(monkeypatch: pytest.MonkeyPatch, code: str) -> list[dict[str, Any]]:
    """Let another program be the child; what it is asked appears in the list."""
    asked: list[dict[str, Any]] = []

    def run(command: Sequence[str], on_event: OnEvent, *, request: str, **others: Any) -> Ended:
        asked.append(json.loads(request))
        return run_child([sys.executable, "-c", code], on_event, request=request, **others)

    monkeypatch.setattr(host_side, "run_child", run)
    return asked


def _plain(**changed: Any) -> Request:
    return replace(Request("k4", "benchmark", "net: benchmark on a", {}, "a", ()), **changed)


def test_a_child_that_is_killed_is_lost_and_its_work_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    _child_that(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    reply = _call(_plain())
    assert (reply.exit_code, reply.cause) == (5, "lost")
    assert "net: benchmark on a died of SIGKILL on" in reply.message
    assert _names("work") == ["k4"]


def test_a_child_without_a_result_and_a_bug_have_not_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    _child_that(monkeypatch, "pass")
    reply = _call(_plain())
    assert (reply.exit_code, reply.cause, reply.files) == (1, None, None)
    assert "there is no result" in reply.message
    _child_that(monkeypatch, "raise KeyError('bug')")
    reply = _call(_plain())
    assert (reply.exit_code, reply.cause) == (1, None)
    assert "KeyError" in reply.message


def test_notes_come_with_the_reply_and_the_child_knows_whether_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _child_that(monkeypatch, f"print({to_line(Note('careful'))!r}); raise SystemExit(1)")
    assert _call(_plain()).notes == ("careful",)
    _call(_plain(wait=False))
    assert [one["wait"] for one in asked] == [True, False]


def test_an_error_of_the_system_names_the_host_and_is_no_fault_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(1 << 16)
    digest = _file(tmp_path / "file", content)
    with (
        limited(resource.RLIMIT_FSIZE, 4096),
        pytest.raises(DeviceError, match=rf"^{platform.node()}: .*File too large") as caught,
    ):
        host_side.put(digest, "a1", 0, content, True)
    assert caught.value.cause is Cause.UNFIT
    host_side.put(digest, "a1", 0, content, True)
    assert _names("files") == [digest]
    failed = EdgetfError("cannot use /x: No space left on device")
    of_host, own = host_side.as_failed(failed), EdgetfError("no such scheme")
    assert isinstance(of_host, DeviceError)
    assert (of_host.message, of_host.cause) == (f"{platform.node()}: {failed.message}", Cause.UNFIT)
    assert host_side.as_failed(own) is own


def test_the_sweep_removes_what_is_old_and_nothing_in_use(tmp_path: Path) -> None:
    home, day = host_side.home(), 86_400.0
    ages = {
        "files/kept": 6 * day,
        "files/unused": 8 * day,
        "files/.part": 2 * day,
        "files/.fresh": 0.5 * day,
        "results/old": 2 * day,
        "results/used": 2 * day,
        "results/new": 0.5 * day,
        "work/old": 2 * day,
        "work/used": 2 * day,
    }
    for name, age in ages.items():
        place = home / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"") if name.startswith("files") else place.mkdir()
        os.utime(place, (time() - age, time() - age))
    (home / "locks").mkdir()
    with (home / "locks" / hashlib.sha256(b"used").hexdigest()).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host_side.sweep()
    left = [f"{folder}/{name}" for folder in ("files", "results", "work") for name in _names(folder)]
    assert left == ["files/.fresh", "files/kept", "results/new", "results/used", "work/used"]


def test_calls_sweep_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    _child_that(monkeypatch, "pass")
    monkeypatch.setitem(host_side._swept, "at", 0.0)
    old = host_side.home() / "results" / "old"
    for survives in (False, True):
        old.mkdir(parents=True)
        os.utime(old, (1, 1))
        _call(_plain())
        assert old.exists() is survives


@pytest.mark.slow
def test_an_error_comes_back_as_it_was_raised(small: Small) -> None:
    request = _request(small, schemes=["int9"])
    _send(*request.roots)
    reply = _call(request)
    assert (reply.exit_code, reply.cause) == (1, None)
    assert "int9" in reply.message
    assert reply.hint


def test_nothing_is_laid_out_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    digest = sha256_file(tmp_path / "x")
    host_side.put(digest, "a1", 0, b"x", True)
    request = Request("k2", "convert", "", {}, None, (Root("/a", "a", {"../../../escaped": digest}),))
    with pytest.raises(EdgetfError, match="outside of its folder"):
        host_side.call(to_plain(request))
    assert not list(tmp_path.rglob("escaped"))


def test_documents_name_the_places_where_files_lie_here(converted: Path, tmp_path: Path) -> None:
    shutil.copytree(converted, tmp_path / "variants")
    source = edgetf.load(converted).document.source.path
    host_side.relocate_documents({source: "/elsewhere", str(tmp_path): str(tmp_path / "variants")})
    assert edgetf.load(tmp_path / "variants").document.source.path == "/elsewhere"
    assert np.fromfile(tmp_path / "variants" / "int8.tflite", np.uint8).size
