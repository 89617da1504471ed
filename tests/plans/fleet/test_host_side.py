"""What a worker does, called in this process."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import edgetf
from edgetf.errors import EdgetfError
from edgetf.files import read_plain, sha256_file, to_plain
from edgetf.plans.fleet import host_side
from edgetf.plans.fleet.messages import Reply, Request, Root
from edgetf.plans.fleet.paths import file_of, root_of
from tests.conftest import Small


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGETF_CACHE", str(tmp_path / "cache"))


def _call(request: Request) -> Reply:
    return read_plain(host_side.call(to_plain(request)), Reply)


def _send(*roots: Root) -> None:
    for root in roots:
        for name, digest in root.files.items():
            host_side.put(digest, 0, file_of(root, name).read_bytes(), True)


def _request(small: Small, **changed: object) -> Request:
    roots = [root_of(str(one)) for one in (small.saved_model, small.samples)]
    arguments = {"model": str(small.saved_model), "samples": str(small.samples), "schemes": ["float32"]} | changed
    return Request("k1", "convert", "net: convert", arguments, None, tuple(one for one in roots if one))


def test_files_come_in_pieces_and_count_only_when_they_are_whole(tmp_path: Path) -> None:
    content = os.urandom(1000)
    (tmp_path / "file").write_bytes(content)
    digest = sha256_file(tmp_path / "file")
    host_side.put(digest, 0, content[:600], False)
    assert not (host_side.home() / "files" / digest).exists()
    host_side.put(digest, 600, content[600:], True)
    assert (host_side.home() / "files" / digest).read_bytes() == content
    with pytest.raises(EdgetfError, match="arrived damaged"):
        host_side.put("0" * 64, 0, content, True)
    assert [path.name for path in (host_side.home() / "files").iterdir()] == [digest]


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
    content = b"".join(iter([host_side.get("k1", "float32.tflite", 0)]))
    (tmp_path / "float32.tflite").write_bytes(content)
    assert sha256_file(tmp_path / "float32.tflite") == made.files["float32.tflite"]
    before = (host_side.home() / "results" / "k1" / "conversion.json").stat().st_mtime_ns
    assert _call(request).files == made.files
    assert (host_side.home() / "results" / "k1" / "conversion.json").stat().st_mtime_ns == before
    host_side.forget("k1")
    assert not (host_side.home() / "results" / "k1").exists()
    assert not (host_side.home() / "work" / "k1").exists()


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
    host_side.put(digest, 0, b"x", True)
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
