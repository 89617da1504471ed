"""A real pseudo-terminal for tests. In: a command. Out: its screens, after each write and at the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_CODE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b.|[\r\n]|[^\x1b\r\n]+", re.DOTALL)


@dataclass
class Screen:
    """What a terminal of `columns` shows of the codes that rich writes; longer lines are wrapped."""

    columns: int
    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0

    def write(self, text: str) -> None:
        for found in _CODE.finditer(text):
            piece, count = found[0], int(found[1]) if (found[1] or "").isdigit() else 1
            if piece == "\n":
                self._down()
            elif piece == "\r":
                self.column = 0
            elif found[2] == "A":
                self.row = max(self.row - count, 0)
            elif found[2] == "K":
                self.lines[self.row] = "" if found[1] == "2" else self.lines[self.row][: self.column]
            elif not piece.startswith("\x1b"):
                for letter in piece:
                    if self.column == self.columns:
                        self._down()
                        self.column = 0
                    line = self.lines[self.row].ljust(self.column)
                    self.lines[self.row] = line[: self.column] + letter + line[self.column + 1 :]
                    self.column += 1

    def _down(self) -> None:
        self.row += 1
        self.lines += [""] * (self.row + 1 - len(self.lines))

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).strip("\n")


@dataclass
class Terminal:
    """A command that runs in a terminal. `shown` are the screens after each of its writes."""

    process: subprocess.Popen[bytes]
    screen: Screen
    end: int
    shown: list[str] = field(default_factory=list)

    def read(self) -> bool:
        """Read the next output; False at the end."""
        block = b""
        with suppress(OSError):  # EIO: the other end was closed
            block = os.read(self.end, 1 << 16)
        self.screen.write(block.decode(errors="replace").replace("\r\n", "\n\r"))
        self.shown.append(self.screen.text())
        return bool(block)

    def finish(self) -> str:
        """What is on the screen when the command has ended."""
        while self.read():
            pass
        self.process.wait(timeout=60)
        return self.screen.text()

    def until(self, word: str) -> None:
        """Wait until `word` is on the screen. Raises AssertionError if it never is."""
        while word not in self.screen.text():
            assert self.read(), f"{word!r} was never shown: {self.screen.text()}"


@contextmanager
def terminal(*arguments: object, columns: int, cwd: Path) -> Iterator[Terminal]:
    """Run `edgetf` with `arguments` in a terminal of `columns`."""
    with _terminal([sys.executable, "-m", "edgetf", *map(str, arguments)], columns, cwd) as found:
        yield found


@contextmanager
def python_in_terminal(function: Callable[[], None], columns: int, cwd: Path) -> Iterator[Terminal]:
    """Run a function of a test's module in a terminal of `columns`."""
    code = f"from {function.__module__} import {function.__name__} as run; run()"
    with _terminal([sys.executable, "-c", code], columns, cwd) as found:
        yield found


@contextmanager
def _terminal(command: list[str], columns: int, cwd: Path) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    # pytest's importlib mode leaves the checkout, in which this file's package lies, out of sys.path
    paths = [os.environ["PYTHONPATH"], str(Path(__file__).parents[2]), *filter(None, sys.path)]
    env.update(TERM="xterm-256color", PYTHONPATH=os.pathsep.join(paths))
    process = subprocess.Popen(command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    try:
        yield Terminal(process, Screen(columns), ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
