"""A table for a terminal: each column as wide as its widest cell, and the last one takes what is left."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from ._screen import Style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._screen import Screen

__all__ = ["Cell", "print_table"]

_GAP = "  "
_LEAST = 20  # what the last column keeps, however narrow the screen


@dataclass(frozen=True, slots=True)
class Cell:
    """A text of one line, and how it looks."""

    text: str
    style: Style = Style.PLAIN


def print_table(screen: Screen, titles: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table.

    Args:
        screen: where to.
        titles: of the columns.
        rows: each with a cell for each title.
    """
    heading = [Cell(title, Style.TITLE) for title in titles]
    rows = [[Cell(screen.shown(cell.text), cell.style) for cell in row] for row in rows]
    columns = list(zip(heading, *rows, strict=True))
    widths = [max(len(cell.text) for cell in column) for column in columns[:-1]]
    widths.append(max(_LEAST, screen.width - sum(len(_GAP) + width for width in widths)))
    _print_row(screen, heading, widths)
    screen.line("─" * (sum(widths) + len(_GAP) * (len(widths) - 1)), Style.FAINT)
    for row in rows:
        _print_row(screen, row, widths)


def _print_row(screen: Screen, row: Sequence[Cell], widths: Sequence[int]) -> None:
    wrapped = [
        textwrap.wrap(cell.text, width, break_on_hyphens=False)
        for cell, width in zip(row, widths, strict=True)
    ]
    for line in zip_longest(*wrapped, fillvalue=""):
        # Padded before it is painted: escape sequences have no width.
        parts = [
            screen.paint(text, cell.style) + " " * (width - len(text))
            for text, cell, width in zip(line, row, widths, strict=True)
        ]
        screen.line(_GAP.join(parts).rstrip())
