"""The signature of an untrusted SavedModel. In: a folder. Out: its Source.

It is read without TensorFlow, except for rare models. These are read in a child process (`python -m
edgetf.conversion.source_child`): TensorFlow's readers are native code, and input that crashes or blocks them ends this
process and not edgetf.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgetf.conversion.messages import NeedsTensorFlowError
from edgetf.conversion.savedmodel import read_source
from edgetf.errors import EdgetfError
from edgetf.events import Answer, ignore
from edgetf.files import from_plain, to_plain
from edgetf.process import EventPipe, HungError, leave, reporting, run_child
from edgetf.results import Source

_IDLE_S = 120.0
_AGAIN = "export it again"


def read_source_safely(saved_model: Path, signature: str | None) -> Source:
    """Like `read_source`. Also raises EdgetfError if TensorFlow has to read it, in a child, and dies or hangs."""
    try:
        return read_source(saved_model, signature, pure=True)
    except NeedsTensorFlowError:
        return _read_in_child(saved_model, signature)


def _read_in_child(saved_model: Path, signature: str | None) -> Source:
    found: list[Source] = []

    def receive(answer: Answer) -> None:
        found.append(from_plain(answer.fields["source"], Source))

    size = sum(path.stat().st_size for path in saved_model.rglob("*") if path.is_file())
    request = json.dumps({"saved_model": str(saved_model), "signature": signature})
    try:
        command = [sys.executable, "-m", "edgetf.conversion.source_child"]
        ended = run_child(command, ignore, on_answer=receive, request=request, idle_s=_IDLE_S + size / 20e6)
    except HungError as error:
        raise EdgetfError(f"{saved_model} is damaged: reading it did not end", _AGAIN) from error
    if not found:
        raise EdgetfError(f"{saved_model} is damaged: reading it {ended.how}", ended.last_line or _AGAIN)
    return found[0]


def main() -> None:
    pipe = EventPipe()
    request = json.loads(sys.stdin.read())
    with reporting(pipe):
        source = read_source(Path(request["saved_model"]), request["signature"])
        pipe.answer("source", source=to_plain(source))


if __name__ == "__main__":
    main()
    leave()
