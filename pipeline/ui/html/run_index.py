"""The reports that lie beside each other, as their summaries tell of them."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from statistics import median

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.model import SUCCESS
from pipeline.reporter.summary import SUMMARY_NAME, Counts, Summary
from pipeline.ui.html.advice import Tone, headline, tone_of

MOST_RUNS = 500
MOST_COMPARED = 5


class _Input(BaseModel):
    model_config = ConfigDict(frozen=True)

    file: str


class _Page(BaseModel):
    model_config = ConfigDict(frozen=True)

    name: str


class Card(BaseModel):
    """As much of a summary as a list of runs shows."""

    model_config = ConfigDict(frozen=True)

    run: str
    why: str
    exit_code: int
    is_simulated: bool
    input: _Input
    rows: int
    statuses: Counts
    operations: dict[str, Counts] = {}
    requests: int
    retries: int
    started: datetime
    seconds: float
    rows_per_s: float
    page: _Page | None = None

    @property
    def has_page(self) -> bool:
        """Whether a page lies beside the summary."""
        return self.page is not None

    @property
    def headline(self) -> str:
        """The verdict, short."""
        return headline(self.why, self.statuses)

    @property
    def tone(self) -> Tone:
        """How the run went."""
        return tone_of(self.exit_code)

    @property
    def wrong(self) -> int:
        """Rows that did not succeed."""
        return sum(count for status, count in self.statuses.items() if status not in SUCCESS)


def card_of(summary: Summary) -> Card:
    """The card of a summary that is not on disk yet."""
    return Card.model_validate_json(summary.model_dump_json())


def cards_in(reports: Path, most: int = MOST_RUNS) -> Iterator[Card]:
    """Cards of the newest reports in a folder, newest first, at most `most`, read one by one.

    Folders without a summary that can be read are left out. Raises OSError where `reports` itself
    cannot be read.
    """
    with os.scandir(reports) as entries:  # there may be tens of thousands
        names = (each.name for each in entries if each.is_dir(follow_symlinks=False))
        newest = heapq.nlargest(most, names)  # they begin with the time
    yield from filter(None, (_read(reports / name) for name in newest))


def read_shelf(reports: Path, most: int = MOST_RUNS) -> list[Card]:
    """All of `cards_in`, by when they started."""
    return sorted(cards_in(reports, most), key=attrgetter("started"), reverse=True)


def _read(folder: Path) -> Card | None:
    try:
        return Card.model_validate_json((folder / SUMMARY_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def earlier(shelf: Iterable[Card], this: Card, most: int = MOST_COMPARED) -> list[Card]:
    """The last runs before `this` that asked for the same operations, newest first.

    Rehearsals are compared with rehearsals only, and runs that sent nothing with none.
    """
    alike = (
        card
        for card in shelf
        if card.started < this.started
        and card.run != this.run
        and card.requests
        and card.is_simulated == this.is_simulated
        and set(card.operations) - {""} == set(this.operations) - {""}
    )
    return [card for card, _ in zip(alike, range(most), strict=False)]


def compared(this: Card, before: Sequence[Card]) -> str:
    """One sentence on how a run did beside those before it, of which the median counts.

    Empty without any.
    """
    if not before:
        return ""
    usual = median(card.wrong / card.rows if card.rows else 0.0 for card in before)
    share = this.wrong / this.rows if this.rows else 0.0
    usual_pace = median(card.rows_per_s for card in before)
    runs = f"the last {len(before)} runs" if len(before) > 1 else "the run before"
    return (
        f"{share:.1%} of the rows did not succeed, {usual:.1%} in {runs}; "
        f"{this.rows_per_s:,.1f} rows/s, {usual_pace:,.1f} then."
    )
