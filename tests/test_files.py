from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf import files
from edgetf.errors import EdgetfError
from tests.limits import limited
from tests.special_files import SPECIAL, make_special


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


texts = st.text(st.characters(exclude_categories=("C", "Zl", "Zp", "Zs")))  # what is not printable is not kept
documents = st.builds(
    Document,
    schema=st.just(1),
    name=texts,
    colour=st.sampled_from(Colour),
    inners=st.lists(st.builds(Inner, st.integers(0, 1 << 53), st.none() | st.floats(0, 1))).map(tuple),
    counts=st.dictionaries(texts, st.integers(0, 1 << 53)),
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


def test_a_file_is_replaced_atomically_and_readable_by_others(tmp_path: Path) -> None:
    path = _write(tmp_path / "f", "old")
    files.write_whole(path, b"new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_digest_of_a_folder_depends_on_names_and_contents(tmp_path: Path) -> None:
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


def test_staged_results_are_refused_if_there_are_earlier_results(tmp_path: Path) -> None:
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


def test_existing_files_are_never_overwritten_even_if_no_claim_names_them(tmp_path: Path) -> None:
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


def _replace(out: Path, cut: BaseException | None = None) -> None:
    """Replace the results in `out`, which moves an entry from elsewhere in it; `cut` ends it before the move."""
    with files.staged(out, ["data", "done.json"], True, {"taken": out / ".kept" / "taken"}) as staging:
        _write(staging / "data", "new")
        _write(staging / "done.json", "new")
        _write(staging / "more", "new")
        if cut is not None:
            raise cut


@pytest.fixture
def results(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    (out / ".kept").mkdir(parents=True)
    for name in ("data", "done.json", ".kept/taken"):
        _write(out / name, "old")
    return out


def _listed(out: Path) -> dict[str, str]:
    return {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}


OLD = {"data": "old", "done.json": "old", ".kept/taken": "old"}
NEW = {"data": "new", "done.json": "new", "more": "new", "taken": "old"}


def test_a_replacement_can_move_an_entry_from_elsewhere(results: Path) -> None:
    _replace(results)
    assert _listed(results) == NEW


def _cut(monkeypatch: pytest.MonkeyPatch, moves: int, end: Callable[[], None]) -> None:
    """Call `end` instead of a move, after `moves` moves."""
    rename, left = Path.rename, [moves]

    def cut(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == -1:
            end()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", cut)


MOVES = 6  # two old entries, which are moved aside, and four new ones


@pytest.mark.parametrize("moves", range(MOVES))
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_replacement_that_is_cut_off_leaves_the_old_results(
    results: Path, monkeypatch: pytest.MonkeyPatch, moves: int, error: BaseException
) -> None:
    def end() -> None:
        raise error

    _cut(monkeypatch, moves, end)
    with pytest.raises(type(error)):
        _replace(results)
    assert _listed(results) == OLD


@pytest.mark.parametrize("moves", range(MOVES + 1))
def test_a_killed_replacement_is_undone_by_the_next_writer(
    results: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    _kill_at(monkeypatch, results, moves)
    files.recover(results)
    assert _listed(results) == (OLD if moves < MOVES else NEW)


@pytest.mark.parametrize("moves", range(1, MOVES))
def test_a_killed_replacement_is_undone_by_a_reader_that_misses_its_document(
    results: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    _kill_at(monkeypatch, results, moves)
    assert not (results / "done.json").exists()
    assert files.find_document(results, "done.json").read_text() == "old"
    assert _listed(results) == OLD


def _kill_at(monkeypatch: pytest.MonkeyPatch, results: Path, moves: int) -> None:
    """Let a process replace the results, and end immediately after `moves` moves."""
    child = os.fork()
    if child == 0:
        _cut(monkeypatch, moves, lambda: os._exit(9))
        try:
            _replace(results)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (9 if moves < MOVES else 0)


@pytest.mark.parametrize("name", ["../victim", "data/../../victim", "/victim", "."])
def test_a_list_of_moves_that_leads_out_of_the_folder_is_not_followed(results: Path, name: str) -> None:
    victim = _write(results.parent / "victim", "mine")
    root = results / ".edgetf-staging-999999999-x"
    (root / "new").mkdir(parents=True)
    _write(root / "moves.json", json.dumps([[name, f"{root.name}/new/a"], ["data", name], ["x", "y"]]))
    files.recover(results)
    assert victim.read_text() == "mine"
    assert _listed(results) == OLD


@pytest.mark.parametrize("name", ["", "..", "a\0b", "\ud800", "x" * 300])
@pytest.mark.parametrize("form", ["{name} {root}/new/a", "data {root}/new/{name}", ".kept .kept/a"])
def test_a_move_that_no_process_recorded_is_not_undone(results: Path, name: str, form: str) -> None:
    root = results / ".edgetf-staging-999999999-x"
    (root / "new").mkdir(parents=True)
    moved = form.format(name=name, root=root.name).split(" ")
    _write(root / "moves.json", json.dumps([moved, ["x", f"{root.name}/new/x"]]))
    files.recover(results)
    assert _listed(results) == OLD


@pytest.mark.parametrize("text", ["", "[", "null", "[[1]]", "[]", "{}", "[" * 100_000])
def test_a_damaged_list_of_moves_loses_nothing(results: Path, text: str) -> None:
    root = results / ".edgetf-staging-999999999-x"
    (root / "old").mkdir(parents=True)
    _write(root / "moves.json", text)
    _write(root / "old" / "gone", "old")
    files.recover(results)
    assert _listed(results) == OLD | {"gone": "old"}


def test_staging_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    left = tmp_path / ".edgetf-staging-999999999-x"
    left.mkdir()
    with files.staged(tmp_path, ["done.json"], force=False) as staging:
        _write(staging / "done.json", "{}")
    assert [p.name for p in tmp_path.iterdir()] == ["done.json"]


def test_the_staging_folder_of_a_running_process_is_not_removed(tmp_path: Path) -> None:
    with files.staged(tmp_path, ["a.json"], force=False) as first:
        with files.staged(tmp_path, ["b.json"], force=False) as second:
            _write(second / "b.json", "{}")
        _write(first / "a.json", "{}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "b.json"]


@pytest.mark.parametrize("target", ["nowhere", "link"], ids=["dangling", "loop"])
def test_results_are_not_written_through_a_broken_link(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(EdgetfError, match=f"is a broken link to {target}") as caught:
        files.staged(tmp_path / "link", ["done.json"], force=False).__enter__()
    assert "-o" in caught.value.hint


def test_a_missing_document_is_searched_nearby(tmp_path: Path) -> None:
    _write(tmp_path / "benchmark.json", "{}")
    with pytest.raises(EdgetfError) as missing:
        files.find_document(tmp_path / "benchmark", "benchmark.json")
    assert str(tmp_path) in missing.value.hint
    with pytest.raises(EdgetfError) as nowhere:
        files.find_document(tmp_path / "benchmark", "reference.json")
    assert "make one with: edgetf reference" in nowhere.value.hint


def test_a_file_is_written_to_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    files.write_whole(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_character_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(EdgetfError, match="cannot use /dev/full: No space left on device"):
        files.write_whole(Path("/dev/full"), b"x")
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("content", [b"hello\n", bytes(1 << 20)])
def test_an_anonymous_pipe_is_written_to(content: bytes) -> None:
    """As with `-o /dev/stdout | program`; also with more data than a pipe can hold."""
    write = "from edgetf.files import write_whole; from pathlib import Path; import sys; "
    write += "write_whole(Path('/dev/stdout'), sys.stdin.buffer.read())"
    ended = subprocess.run([sys.executable, "-c", write], input=content, capture_output=True, check=True)
    assert ended.stdout == content


def test_a_named_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    files.write_whole(tmp_path / "pipe", b"hello")
    assert os.read(reader, 10) == b"hello"
    os.close(reader)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_partial_file_of_a_killed_writer_is_removed(tmp_path: Path) -> None:
    _write(tmp_path / ".edgetf-part-999999999-x", "half")
    _write(tmp_path / f".edgetf-part-{os.getpid()}-x", "half")  # a thread's
    files.write_whole(tmp_path / "f", b"whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".edgetf-part-{os.getpid()}-x", "f"]


def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = _write(tmp_path / "f", "old")
    with limited(resource.RLIMIT_FSIZE, 1 << 12), pytest.raises(EdgetfError, match="File too large") as caught:
        files.write_whole(path, bytes(1 << 20))
    assert str(path) in caught.value.message
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["x" * 200] * 30)])
def test_a_name_that_is_too_long_is_an_error_with_a_hint(tmp_path: Path, name: str) -> None:
    for write in (
        lambda: files.write_whole(tmp_path / name, b""),
        lambda: files.staged(tmp_path / name, ["done.json"], False).__enter__(),
    ):
        with pytest.raises(EdgetfError, match="File name too long") as caught:
            write()
        assert caught.value.hint


def test_an_unwritable_place_is_an_error_with_a_hint() -> None:
    with pytest.raises(EdgetfError, match="cannot use /proc/edgetf: No such file or directory") as caught:
        files.staged(Path("/proc/edgetf"), ["done.json"], force=False).__enter__()
    assert caught.value.hint


@pytest.mark.parametrize("stream", ["/dev/stdout", "/dev/fd/1", "/dev/null", "pipe"])
def test_a_device_or_a_pipe_is_not_an_earlier_result(stream: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    files.refuse_existing(tmp_path / stream, force=False)  # an absolute path stays one
    (tmp_path / "a").write_text("")
    with pytest.raises(EdgetfError, match="already exists"):
        files.refuse_existing(tmp_path / "a", force=False)
    files.refuse_existing(tmp_path / "a", force=True)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("read", [files.sha256_file, lambda path: files.read_bytes(path, "hint", 1 << 20)])
def test_what_has_no_end_is_not_read(read: Callable[[Path], object], kind: str, tmp_path: Path) -> None:
    place = make_special(tmp_path / "it", kind)
    with pytest.raises((EdgetfError, IsADirectoryError), match=r"is not a plain file|Is a directory"):
        read(place)


def test_a_text_is_read_up_to_a_size(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("täxt", encoding="utf-8")
    assert files.read_text(tmp_path / "text", "hint", 5) == "täxt"
    (tmp_path / "empty").touch()
    assert files.read_text(tmp_path / "empty", "hint", 0) == ""
    with pytest.raises(EdgetfError, match="has more than 4 bytes"):
        files.read_text(tmp_path / "text", "hint", 4)
    (tmp_path / "text").write_bytes(b"\xff")
    with pytest.raises(EdgetfError, match="text is not a text file, or is damaged: a text in it is not UTF-8"):
        files.read_text(tmp_path / "text", "hint", 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a = 1\nb = [1,\r\nc = 2\n", r"\(at line 3, column 1\): c = 2$"),
        (b"x =   \n", r"\(at line 1, column \d\): x =$"),
        (b"[budgets", r"\(at .*\)(: \[budgets)?$"),
        (b"x = 1 2 " + 300 * b"y", r"\(at line 1, column 7\): x = 1 2 y{10,90}\.\.\.$"),
        (b'x = "\xff"', "a text in it is not UTF-8$"),
    ],
)
def test_a_toml_file_that_is_wrong_is_shown_with_the_line(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "it.toml").write_bytes(text)
    with pytest.raises(EdgetfError, match=r"^cannot read .*it\.toml: .*" + message):
        files.read_toml(tmp_path / "it.toml", "hint")
