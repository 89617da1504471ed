"""Verdicts and their appearance everywhere: one row for each.

A variant without a reference has no verdict: it was only timed, and has the appearance of TIMED.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Look:
    """The appearance of a verdict. `severity` orders them, 0 is the most severe; `verb` follows a variant's name.

    `colour` is for reports and plots (contrast of at least 4.5 to 1 against white, also below white text), `terminal`
    is rich's name of a colour, `marker` a marker of matplotlib, for readers who cannot distinguish the colours, and
    `shape` its name.
    """

    label: str
    severity: int
    verb: str
    colour: str
    terminal: str
    marker: str
    shape: str
    emoji: str


class Verdict(str, Enum):
    """Whether a budget is kept: PASS and FAIL only if the evidence excludes the other."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    @property
    def look(self) -> Look:
        return _LOOKS[self]

    @property
    def label(self) -> str:
        """PASS, FAIL or NOT ENOUGH DATA."""
        return self.look.label

    @property
    def words(self) -> str:
        """The label inside of a sentence."""
        return self.label.lower()


_LOOKS = {
    Verdict.FAIL: Look("FAIL", 0, "fails", "#c0362c", "red", "X", "cross", "❌"),
    Verdict.INCONCLUSIVE: Look("NOT ENOUGH DATA", 1, "is undecided", "#8a5d00", "yellow", "D", "diamond", "❔"),
    Verdict.PASS: Look("PASS", 2, "passes", "#1a7f4b", "green", "o", "dot", "✅"),
}
TIMED = Look("TIMED ONLY", 3, "was timed", "#4a5568", "default", "s", "square", "")
NO_VERDICT = "none"  # replaces a verdict in the report
LOOKS = {**{verdict.value: look for verdict, look in _LOOKS.items()}, NO_VERDICT: TIMED}  # by name
