"""The progress of a run: a live table on a terminal, else plain lines.

Both only read. They call `poll` from their own thread a few times a second, so it must be cheap and
thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.model import AccountProgress, RecentError
from pipeline.model.formatting import about, compact, counted, number, one_line
from pipeline.ui.terminal.pace import Pace, Paces, Throughput, sparkline, total
from pipeline.ui.terminal.printable import Printable

REFRESH_PER_S = 5
PLAIN_EVERY_S = 10.0
PLAIN_AT_LEAST_S = 60.0
SHOWN_ERRORS = 5
_BAR_CHARS = 24
_CODE_CHARS = 20
_NAME_CHARS = 24
_CLEARLY = 0.99  # share of the quota; a lower rate is remarked on

Poll = Callable[[], Sequence[AccountProgress]]
Clock = Callable[[], float]


class LiveDisplay:
    """A live table on a terminal, shown while its block runs.

    clock  monotonic, in seconds
    """

    def __init__(self, console: Console, poll: Poll, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._poll = poll
        self._clock = clock
        self._paces = Paces()
        self._throughput = Throughput()
        self._shown = Group()
        self._live = Live(
            console=console,
            get_renderable=lambda: Printable(self._render()),
            refresh_per_second=REFRESH_PER_S,
            transient=True,
            redirect_stdout=False,  # a program may read it
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def _render(self) -> Group:
        try:
            progress = tuple(self._poll())
        except RuntimeError:  # the workers changed a dict meanwhile; the next poll will do
            return self._shown
        now_s = self._clock()
        paces = self._paces.at(now_s, progress)
        self._throughput.look(now_s, sum(each.sent for each in progress))
        self._shown = live_view(paces, tuple(self._throughput.marks), self._console.width)
        return self._shown


class PlainDisplay:
    """A line per account with progress, every `every_s` seconds, while its block runs.

    A waiting account gets a line a minute.
    """

    def __init__(
        self,
        console: Console,
        poll: Poll,
        clock: Clock = time.monotonic,
        every_s: float = PLAIN_EVERY_S,
    ) -> None:
        self._console = console
        self._poll = poll
        self._clock = clock
        self._every_s = every_s
        self._paces = Paces()
        self._last: dict[str, tuple[int, int, str | None]] = {}
        self._line_s: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._update()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every_s):
            self._update()

    def _update(self) -> None:
        try:
            progress = tuple(self._poll())
        except RuntimeError:  # the workers changed a dict meanwhile; the next poll will do
            return
        now_s = self._clock()
        for pace in self._paces.at(now_s, progress):
            self._print(pace, now_s)

    def _print(self, pace: Pace, now_s: float) -> None:
        name, stopped = pace.progress.account, pace.progress.stopped
        now = (pace.done, pace.progress.sent, stopped)
        before = self._last.get(name, (0, 0, None))
        self._last[name] = now
        waits = stopped is None and pace.done < pace.progress.rows
        is_due = now_s >= self._line_s.setdefault(name, now_s) + PLAIN_AT_LEAST_S
        if now != before or (waits and is_due):
            self._line_s[name] = now_s
            self._console.print(Text(plain_line(pace)), soft_wrap=True)


def live_view(paces: Sequence[Pace], marks: Sequence[float], width: int) -> Group:
    """The table; below it the total progress, recent throughput and recent errors.

    marks  recent requests per second, oldest first
    """
    return Group(live_table(paces), *_course(paces, marks, width), *_recent_errors(paces))


def _course(paces: Sequence[Pace], marks: Sequence[float], width: int) -> Iterator[RenderableType]:
    every = total(paces)
    if every.progress.rows:
        bar = ProgressBar(every.progress.rows, every.done, width=min(_BAR_CHARS, width // 3))
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_row(bar, _share(every), Text(sparkline(marks)), _busiest(marks))
        yield line


def _share(every: Pace) -> Text:
    """Share done, rounded down, so 100 % means all."""
    return Text(f"{100 * every.done // every.progress.rows} %")


def _busiest(marks: Sequence[float]) -> Text:
    return Text(f"up to {_per_s(max(marks))}/s" if any(marks) else "", style="dim")


def _recent_errors(paces: Sequence[Pace]) -> Iterator[RenderableType]:
    ranks = zip_longest(
        *(pace.progress.recent_errors for pace in paces)
    )  # newest of each account first
    names = [pace.progress.account for pace in paces]
    found = [pair for rank in ranks for pair in zip(names, rank, strict=True) if pair[1]]
    if not found:
        return
    lines = [
        _error_cells(name if len(paces) > 1 else "", each) for name, each in found[:SHOWN_ERRORS]
    ]
    times, codes, _ = ([len(cell) for cell in column] for column in zip(*lines, strict=True))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True, width=max(times))
    table.add_column(no_wrap=True, width=min(max(codes), _CODE_CHARS))
    table.add_column()  # shrinks first
    for line in lines:
        shown = (Text(cell, style="dim", no_wrap=True, overflow="ellipsis") for cell in line)
        table.add_row(*shown)
    yield Text("recent errors", style="dim")
    yield table


def _error_cells(name: str, error: RecentError) -> tuple[str, str, str]:
    words = f"{name}: {error.words}" if name else error.words
    return f"{compact(error.times)}x", one_line(error.code), one_line(words)


def live_table(paces: Sequence[Pace]) -> Group:
    """A line per account, a total, and remarks on slow accounts; fits 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("account", max_width=_NAME_CHARS)  # shrinks first
    for heading in ("rows done", "wrong", "requests/s", "in flight", "retrying", "time left"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pace in paces:
        table.add_row(*_cells(pace))
    if len(paces) != 1:
        table.add_row(*_cells(total(paces)), style="bold")
    return Group(table, *_notes(paces))


def plain_line(pace: Pace) -> str:
    """One account as a line of a log."""
    account = pace.progress
    parts = [
        f"{number(pace.done)} of {counted(account.rows, 'row')} done",
        f"{number(pace.wrong)} wrong" if pace.wrong else "",
        f"{_rate(pace, ' of ')} requests/s",
        f"{account.in_flight} of {account.in_flight_limit} in flight" if account.in_flight else "",
        f"{number(account.retrying)} retrying" if account.retrying else "",
        _state(pace),
        *(() if account.stopped is not None else _remarks(account)),
        f"stopped: {one_line(account.stopped)}" if account.stopped is not None else "",
    ]
    return f"{one_line(account.account)}: {', '.join(filter(None, parts))}"


def _cells(pace: Pace) -> tuple[Text, ...]:
    account = pace.progress
    return (
        Text(one_line(account.account), no_wrap=True, overflow="ellipsis"),
        Text(f"{compact(pace.done)}/{compact(account.rows)}"),
        Text(compact(pace.wrong), style="yellow" if pace.wrong else "dim"),
        Text(_rate(pace, "/")),
        Text(f"{account.in_flight}/{account.in_flight_limit}"),
        Text(compact(account.retrying), style="" if account.retrying else "dim"),
        Text("stopped" if account.stopped is not None else _state(pace).removesuffix(" left")),
    )


def _notes(paces: Sequence[Pace]) -> Iterator[Text]:
    for pace in paces:
        name, why = pace.progress.account, pace.progress.stopped
        if why is not None:
            yield Text(f"{one_line(name)} stopped: {one_line(why)}", style="yellow")
            continue
        for remark in _remarks(pace.progress):
            yield Text(f"{one_line(name)}: {remark}", style="dim")


def _remarks(account: AccountProgress) -> Iterator[str]:
    """Reasons why an account is slow."""
    if account.is_probing:
        yield "the vendor is down; probing with one request at a time"
    if 0 < account.rate_per_s < _CLEARLY * account.quota_per_s:
        yield f"below its quota of {_per_s(account.quota_per_s)}/s"
    if account.quota and not account.quota_per_s:
        yield "learning its quota"
    if account.is_held_up:
        yield "reading is paused: too many rows wait for others"


def _rate(pace: Pace, between: str) -> str:
    most = pace.progress.rate_per_s or pace.progress.quota_per_s
    return _per_s(pace.sent_per_s) + (f"{between}{_per_s(most)}" if most else "")


def _per_s(rate: float) -> str:
    return f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}"  # noqa: PLR2004 - three digits will do


def _state(pace: Pace) -> str:
    account = pace.progress
    if account.stopped is not None:
        return ""
    if account.is_probing:
        return "probing"
    if account.pause_left_s > 0:
        return f"pause {about(account.pause_left_s)}"
    if pace.done >= account.rows:
        return "done"
    return "" if pace.left_s is None else f"{about(pace.left_s)} left"
