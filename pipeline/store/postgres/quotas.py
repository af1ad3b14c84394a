"""What quota groups have sent, and their pauses, in ages by the database's clock.

An age is known to be right or too young: on the way to the database and back it grows by itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from pipeline.store.database import sum_of
from pipeline.store.postgres.connections import PgConnections, PgRow, damaged
from pipeline.store.postgres.text import stored, unstored
from pipeline.store.seam import Departed, StoredPause

_LONGEST_S = 1e9  # decades; a longer interval is beyond the database's times

_SINCE = """
select number, extract(epoch from clock_timestamp() - noted)::float8, under_way, ages_s, counts,
    checksum
from pipeline.departures where quota_group = %s and number > %s order by number
"""
_PAUSE = """
insert into pipeline.pauses as p values (
    %s, clock_timestamp() + make_interval(secs => %s),
    clock_timestamp() - make_interval(secs => %s), %s, %s
) on conflict (quota_group) do update set until = excluded.until, asked = excluded.asked,
    checksum = excluded.checksum, record = excluded.record where excluded.until > p.until
"""
_PAUSES = """
select quota_group, extract(epoch from until - clock_timestamp())::float8,
    extract(epoch from clock_timestamp() - asked)::float8, checksum, record
from pipeline.pauses where starts_with(quota_group, %s)
"""
_LIFT = """
delete from pipeline.pauses where quota_group = %s
returning quota_group, extract(epoch from until - clock_timestamp())::float8,
    extract(epoch from clock_timestamp() - asked)::float8, checksum, record
"""


class PgQuotas:
    """The use of quotas."""

    def __init__(self, connections: PgConnections) -> None:
        self._connections = connections

    def left(
        self,
        group: str,
        counts: Sequence[tuple[float, int]],
        *,
        under_way: int,
        forget_s: float,
    ) -> int:
        """Record an entry. If the answer is lost it may be there twice: the quota is used less."""
        if not counts and not under_way:
            return 0
        ages_s = [max(-_LONGEST_S, min(float(age_s), _LONGEST_S)) for age_s, _ in counts]
        numbers = [number for _, number in counts]
        needed_s = min([*ages_s, *([0.0] if under_way else [])])
        values = (
            *(stored(group), ages_s, numbers, under_way, needed_s, min(forget_s, _LONGEST_S)),
            _sum_of_entry(group, ages_s, numbers, under_way),
        )
        function = "pipeline.left_requests(%s, %s::float8[], %s::int[], %s, %s, %s, %s)"
        return int(self._connections.call(function, values))

    def since(self, group: str, *, after: int) -> list[Departed]:
        """The entries after a number."""
        found = self._connections.rows(_SINCE, (stored(group), after))
        return [self._departed(group, row) for row in found]

    def _departed(self, group: str, row: PgRow) -> Departed:
        number, noted_s, under_way, ages_s, counts, checksum = row
        if _sum_of_entry(group, ages_s, counts, under_way) != checksum:
            raise damaged(self._connections.address, "send times are not what was written")
        pairs = ((noted_s + age_s, count) for age_s, count in zip(ages_s, counts, strict=True))
        return Departed(number, tuple(sorted(pairs, reverse=True)), under_way)

    def pause(self, group: str, pause: StoredPause) -> None:
        """Record a pause, unless a longer one is on record."""
        left_s = max(-_LONGEST_S, min(pause.left_s, _LONGEST_S))
        age_s = None if math.isinf(pause.age_s) else min(pause.age_s, _LONGEST_S)
        record = json.dumps([pause.run, pause.words])
        values = (stored(group), left_s, age_s, sum_of([group, record]), record)
        self._connections.change(_PAUSE, values)

    def pauses(self, prefix: str) -> dict[str, StoredPause]:
        """The pauses of the groups whose names begin so."""
        found = self._connections.rows(_PAUSES, (stored(prefix),))
        return {unstored(row[0]): self._pause(*row) for row in found}

    def lift_pause(self, group: str) -> StoredPause | None:
        """Remove a pause."""
        found = self._connections.change(_LIFT, (stored(group),))
        return self._pause(*found[0]) if found else None

    def _pause(
        self, group: str, left_s: float, age_s: float | None, checksum: int, record: str
    ) -> StoredPause:
        if sum_of([unstored(group), record]) != checksum:
            raise damaged(self._connections.address, "a pause is not what was written")
        run, words = json.loads(record)
        return StoredPause(left_s, math.inf if age_s is None else age_s, run, words)


def _sum_of_entry(
    group: str, ages_s: Sequence[float], counts: Sequence[int], under_way: int
) -> int:
    entry: list[Any] = [group, *ages_s, *counts, under_way]
    return sum_of(entry)
