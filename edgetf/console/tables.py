"""Tables on standard output. In: cells. Out: lines that fit the terminal, without truncated cells.

Optional columns are left out one by one until the others fit. Then intervals move below their figure. If the table
still does not fit, each row becomes a paragraph. A pipe gets all columns, one line for each row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

_GAP = 2
_LEAST = 24  # minimum width of a column of sentences; a narrower one moves below its row


@dataclass(frozen=True)
class Table:
    """A table. Cells may contain rich markup; a line break in a cell marks an interval that may move below its figure.

    Columns in `right` are aligned to the right. Columns in `optional` may be left out, in this order. Columns in `long`
    contain sentences, which are wrapped. All other columns keep their full width.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()
    optional: Sequence[str] = ()
    long: Sequence[str] = ()

    def lines(self, width: int | None) -> list[Text]:
        """The table as lines of at most `width` characters; None means no limit."""
        shown = [k for k, name in enumerate(self.columns) if k == 0 or any(row[k] for row in self.rows)]
        if width is None:
            return list(_draw(_Layout(self, shown, 0), None))
        optional = [k for name in self.optional if (k := self.columns.index(name)) in shown]
        for folds in (0, 1, 2):
            for count in range(len(optional) + 1):
                gone = optional[:count]
                layout = _Layout(self, [k for k in shown if k not in gone], folds)
                if layout.least <= width:
                    return [*_draw(layout, width), *_left_out(self, gone)]
        return list(_paragraphs(self, [k for k in shown if k not in optional], width))


class _Layout:
    """A selection of columns with one of three foldings of cells.

    0 is one line, 1 has intervals below their figures, 2 also has the ends of intervals below each other.
    """

    def __init__(self, table: Table, shown: Sequence[int], folds: int) -> None:
        self.table, self.shown = table, shown
        self.cells = [{k: _lines_of(row[k], folds) for k in shown} for row in table.rows]
        self.heads = {k: table.columns[k] for k in shown}
        # headings are wrapped if intervals are folded
        least = {k: max(map(len, head.split(" ") if folds else [head])) for k, head in self.heads.items()}
        self.widths = {k: max([least[k], *(_widest(row[k]) for row in self.cells)]) for k in shown}
        self.long = [k for k in shown if table.columns[k] in table.long]
        self.fixed = [k for k in shown if k not in self.long]

    @property
    def least(self) -> int:
        """The minimum width of this layout: sentences may move below their row."""
        return sum(self.widths[k] for k in self.fixed) + _GAP * (len(self.fixed) - 1)

    def share(self, width: int | None) -> dict[int, int]:
        """The width of each column in the row; columns of sentences that are missing here move below their row."""
        given = {k: self.widths[k] for k in self.fixed}
        if width is None:
            return {**given, **{k: self.widths[k] for k in self.long}}
        for position, k in enumerate(self.long):
            left = (width - sum(given.values()) - _GAP * len(given)) // (len(self.long) - position)
            if left >= min(_LEAST, self.widths[k]):
                given[k] = min(left, self.widths[k])
        return given


def _draw(layout: _Layout, width: int | None) -> Iterator[Text]:
    from rich.text import Text

    given = layout.share(width)
    columns = [k for k in layout.shown if k in given]
    right = {k for k in columns if layout.table.columns[k] in layout.table.right}
    heads = {k: _wrap(Text(layout.heads[k]), given[k]) for k in columns}
    if any(layout.heads.values()):
        for line in _side_by_side(heads, given, right):
            line.stylize("bold")
            yield line
    yield Text("─" * (sum(given.values()) + _GAP * (len(columns) - 1)), style="dim")
    for row in layout.cells:
        cells = {k: [piece for line in row[k] for piece in _wrap(line, given[k])] for k in columns}
        yield from _side_by_side(cells, given, right)
        for k in layout.shown:
            if k not in given:
                for text in row[k]:
                    yield from _indented(text, width)


def _side_by_side(cells: dict[int, list[Text]], given: dict[int, int], right: set[int]) -> Iterator[Text]:
    from rich.text import Text

    for pieces in zip_longest(*cells.values(), fillvalue=Text("")):
        line = Text("")
        for k, piece in zip(cells, pieces, strict=True):
            room = Text(" " * (given[k] - piece.cell_len))
            line.append_text(room + piece if k in right else piece + room).append(" " * _GAP)
        line.rstrip()
        yield line


def _paragraphs(table: Table, shown: Sequence[int], width: int) -> Iterator[Text]:
    """Rows as a name and a line for each figure, for terminals that are too narrow for a table."""
    from rich.text import Text

    for row in table.rows:
        yield from _wrap(_text(row[0]), width)
        for k in shown[1:]:
            if row[k]:
                yield from _indented(Text(f"{table.columns[k]}: ") + _text(row[k].replace("\n", " ")), width)


def _left_out(table: Table, gone: Sequence[int]) -> list[Text]:
    from rich.text import Text

    names = ", ".join(table.columns[k] for k in gone)
    return [Text(f"Left out to fit the terminal: {names}.", style="dim")] if gone else []


def _indented(text: Text, width: int | None) -> Iterator[Text]:
    from rich.text import Text

    for piece in _wrap(text, max(width - _GAP, 1) if width else None):
        yield Text(" " * _GAP) + piece


def _wrap(text: Text, width: int | None) -> list[Text]:
    if width is None or text.cell_len <= width:
        return [text]
    return list(text.wrap(_measure(), width))


def _lines_of(cell: str, folds: int) -> list[Text]:
    """A cell in one of the three foldings of _Layout."""
    text = _text(cell if folds else cell.replace("\n", " "))
    figure, *interval = text.split("\n", allow_blank=True)
    if folds == 2:
        interval = [end for line in interval for end in line.split(", ", include_separator=True)]
    for line in interval:
        line.rstrip()
    return [figure, *interval]


def _text(markup: str) -> Text:
    from rich.text import Text

    return Text.from_markup(markup)


def _widest(lines: Sequence[Text]) -> int:
    return max((line.cell_len for line in lines), default=0)


def _measure() -> Any:
    from rich.console import Console

    return Console()
