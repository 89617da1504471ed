from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf import files
from edgetf.errors import EdgetfError


class Colour(str, Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Inner:
    size: int
    share: float | None


@dataclass(frozen=True)
class Document:
    schema: int
    name: str
    colour: Colour
    inners: tuple[Inner, ...]
    counts: dict[str, int]


documents = st.builds(
    Document,
    schema=st.just(1),
    name=st.text(),
    colour=st.sampled_from(Colour),
    inners=st.lists(st.builds(Inner, st.integers(), st.none() | st.floats(allow_nan=False, allow_infinity=False))).map(
        tuple
    ),
    counts=st.dictionaries(st.text(), st.integers()),
)


@given(documents)
def test_a_document_reads_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, document: Document) -> None:
    path = tmp_path_factory.mktemp("document") / "document.json"
    files.write_document(path, document)
    assert files.read_document(path, Document, 1) == document


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


GOOD = '"name": "n", "colour": "red", "inners": [], "counts": {}'


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("{", "is not a document of edgetf", "make it again"),
        ("[]", "is not a document of edgetf", "make it again"),
        (f'{{"schema": 0, {GOOD}}}', "has schema 0", "too old"),
        (f'{{"schema": 2, {GOOD}}}', "has schema 2", "upgrade edgetf"),
        (f'{{"schema": 1, {GOOD}, "coulour": 1}}', "unknown key 'coulour'", "did you mean 'colour'?"),
        ('{"schema": 1, "name": "n"}', "is damaged", "make it again"),
        (f'{{"schema": 1, {GOOD.replace("red", "green")}}}', "'green' is not a valid Colour", "make it again"),
        (f'{{"schema": 1, {GOOD.replace(chr(34) + "n" + chr(34), "7")}}}', "expected str, found 7", "make it again"),
    ],
)
def test_a_document_that_does_not_fit_is_refused_with_the_reason(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(EdgetfError) as caught:
        files.read_document(_write(tmp_path / "d.json", text), Document, 1)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_document(tmp_path / "d.json", Inner(1, float("nan")))
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = _write(tmp_path / "f", "old")
    files.write_whole(path, b"new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_digest_of_a_folder_knows_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _write(tmp_path / "a" / "x", "1")
    before = files.sha256_tree(tmp_path)
    assert files.sha256_tree(tmp_path) == before
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    renamed = files.sha256_tree(tmp_path)
    _write(tmp_path / "a" / "y", "2")
    assert len({before, renamed, files.sha256_tree(tmp_path)}) == 3


def test_staged_results_appear_only_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with files.staged(out, ["done.json"], force=False) as staging:
        _write(staging / "data", "1")
        _write(staging / "done.json", "{}")
        assert not (out / "data").exists()
    assert sorted(p.name for p in out.iterdir()) == ["data", "done.json"]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_staged_results_leave_nothing_behind_when_interrupted(tmp_path: Path, exception: type[BaseException]) -> None:
    def work() -> None:
        with files.staged(tmp_path / "deep" / "out", ["done.json"], force=False) as staging:
            _write(staging / "data", "1")
            raise exception

    with pytest.raises(exception):
        work()
    assert list(tmp_path.iterdir()) == []


def test_staged_results_are_refused_where_there_are_some_already(tmp_path: Path) -> None:
    _write(tmp_path / "done.json", "old")
    _write(tmp_path / "mine", "mine")

    def work(force: bool) -> None:
        with files.staged(tmp_path, ["done.json"], force) as staging:
            _write(staging / "done.json", "new")

    with pytest.raises(EdgetfError, match=r"already holds done\.json") as caught:
        work(force=False)
    assert "--force" in caught.value.hint
    assert (tmp_path / "done.json").read_text() == "old"
    work(force=True)
    assert (tmp_path / "done.json").read_text() == "new"
    assert (tmp_path / "mine").read_text() == "mine"


def test_nothing_that_was_there_is_overwritten_even_if_no_claim_names_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    _write(tmp_path / "data" / "precious", "mine")

    def work() -> None:
        with files.staged(tmp_path, ["done.json"], force=False) as staging:
            (staging / "data").mkdir()
            _write(staging / "done.json", "{}")

    with pytest.raises(EdgetfError, match="already holds data"):
        work()
    assert (tmp_path / "data" / "precious").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_a_replacement_that_is_cut_off_leaves_no_document_to_vouch_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "data", "old")
    _write(tmp_path / "done.json", "old")

    def cut(entry: Path, place: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "_replace", cut)

    def work() -> None:
        with files.staged(tmp_path, ["done.json"], force=True) as staging:
            _write(staging / "data", "new")
            _write(staging / "done.json", "new")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not (tmp_path / "done.json").exists()


def test_staging_folders_of_killed_processes_are_swept(tmp_path: Path) -> None:
    left = tmp_path / ".edgetf-staging-999999999-x"
    left.mkdir()
    with files.staged(tmp_path, ["done.json"], force=False) as staging:
        _write(staging / "done.json", "{}")
    assert [p.name for p in tmp_path.iterdir()] == ["done.json"]


def test_an_unwritable_place_is_an_error_with_a_hint() -> None:
    def work() -> None:
        with files.staged(Path("/proc/edgetf"), ["done.json"], force=False):
            pass

    with pytest.raises(EdgetfError, match="cannot write to /proc/edgetf") as caught:
        work()
    assert "-o" in caught.value.hint
