"""Tables of many columns that stay readable in a narrow terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

__all__ = ["Listing"]

_UNBOUNDED = 10_000
_HEADER = 9  # characters that a folded header may have, however narrow its column
_SPAN = re.compile(r" \((?=[^()]* … [^()]*\)$)")  # before the interval of "value (low … high)"


class Listing:
    """A table that never breaks inside a word, whatever the width.

    If its lines are too long, its headers are folded; then intervals go below their values; then columns with one value
    for all rows go into a line above. If even that is too wide, each row becomes a block of lines.
    left: columns that are text.
    """

    def __init__(self, title: str, columns: Sequence[str], left: Iterable[str] = (), caption: str = "") -> None:
        self.title, self.columns, self.left, self.caption = title, list(columns), set(left), caption
        self.rows: list[list[str]] = []

    def add_row(self, *cells: str) -> None:
        """A cell for each column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(list(cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.title, style="italic")
        every = range(len(self.columns))
        own = [i for i in every if len({row[i] for row in self.rows}) > 1] or every
        for chosen, folded, broken in ((every, False, False), (every, True, False), (every, True, True),
                                       (own, True, True)):
            table = self._table(chosen, folded, broken)
            if console.measure(table, options=options.update(max_width=_UNBOUNDED)).maximum <= options.max_width:
                if len(chosen) < len(every):
                    shared = (f"{self.columns[i]} {self.rows[0][i]}" for i in every if i not in chosen)
                    yield Text(f" the same in all: {', '.join(shared)}")
                yield table
                break
        else:
            yield from map(Text, self._blocks())
        if self.caption:
            yield Text(self.caption, style="dim italic")

    def _table(self, chosen: Sequence[int], folded: bool, broken: bool) -> Table:
        table = Table(box=None)
        cells = [[_broken(row[i]) if broken else row[i] for i in chosen] for row in self.rows]
        for number, i in enumerate(chosen):
            width = max((len(line) for row in cells for line in row[number].split("\n")), default=0)
            name = _folded(self.columns[i], max(width, _HEADER)) if folded else self.columns[i]
            table.add_column(name, justify="left" if self.columns[i] in self.left else "right", no_wrap=True)
        for row in cells:
            table.add_row(*row)
        return table

    def _blocks(self) -> Iterable[str]:
        width = max(map(len, self.columns))
        for number, row in enumerate(self.rows, 1):
            if len(self.rows) > 1:
                yield f" {number}."
            for name, cell in zip(self.columns, row, strict=True):
                if cell:
                    yield f"   {name:<{width}}  {cell}"


def _broken(cell: str) -> str:
    return _SPAN.sub("\n(", cell).replace("  ", "\n")


def _folded(name: str, width: int) -> str:
    """`name` in lines no longer than `width`, as far as it has places to be broken at: spaces and underscores."""
    lines = [""]
    for part in re.findall(r"[^ _]+[ _]?|[ _]", name):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip(" ") for line in lines)
