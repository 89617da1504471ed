from __future__ import annotations

import pytest

from edgetf.errors import EdgetfError
from edgetf.texts import all_printable, printable, shown, without_secrets


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Pixel 8 é 日本 ✓", "Pixel 8 é 日本 ✓"),
        ("two\nlines\r\n", "two lines"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;the title\x07after", "after"),
        ("\x1b]8;;http://evil/\x1b\\link", "link"),
        ("\x9b2Jcleared\x00\x7f", "2Jcleared"),
        ("left‮right​", "leftright"),
        ("tab\tand space", "tab and space"),
        ("half\ud800", "half"),
    ],
)
def test_control_sequences_are_removed(text: str, plain: str) -> None:
    assert printable(text).replace("  ", " ") == plain


def test_texts_in_dicts_and_lists_are_made_printable_and_nothing_else_is_touched() -> None:
    plain = {"a\x1b": ["b\x07", 1, 2.5, None, {"c": "\x00"}]}
    assert all_printable(plain) == {"a": ["b", 1, 2.5, None, {"c": ""}]}


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("at http://ann:s3cret@host:5000/x: refused", "at http://***@host:5000/x: refused"),
        ("'https://token@host/v1'", "'https://***@host/v1'"),
        ("grpc://ann:p@ss@host:8500/digits", "grpc://***@host:8500/digits"),
        ("http://ann:pa/ss@host/v1/models/x is no address", "http://***@host/v1/models/x is no address"),
        ("http://ann:pa'ss\"<>@host", "http://***@host"),
        ("http://host/x?token=abc&page=2", "http://host/x?token=***&page=2"),
        ("http://host/x?a=1&api_key=abc#end", "http://host/x?a=1&api_key=***#end"),
        ("http://host/x?X-Amz-Signature=abc and more", "http://host/x?X-Amz-Signature=*** and more"),
        ("a http://u:1@b and c https://v:2@d", "a http://***@b and c https://***@d"),
    ],
)
def test_secrets_in_addresses_are_hidden(text: str, hidden: str) -> None:
    assert without_secrets(text) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "ssh -p 22 pi@raspberrypi.local",
        "http://host:8501/v1/models/digits@3",
        "http://127.0.0.1:9 and mail@example.org",
        "gs://bucket/path/model",
        "100 % of http://host/a?page=2",
    ],
)
def test_a_text_without_secrets_is_unchanged(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "text", ["http://ann:s3cret@host", "http\x1b[0m://ann:s3cret@host", "http://ann:s3\u200bcret@host"]
)
def test_a_secret_that_control_characters_divide_is_hidden_from_people(text: str) -> None:
    assert shown(text) == "http://***@host"


def test_an_error_is_printable_whatever_it_quotes() -> None:
    error = EdgetfError("no \x1b[2Jmodel at\nhttp://ann:s3cret@host", "see\r\nhttp://x:y@z")
    for text in (error.message, error.hint, str(error)):
        assert text.isprintable()
        assert "s3cret" not in text
        assert "x:y" not in text
