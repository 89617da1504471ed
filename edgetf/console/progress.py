"""Events in; how far a command is out: a line that moves in a terminal, or a line for each step elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING

import click

from edgetf.events import Event, Note, OnEvent, Phase, Progress, Step
from edgetf.texts import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


_BAR, _LEAST_BAR, _LEAST_WORDS = 24, 8, 12
_REFRESHES = 5  # a second
_SURE_S = 2.0  # before this time an estimate is unreliable


@contextlib.contextmanager
def progress(title: str, on_event: OnEvent | None = None) -> Iterator[OnEvent]:
    """Show events as an animated line on standard error; if that is not a terminal, as a line for each step.

    With `on_event`, nothing is printed: it receives the events.
    """
    if on_event is not None:
        yield on_event
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal and not console.is_jupyter:
        yield _harmless(_Lines(title))
        return
    from rich.live import Live

    state = State(title)
    with Live(
        get_renderable=lambda: draw(state, console), console=console, transient=True, refresh_per_second=_REFRESHES
    ) as live:

        def receive(event: Event) -> None:
            if isinstance(event, Note):
                live.console.print(shown(event.text), markup=False, highlight=False, soft_wrap=True)
            state.take(event)

        yield _harmless(receive)


def _harmless(receive: OnEvent) -> OnEvent:
    """A receiver whose failure has no effect: the reader of the progress may have closed the pipe."""

    def receive_it(event: Event) -> None:
        with contextlib.suppress(OSError):
            receive(event)

    return receive_it


class State:
    """The progress of a command, from its events so far. `now` is a clock in seconds."""

    def __init__(self, title: str, now: Callable[[], float] = monotonic) -> None:
        self._title, self._now = title, now
        self._begin = self._steps_began = self._phase_began = now()
        self._names: list[str] = []  # the names of the steps, in order
        self._done, self._of = 0, 0
        self._phase = ""
        self._inner: tuple[int, int] | None = None  # done and total of the phase
        self._share = 0.0
        self._left: tuple[float, float] | None = None  # remaining seconds, and the time of this estimate

    def take(self, event: Event) -> None:
        now = self._now()
        if isinstance(event, Step):
            self._take_step(event, now)
        elif isinstance(event, Phase):
            self._phase, self._inner, self._phase_began = event.name, None, now
        elif isinstance(event, Progress) and event.of:
            self._inner = (min(event.done, event.of), event.of)
        else:
            return
        if self._of:
            self._share = max(self._share, min((self._done + self._part()) / self._of, 1.0))
        self._estimate(event, now)

    def _take_step(self, step: Step, now: float) -> None:
        if not self._names:
            self._steps_began = now
        if self._names[-1:] != [step.name]:
            self._names.append(step.name)
        self._done = len(self._names) - 1 if step.done is None else step.done
        self._of = step.of or self._of
        self._phase, self._inner, self._phase_began = "", None, now

    def _part(self) -> float:
        """The finished share of the step, or of the phase if there are no steps."""
        return self._inner[0] / self._inner[1] if self._inner else 0.0

    def _estimate(self, event: Event, now: float) -> None:
        if isinstance(event, Step) and event.left_s is not None:
            self._left = (event.left_s, now)
        elif isinstance(event, Step) and event.done is not None:
            self._left = None  # the sender of steps has the best estimate
        elif self._of:
            begun, share, sure = self._steps_began, self._share, self._done > 0
            self._left = ((now - begun) * (1 - share) / share, now) if sure and share else None
        elif self._inner:
            begun, share = self._phase_began, self._part()
            self._left = ((now - begun) * (1 - share) / share, now) if share and now - begun > _SURE_S else None
        else:
            self._left = None

    @property
    def words(self) -> str:
        """The current activity, such as "Converting 4 of 6: int8, calibrating"."""
        count = f" {min(self._done + 1, self._of)} of {self._of}" if self._of else ""
        step = self._names[-1] if self._names else ""
        what = ", ".join(filter(None, [step, "" if self._phase in step else self._phase]))
        return shown(f"{self._title}{count}{': ' if what else ''}{what}")

    @property
    def counter(self) -> str:
        """The progress of the phase, such as "120/200"."""
        return f"{self._inner[0]:,}/{self._inner[1]:,}" if self._inner else ""

    @property
    def share(self) -> float | None:
        """The finished share of all steps, or of the phase if there are no steps; None if unknown."""
        return self._share if self._of else self._part() if self._inner else None

    @property
    def elapsed_s(self) -> float:
        return self._now() - self._begin

    @property
    def left_s(self) -> float | None:
        """The estimated remaining time in seconds; None if unknown, or if too little has been done."""
        left = self._left[0] - (self._now() - self._left[1]) if self._left else 0.0
        return left if left >= 1 else None


def draw(state: State, console: Console) -> Text:
    """The line for a terminal: if it is too long, the words are shortened, not the figures."""
    from rich.text import Text

    share, left = state.share, state.left_s
    figures = [state.counter, "" if share is None else f"{share:.0%}", _clock(state.elapsed_s)]
    figures.append("" if left is None else f"about {_clock(left)} left")
    while len("  ".join(figures)) > console.width - _LEAST_WORDS and len(figures) > 3:
        figures.pop()  # the remaining time is the first figure to drop in a narrow terminal
    tail = "  ".join(filter(None, figures))
    room = console.width - 1 - len(tail) - 2
    words = Text(state.words)
    bar = min(_BAR, room - words.cell_len - 2) if share is not None else 0
    if bar < _LEAST_BAR:
        bar = 0
    words.truncate(max(room - (bar + 2 if bar else 0), 1), overflow="ellipsis")
    full = round(bar * (share or 0.0))
    line = words.append("  ") if not bar else words.append("  ").append("━" * full, "green")
    if bar:
        line.append("━" * (bar - full), "dim").append("  ")
    line.append(tail, "cyan")
    line.no_wrap = True
    return line


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class _Lines:
    def __init__(self, title: str) -> None:
        self._title = title
        self._step = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            click.echo(shown(event.text), err=True)
        elif isinstance(event, Step) and event.name != self._step:
            self._step = event.name
            click.echo(shown(f"{self._title} {self._step}"), err=True)
        elif isinstance(event, Phase) and not self._step:
            click.echo(shown(f"{self._title}: {event.name}"), err=True)
