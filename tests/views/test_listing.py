"""Tables at every width: nothing is cut, nothing is broken inside a word."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from planner.views.listing import Listing

ROWS = [("models/llama-tiny", "16", "10,616 (8,360 … 13,481)", "100.0 %", "predicted"),
        ("models/llama-tiny", "32", "9,012 (8,001 … 9,990)", "97.3 %", "measured")]


def _listing() -> Listing:
    found = Listing("Best of [all]", ["model", "batch_size", "output_throughput", "probability", "known"],
                    ["model", "known"], "in brackets 90 % intervals")
    for row in ROWS:
        found.add_row(*row)
    return found


def _lines(width: int, listing: Listing | None = None) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, markup=False).print(listing or _listing())
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [45, 50, 60, 70, 80, 100, 120, 200])
def test_every_cell_is_whole_at_every_width(width: int) -> None:
    lines = _lines(width)
    text = "\n".join(lines)
    assert all(len(line) <= width for line in lines) and "…  " not in text and "Best of [all]" in text
    for row in ROWS:
        for cell in row:
            value, _, interval = cell.partition(" (")
            assert value in text and interval in text, (width, cell, text)
    for name in _listing().columns:  # whole, or broken at an underscore
        assert name in text or all(part in text for part in name.split("_"))


def test_a_wide_terminal_has_a_line_a_row_and_a_narrow_one_a_block() -> None:
    wide, narrow = _lines(120), _lines(45)
    assert len(wide) == 1 + 1 + len(ROWS) + 1
    assert any("batch_size         16" in line for line in narrow) and any(line.strip() == "2." for line in narrow)


def test_shared_values_are_shown_once_in_a_narrow_terminal() -> None:
    tight = "\n".join(_lines(56))
    assert tight.count("models/llama-tiny") == 1 and "the same in all: model models/llama-tiny" in tight
    assert "\n".join(_lines(120)).count("models/llama-tiny") == 2


def test_a_listing_of_nothing_and_of_one_row() -> None:
    empty = Listing("Nothing", ["a", "b"])
    assert _lines(20, empty)[0].strip() == "Nothing"
    one = Listing("One", ["engine", "output_throughput"])
    one.add_row("the one engine", "3 (2 … 4)")
    assert "3 (2 … 4)" in "\n".join(_lines(20, one)) and "the same" not in "\n".join(_lines(30, one))
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        one.add_row("alone")
