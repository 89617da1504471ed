from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetf.events import Answer, Fault, Message, Note, Phase, Progress, Step, from_line, to_line

TEXT = st.text()
COUNT = st.integers(0, 1 << 53)
PLAIN = st.recursive(st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner, max_size=3))
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Step, TEXT, st.none() | COUNT, st.none() | COUNT, st.none() | st.floats(0, 1e9)),
    st.builds(Phase, TEXT),
    st.builds(Progress, COUNT, COUNT, st.dictionaries(TEXT, st.floats(-1e9, 1e9), max_size=3)),
    st.builds(Note, TEXT),
    st.builds(Answer, TEXT, st.dictionaries(TEXT, PLAIN, max_size=3)),
    st.builds(Fault, TEXT, TEXT),
)


@given(MESSAGES)
def test_every_message_survives_the_pipe_on_one_line(message: Message) -> None:
    line = to_line(message)
    assert "\n" not in line
    assert from_line(line) == message
    assert from_line(line.encode()) == message


@given(st.dictionaries(st.sampled_from(["event", "phase", "note", "step", "done", "of", "metrics", "kind"]), PLAIN))
def test_whatever_else_is_json_is_no_message_or_a_whole_one(plain: dict[str, object]) -> None:
    found = from_line(json.dumps(plain))
    assert found is None or from_line(to_line(found)) == found


@pytest.mark.parametrize(
    "line",
    [
        "",
        "noise",
        "[" * 5000,
        "[1]",
        "{}",
        '{"event": ["phase"]}',
        '{"event": "phase"}',
        '{"event": "phase", "phase": 1}',
        '{"event": "progress", "done": true, "of": 2}',
        '{"event": "progress", "done": -1, "of": 2}',
        '{"event": "rm", "phase": "x"}',
        b"\xff\xfe{",
    ],
)
def test_a_line_that_is_not_a_message_is_none(line: str | bytes) -> None:
    assert from_line(line) is None


def test_the_lines_of_the_runner_are_events() -> None:
    assert from_line('{"event": "phase", "phase": "timing"}') == Phase("timing")
    assert from_line('{"event": "progress", "done": 1, "of": 2}') == Progress(1, 2)
