from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgetf.errors import EdgetfError
from edgetf.functions import load_function


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
