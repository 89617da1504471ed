from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.files import sha256_file
from edgetf.plans.fleet.paths import file_of, modules_of, relocated, root_of, roots_of

_PARTS = st.text("ab.", min_size=1, max_size=3)
_PATHS = st.lists(_PARTS, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))


def test_paths_and_sources_get_their_new_place_and_neighbours_do_not() -> None:
    places = {"/home/me/net": "/w/0/net", "/home/me/net/deep": "/w/1/deep"}
    before = {
        "path": "/home/me/net",
        "inside": ["/home/me/net/int8.tflite", "folder:/home/me/net/images", "/home/me/net/deep/x"],
        "sources": ["folder:/home/me/net?scale=1/255", "/home/me/net/deep?labels=y", "/home/me/net*"],
        "others": ["/home/me/network", "see /home/me/net", "a:/home/me/net", "home/me/net", "net", 3, None, True, 1.5],
    }
    assert relocated(before, places) == {
        "path": "/w/0/net",
        "inside": ["/w/0/net/int8.tflite", "folder:/w/0/net/images", "/w/1/deep/x"],
        "sources": ["folder:/w/0/net?scale=1/255", "/w/1/deep?labels=y", "/w/0/net*"],
        "others": ["/home/me/network", "see /home/me/net", "a:/home/me/net", "home/me/net", "net", 3, None, True, 1.5],
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


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A folder with the shards of two sets, and with other files whose names begin alike."""
    folder = tmp_path / "a b"
    folder.mkdir()
    for name in ("x", "y"):
        for k in range(2):
            (folder / f"{name}-0000{k}-of-00002.tfrecord").write_bytes(f"{name}{k}".encode())
    (folder / "x.npz").write_bytes(b"other")
    return folder


@pytest.mark.parametrize("name", ["x-00000-of-00002.tfrecord", "x-*.tfrecord", "x.tfrecord", "x.tfrecord?labels=y"])
def test_all_shards_of_tfrecord_travel_and_nothing_else(shards: Path, name: str) -> None:
    root = root_of(str(shards / name))
    assert root is not None
    assert (root.path, root.name) == (str(shards), "a b")
    assert sorted(root.files) == ["x-00000-of-00002.tfrecord", "x-00001-of-00002.tfrecord"]
    assert relocated(str(shards / name), {root.path: "/w/0/a b"}) == f"/w/0/a b/{name}"


def test_a_single_tfrecord_with_options_travels_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "one.tfrecord"
    path.write_bytes(b"1")
    root = root_of(f"{path}?labels=y")
    assert root is not None
    assert (root.path, root.files) == (str(path), {".": sha256_file(path)})
    assert relocated(f"{path}?labels=y", {root.path: "/w"}) == "/w?labels=y"


def test_roots_at_one_path_are_one_with_the_files_of_both(shards: Path) -> None:
    sources = [str(shards / "x.tfrecord"), str(shards / "y.tfrecord"), "tfds:mnist", str(shards / "x.npz")]
    folder, file = roots_of([*sources, sources[0]])
    assert folder.path == str(shards)
    assert sorted(folder.files) == [f"{name}-0000{k}-of-00002.tfrecord" for name in "xy" for k in range(2)]
    assert file.path == str(shards / "x.npz")


def test_options_are_no_part_of_a_folder_and_a_relative_root_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my images" / "cat").mkdir(parents=True)
    (tmp_path / "my images" / "cat" / "1.png").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    for source in (f"folder:{tmp_path / 'my images'}?scale=1/255&offset=0", "folder:my images", "my images"):
        root = root_of(source)
        assert root is not None
        assert (root.path, list(root.files)) == (str(tmp_path / "my images"), ["cat/1.png"])


@pytest.mark.parametrize(
    "source", ["tfds:mnist", "tfds:mnist?scale=1/255", "module:function", "hub:net", "/nowhere/x.npz", "", ":"]
)
def test_what_is_not_of_files_does_not_travel_even_if_a_folder_has_its_name(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mnist", "function", "net"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert root_of(source) is None


def test_modules_travel_with_the_packages_below_them_and_without_environments(tmp_path: Path) -> None:
    for name in ("metric.py", "own/__init__.py", "own/deep/x.py", ".venv/a.py", "venv/lib/b.py", "2024-01/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    (tmp_path / "broken.py").symlink_to("nowhere")
    root = modules_of(tmp_path)
    assert (root.path, root.name) == (str(tmp_path), "modules")
    assert sorted(root.files) == ["metric.py", "own/__init__.py", "own/deep/x.py"]
    for k in range(1000):
        (tmp_path / "own" / f"m{k}.py").write_text("")
    assert len(modules_of(tmp_path).files) == 1000
    assert "metric.py" in modules_of(tmp_path).files


def test_a_file_is_read_again_only_if_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"one")
    first = root_of(str(tmp_path / "file"))
    monkeypatch.setattr("edgetf.files.sha256_file", lambda path: pytest.fail("it was read again"))
    assert root_of(str(tmp_path / "file")) == first
    monkeypatch.undo()
    (tmp_path / "file").write_bytes(b"two")
    assert root_of(str(tmp_path / "file")) != first
