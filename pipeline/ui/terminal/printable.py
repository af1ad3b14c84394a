"""Text for rich, without characters that a terminal obeys."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from pipeline.model.formatting import one_line, printable


class Printable:
    """A renderable whose text is cleaned right before it is written.

    Names of files, cells, headers and words of vendors may hold control characters, and marks that
    turn the direction of a line around: they are left out, wherever they stand. Colours and cursor
    moves are rich's own, apart from the text, and stay.
    """

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Segment by segment."""
        for text, style, control in console.render(self._shown, options):
            yield Segment(text if control else printable(text), style, control)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As wide as what it wraps."""
        return Measurement.get(console, options, self._shown)


def pairs() -> Table:
    """An empty table of labels and what they stand for."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table


def plain_text(foreign: str, style: str = "") -> Text:
    """Make text that rich prints unchanged: no markup, no escape sequences."""
    return Text(one_line(foreign), style=style)
