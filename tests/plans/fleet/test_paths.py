from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.files import sha256_file
from edgetf.plans.fleet.paths import file_of, relocated, root_of

_PARTS = st.text("ab.", min_size=1, max_size=3)
_PATHS = st.lists(_PARTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


def test_paths_and_sources_get_their_new_place_and_neighbours_do_not() -> None:
    places = {"/home/me/net": "/w/0/net", "/home/me/net/deep": "/w/1/deep"}
    before = {
        "path": "/home/me/net",
        "inside": ["/home/me/net/int8.tflite", "folder:/home/me/net/images", "/home/me/net/deep/x"],
        "others": ["/home/me/network", "see /home/me/net", 3, None, True, 1.5],
    }
    assert relocated(before, places) == {
        "path": "/w/0/net",
        "inside": ["/w/0/net/int8.tflite", "folder:/w/0/net/images", "/w/1/deep/x"],
        "others": ["/home/me/network", "see /home/me/net", 3, None, True, 1.5],
    }


@given(here=_PATHS, rest=st.lists(_PARTS, max_size=2))
def test_there_and_back_again_is_where_it_was(here: str, rest: list[str]) -> None:
    path = "/".join([here, *rest])
    there = relocated(path, {here: "/there/0"})
    assert there == "/".join(["/there/0", *rest])
    assert relocated(there, {"/there/0": here}) == path


def test_a_root_has_the_digests_of_all_that_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    root = root_of(str(tmp_path / "x.npz"))
    assert root is not None
    assert (root.name, root.files) == ("x.npz", {".": sha256_file(tmp_path / "x.npz")})
    assert file_of(root, ".") == tmp_path / "x.npz"
    (tmp_path / "images" / "cat").mkdir(parents=True)
    (tmp_path / "images" / "cat" / "1.png").write_bytes(b"1")
    folder = root_of(f"folder:{tmp_path / 'images'}")
    assert folder is not None
    assert (folder.path, list(folder.files)) == (str(tmp_path / "images"), ["cat/1.png"])


def test_of_variants_only_they_and_their_documents_travel(tmp_path: Path) -> None:
    (tmp_path / "saved_model").mkdir()
    for name in ("conversion.json", "int8.tflite", "conversion.log", "saved_model/saved_model.pb"):
        (tmp_path / name).write_text(json.dumps({}))
    root = root_of(str(tmp_path))
    assert root is not None
    assert sorted(root.files) == ["conversion.json", "int8.tflite"]


def test_all_shards_of_tfrecord_travel(tmp_path: Path) -> None:
    for k in range(2):
        (tmp_path / f"x-0000{k}-of-00002.tfrecord").write_bytes(bytes([k]))
    root = root_of(str(tmp_path / "x-00000-of-00002.tfrecord"))
    assert root is not None
    assert sorted(root.files) == ["x-00000-of-00002.tfrecord", "x-00001-of-00002.tfrecord"]
    assert relocated(str(tmp_path / "x-00000-of-00002.tfrecord"), {root.path: "/w"}) == "/w/x-00000-of-00002.tfrecord"


@pytest.mark.parametrize("source", ["tfds:mnist", "module:function", "/nowhere/x.npz", "", ":"])
def test_what_is_not_of_files_does_not_travel(source: str) -> None:
    assert root_of(source) is None
