"""What happens while a function of edgetf works, as events: for a progress bar, or for a callback of your own.

    def show(event: Event) -> None:
        if isinstance(event, Progress):
            print(f"{event.done} of {event.of}")

    edgetf.convert(model, "out", samples=x_train[:500], on_event=show)

Between processes an event is a line of JSON: `to_line` and `from_line` are the only ones that write and read these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Step:
    """A step begins, such as a scheme or a turn of a variant.

    `of` is how many there will be, where that is known. `done` counts those that are over, where names do not tell it
    (several steps may have one name); `left_s` is how long the rest takes, where that is known better than by the share
    of the steps.
    """

    name: str
    of: int | None = None
    done: int | None = None
    left_s: float | None = None


@dataclass(frozen=True)
class Phase:
    """The current phase, a part of the step if there is one."""

    name: str


@dataclass(frozen=True)
class Progress:
    """How much of the phase is done; with the metrics of an epoch, where that is what is counted."""

    done: int
    of: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """A message to keep on the screen."""

    text: str


Event = Step | Phase | Progress | Note
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Answer:
    """A result that a child process sends to its parent, and to nobody else: plain values by name."""

    kind: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Fault:
    """An error that the user can correct, sent by a child process."""

    message: str
    hint: str


Message = Event | Answer | Fault


def ignore(event: Event) -> None:
    """Receives events that nobody wants to see."""


def to_line(message: Message) -> str:
    """The line of JSON for a message, without its end."""
    plain: dict[str, Any]
    if isinstance(message, Step):
        numbers = {"of": message.of, "done": message.done, "left_s": message.left_s}
        plain = {"event": "step", "step": message.name, **numbers}
    elif isinstance(message, Phase):
        plain = {"event": "phase", "phase": message.name}
    elif isinstance(message, Progress):
        plain = {"event": "progress", **vars(message)}
    elif isinstance(message, Note):
        plain = {"event": "note", "note": message.text}
    elif isinstance(message, Answer):
        plain = {"event": "answer", **vars(message)}
    else:
        plain = {"event": "fault", **vars(message)}
    return json.dumps(plain)


def from_line(line: str | bytes) -> Message | None:
    """The message in a line; None if it is something else: libraries print, too.

    The runner on a device, which imports nothing of edgetf, writes phases, progress and notes in the same form.
    """
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kind = plain.get("event") if isinstance(plain, dict) else None
    read = _READERS.get(kind) if isinstance(kind, str) else None
    return read(plain) if read is not None else None


def _step(plain: dict[str, Any]) -> Step | None:
    numbers = plain.get("of"), plain.get("done"), plain.get("left_s")
    valid = _is_text(plain, "step") and all(one is None or isinstance(one, (int, float)) for one in numbers)
    return Step(plain["step"], *numbers) if valid else None


def _phase(plain: dict[str, Any]) -> Phase | None:
    return Phase(plain["phase"]) if _is_text(plain, "phase") else None


def _progress(plain: dict[str, Any]) -> Progress | None:
    done, of, metrics = plain.get("done"), plain.get("of"), plain.get("metrics", {})
    if type(done) is int and type(of) is int and done >= 0 and of >= 0 and isinstance(metrics, dict):
        return Progress(done, of, metrics)
    return None


def _note(plain: dict[str, Any]) -> Note | None:
    return Note(plain["note"]) if _is_text(plain, "note") else None


def _answer(plain: dict[str, Any]) -> Answer | None:
    valid = _is_text(plain, "kind") and isinstance(plain.get("fields"), dict)
    return Answer(plain["kind"], plain["fields"]) if valid else None


def _fault(plain: dict[str, Any]) -> Fault | None:
    valid = _is_text(plain, "message") and _is_text(plain, "hint")
    return Fault(plain["message"], plain["hint"]) if valid else None


def _is_text(plain: dict[str, Any], name: str) -> bool:
    return isinstance(plain.get(name), str)


_READERS: Mapping[str, Callable[[dict[str, Any]], Message | None]] = {
    "step": _step,
    "phase": _phase,
    "progress": _progress,
    "note": _note,
    "answer": _answer,
    "fault": _fault,
}
