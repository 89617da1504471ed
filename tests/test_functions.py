from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgetf.errors import EdgetfError
from edgetf.functions import load_function, run_function, user_code


def test_a_function_of_this_folder_is_found_and_the_search_path_is_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_this_folder.py").write_text("ANSWER = 42\ndef f(): return ANSWER\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert load_function("of_this_folder:f")() == 42
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("whole:g", "has no attribute 'g'"),
        ("whole:ANSWER", "whole:ANSWER is not a function"),
        ("unfinished:f", r"\(unfinished\.py, line 1\)"),
        ("whole", "'whole' does not name a function"),
    ],
)
def test_what_cannot_be_loaded_is_reported(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole.py").write_text("ANSWER = 42\n")
    (tmp_path / "unfinished.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgetfError, match=message) as caught:
        load_function(name)
    assert "module:function" in caught.value.hint


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys\nsys.exit(0)\n", r"SystemExit: 0 \(failing\.py, line 2\)"),
        ("f = unknown\n", r"NameError: name 'unknown' is not defined \(failing\.py, line 1\)"),
        ("import also_failing\n", r"KeyError: 'gone' \(also_failing\.py, line 1\)"),
        ("class Own(BaseException): pass\nraise Own('a\\nb')\n", r"Own: a b \(failing\.py, line 2\)"),
        (
            "class Mute(Exception):\n    def __str__(self): raise SystemExit\nraise Mute\n",
            r"Mute \(failing\.py, line 3\)",
        ),
        ("def __getattr__(name): return 1 / 0\n", r"ZeroDivisionError: division by zero \(failing\.py, line 1\)"),
    ],
)
def test_whatever_the_import_of_a_module_raises_is_one_line_with_the_place(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing.py").write_text(code)
    (tmp_path / "also_failing.py").write_text("{}['gone']\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "failing", raising=False)
    with pytest.raises(EdgetfError, match=f"^cannot load failing:f: {message}$"):
        load_function("failing:f")


def test_a_function_that_fails_or_takes_arguments_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "to_run.py").write_text("def needy(path): return path\ndef leaving(): raise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgetfError, match=r"^to_run:needy failed: TypeError: needy\(\) missing 1 required") as caught:
        run_function("to_run:needy", "a model")
    assert caught.value.hint == "correct it: it is called without arguments, and returns a model"
    with pytest.raises(EdgetfError, match=r"^to_run:leaving failed: SystemExit \(to_run\.py, line 2\)$"):
        run_function("to_run:leaving", "a model")


def test_an_interruption_of_user_code_is_an_interruption() -> None:
    with pytest.raises(KeyboardInterrupt), user_code(ValueError):
        raise KeyboardInterrupt


def test_the_hint_of_an_error_of_edgetf_in_user_code_is_kept() -> None:
    with pytest.raises(ValueError, match=r"^there is none; make one$"), user_code(ValueError):
        raise EdgetfError("there is none", "make one")
