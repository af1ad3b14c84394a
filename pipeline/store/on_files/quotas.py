"""What quota groups have sent, on files.

Send times are recorded in seconds since the machine booted, with the name of the boot and the wall
clock time of the entry; pauses in UTC seconds since 1970.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.store.database import damaged, sum_of
from pipeline.store.on_files.boot_clock import Moment, age_s
from pipeline.store.on_files.registry_file import RegistryFile
from pipeline.store.seam import Departed, StoredPause

_FORGET = """
DELETE FROM departures WHERE quota_group = ?
AND ((boot = ? AND last_s < ?) OR (boot <> ? AND noted_utc_s < ?))
"""
_LEFT = """
INSERT INTO departures
(quota_group, boot, noted_s, noted_utc_s, last_s, under_way, times, counts, checksum)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SINCE = """
SELECT number, checksum, quota_group, boot, noted_s, noted_utc_s, last_s, under_way, times, counts
FROM departures WHERE quota_group = ? AND number > ? ORDER BY number
"""
_PAUSE = """
INSERT INTO pauses VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (quota_group)
DO UPDATE SET until_s = excluded.until_s, asked_s = excluded.asked_s, run = excluded.run,
words = excluded.words, checksum = excluded.checksum WHERE excluded.until_s > until_s
"""
_PAUSES = """
SELECT quota_group, until_s, asked_s, run, words, checksum FROM pauses
WHERE substr(quota_group, 1, ?) = ?
"""


class FileQuotas:
    """The use of quotas in a file.

    now  reads all clocks
    """

    def __init__(self, file: RegistryFile, now: Callable[[], Moment]) -> None:
        self._file = file
        self._now = now

    def left(
        self,
        group: str,
        counts: Sequence[tuple[float, int]],
        *,
        under_way: int,
        forget_s: float,
    ) -> int:
        """Record requests that left; the number of the entry, 0 if there is nothing to record."""
        if not counts and not under_way:
            return 0
        now = self._now()
        times = [now.boot_s - seconds for seconds, _ in counts]
        forgotten = group, now.boot, now.boot_s - forget_s, now.boot, now.utc_s - forget_s
        values = (
            *(group, *now, max(times, default=now.boot_s), under_way),
            struct.pack(f"<{len(times)}d", *times),
            struct.pack(f"<{len(times)}I", *(count for _, count in counts)),
        )
        with self._file.commit() as connection:
            connection.execute(_FORGET, forgotten)
            number = connection.execute(_LEFT, (*values, sum_of(values))).lastrowid
        return int(number or 0)

    def since(self, group: str, *, after: int) -> list[Departed]:
        """The entries with a higher number than `after`, in the order in which they were made."""
        now = self._now()
        return [self._departed(line, now) for line in self._file.rows(_SINCE, (group, after))]

    def _departed(self, line: Sequence[Any], now: Moment) -> Departed:
        number, checksum, *values = line
        summed = values[:-1] if values[-1] is None else values  # earlier versions counted none
        if checksum is not None and checksum != sum_of(summed):
            raise self._damaged_times()
        _group, boot, noted_s, noted_utc_s, _last_s, under_way, packed, packed_counts = values
        times = self._unpacked("d", 8, packed)
        counts = (1,) * len(times)
        if packed_counts is not None:
            counts = self._unpacked("I", 4, packed_counts)
        if len(counts) != len(times):
            raise self._damaged_times()
        noted = Moment(boot, noted_s, noted_utc_s)
        ages_s = [age_s(at_s, noted, now) for at_s in times]
        return Departed(number, tuple(zip(ages_s, counts, strict=True)), under_way)

    def _unpacked(self, kind: str, size: int, packed: bytes) -> tuple[Any, ...]:
        try:
            return struct.unpack(f"<{len(packed) // size}{kind}", packed)
        except (struct.error, TypeError) as error:
            raise self._damaged_times() from error

    def _damaged_times(self) -> Exception:
        return damaged(self._file.path, "send times are not what was written")

    def pause(self, group: str, pause: StoredPause) -> None:
        """Record a pause, unless a longer one is on record."""
        now_s = self._now().utc_s
        asked_s = 0.0 if pause.age_s == math.inf else now_s - pause.age_s
        line = group, now_s + pause.left_s, asked_s, pause.run, pause.words
        with self._file.commit() as connection:
            connection.execute(_PAUSE, (*line, sum_of(line)))

    def pauses(self, prefix: str) -> dict[str, StoredPause]:
        """The last pause of each group whose name begins so; they may be over."""
        return dict(self._pauses(prefix))

    def _pauses(self, prefix: str) -> Iterator[tuple[str, StoredPause]]:
        now_s = self._now().utc_s
        for *line, checksum in self._file.rows(_PAUSES, (len(prefix), prefix)):
            if checksum is not None and checksum != sum_of(line):
                raise damaged(self._file.path, "a pause is not what was written")
            group, until_s, asked_s, run, words = line
            yield group, _pause(until_s, asked_s, now_s)._replace(run=run, words=words)

    def lift_pause(self, group: str) -> StoredPause | None:
        """Remove the pause of a group and return it; None if there is none."""
        lifted = self.pauses(group).get(group)
        if lifted is not None:
            with self._file.commit() as connection:
                connection.execute("DELETE FROM pauses WHERE quota_group = ?", (group,))
        return lifted


def _pause(until_s: float, asked_s: float, now_s: float) -> StoredPause:
    """A pause at `now_s`, by the wall clock; a clock that was set back makes no pause longer.

    asked_s  0 if unknown

    >>> _pause(130.0, 100.0, 110.0)
    StoredPause(left_s=20.0, age_s=10.0, run='', words='')
    >>> _pause(130.0, 100.0, 0.0)
    StoredPause(left_s=30.0, age_s=0.0, run='', words='')
    >>> _pause(130.0, 0.0, 110.0).age_s
    inf
    """
    left_s = until_s - now_s
    if not asked_s:
        return StoredPause(left_s, math.inf)
    return StoredPause(min(left_s, until_s - asked_s), max(0.0, now_s - asked_s))
