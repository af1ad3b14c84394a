"""One row's refusal is not the account's: rows that are refused stop nothing while others succeed.

Real runs, carried on until they are finished, against a server that judges by the id of the coupon.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import Config
from pipeline.model import Status
from pipeline.reporter import Summary
from pipeline.run import RunEnvironment, carry_out, prepare
from pipeline.runs import RunOptions, open_store
from pipeline.workers.refusals import MAX_PROBES, SUSPECTED_AFTER
from tests.http_client.servers import NO_CONTENT, Wire, reply, serving
from tests.run.test_old_rows import resume, statuses
from tests.workplace import ENVIRON, configure, coupon, drop, quick_vendors

ENDED = {"updated", "rejected", "failed"}


def refusal(status: int) -> bytes:
    body = {"statusCode": status, "errorCode": 1501, "errorMessage": "[0401-1501]: no access"}
    return reply(status, "Content-Type: application/json", body=json.dumps(body).encode())


@dataclass
class Shop:
    """A vendor of coupons.

    refused   row -> the status that its update meets, for ever
    revoked   after so many accepted updates every request meets this status
    is_well   a revocation is over
    silent    rows that get no reply
    """

    refused: dict[int, int] = field(default_factory=dict)
    revoked: tuple[int, int] = (10**9, 401)
    is_well: bool = False
    silent: Collection[int] = ()
    asked: list[int] = field(default_factory=list)
    held: dict[int, bytes] = field(default_factory=dict)
    reads: int = 0

    async def talk(self, wire: Wire) -> None:
        while True:
            request = await wire.request()
            method, path, _ = request.line.split(" ")
            row = int(unquote(path).rpartition("/c")[2])
            answer = self.read(row) if method == "GET" else self.put(row, request.body)
            if answer is None:
                await wire.hang()
                return
            await wire.say(answer)

    def put(self, row: int, body: bytes) -> bytes | None:
        self.asked.append(row)
        after, status = self.revoked
        if not self.is_well and len(self.held) >= after:
            return refusal(status)
        if row in self.silent:
            return None
        if row in self.refused:
            return refusal(self.refused[row])
        assert row not in self.held, "sent twice"
        self.held[row] = body
        return NO_CONTENT

    def read(self, row: int) -> bytes:
        self.reads += 1
        after, status = self.revoked
        if not self.is_well and len(self.held) >= after:
            return refusal(status)
        if row not in self.held:
            return reply(404, "Content-Type: application/json", body=b'{"errorCode": 9802}')
        body = json.loads(self.held[row]) | {"is_enabled": True}
        return reply(200, "Content-Type: application/json", body=json.dumps(body).encode())


async def carried_on(
    folder: Path,
    shop: Shop,
    rows: int,
    *,
    options: RunOptions | None = None,
    in_flight: int = 8,
    more: str = "",
    most: int = 0,
    after_each: Callable[[Summary], None] = lambda _summary: None,
) -> tuple[list[Summary], Config]:
    """The summaries of a run and of its resumes, until it is finished: `most` of them."""
    path = drop(folder, *map(coupon, range(1, rows + 1)))
    async with serving(shop.talk) as server:
        config = configure(
            folder, f"{server.url}/api", in_flight=in_flight, more=more, vendors=quick_vendors(1.0)
        )
        prepared = prepare(path, config, options or RunOptions(operation="xsolla.coupon"))
        found = [await carry_out(prepared, RunEnvironment(environ=ENVIRON))]
        after_each(found[0])
        while len(found) <= most and is_unfinished(found[0].run, config):
            found.append(await resume(found[0].run, config))
            after_each(found[-1])
    return found, config


def is_unfinished(run: str, config: Config) -> bool:
    found = open_store(config).runs.get(run)
    return found is not None and found.state != "reported"


def ends(summary: Summary, config: Config) -> dict[str, int]:
    return dict(Counter(statuses(summary, config).values()))


# ------------------------------------------------------------------------- rows that are refused

AT_ONCE = {
    "the-first": [1],
    "the-second": [2],
    "the-last": [60],
    "the-first-and-the-last": [1, 60],
    "the-first-twenty": range(1, 21),
    "twenty-in-the-middle": range(21, 41),
    "every-tenth": range(5, 60, 10),
    "every-third": range(3, 60, 3),
}
"""Where the refused rows of sixty are, and those that are asked show that the account works."""

FROM_A_MOMENT_ON = {
    "the-last-twenty": range(41, 61),
    "all-but-the-first-twelve": range(13, 61),
    "all-but-the-last-twelve": range(1, 49),
}
"""Here nothing succeeds any more, as if the credentials had been revoked."""


@pytest.mark.parametrize(
    ("place", "status"),
    [*((place, 403) for place in AT_ONCE), *(("every-tenth", n) for n in (401, 405, 406, 431))],
)
async def test_refused_rows_end_by_themselves_and_stop_nothing(
    tmp_path: Path, place: str, status: int
) -> None:
    shop = Shop(refused=dict.fromkeys(AT_ONCE[place], status))
    (summary,), config = await carried_on(tmp_path, shop, 60)
    refused = len(shop.refused)
    assert ends(summary, config) == {"updated": 60 - refused, "rejected": refused}
    assert summary.exit_code == 1
    assert len(shop.asked) == 60  # once each


@pytest.mark.parametrize("place", FROM_A_MOMENT_ON)
async def test_where_nothing_succeeds_any_more_few_resumes_come_to_the_end(
    tmp_path: Path, place: str
) -> None:
    shop = Shop(refused=dict.fromkeys(FROM_A_MOMENT_ON[place], 403))
    found, config = await carried_on(tmp_path, shop, 60, most=5)
    assert set(statuses(found[-1], config).values()) <= ENDED
    assert found[-1].statuses[Status.UPDATED] == 60 - len(shop.refused)
    # once by each process; which others it asks is drawn, so one of fifty runs needs a third
    assert max(Counter(shop.asked).values()) <= min(3, len(found))


@pytest.mark.parametrize("status", [404, 422])
async def test_the_brake_asks_others_before_it_is_pulled(tmp_path: Path, status: int) -> None:
    """Twenty-five discontinued coupons lead the file."""
    shop = Shop(refused=dict.fromkeys(range(1, 26), status))
    (summary,), config = await carried_on(tmp_path, shop, 60)
    assert ends(summary, config) == {"updated": 35, "rejected": 25}
    assert summary.exit_code == 1


async def test_a_wrong_project_still_stops_the_account(tmp_path: Path) -> None:
    shop = Shop(refused=dict.fromkeys(range(1, 301), 404))
    (summary,), config = await carried_on(tmp_path, shop, 300)
    assert summary.exit_code == 3
    assert len(shop.asked) <= 20 + 2 * 8 + MAX_PROBES
    assert ends(summary, config) == {
        "rejected": len(shop.asked),
        "not_attempted": 300 - len(shop.asked),
    }


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    refused=st.dictionaries(
        st.integers(1, 40), st.sampled_from([401, 403, 405, 406, 431, 404, 422]), max_size=38
    ),
    in_flight=st.sampled_from([1, 4, 16]),
)
async def test_whatever_rows_are_refused_a_run_comes_to_its_end(
    refused: dict[int, int], in_flight: int
) -> None:
    """A stop needs four refused entities, spread over the file; each resume asks others first."""
    most = 5  # the rows that are asked double each time
    with TemporaryDirectory() as folder:
        shop = Shop(refused=refused)
        found, config = await carried_on(Path(folder), shop, 40, in_flight=in_flight, most=most)
        ended = statuses(found[-1], config)
    assert set(ended.values()) <= ENDED, [each.exit_code for each in found]
    assert {row for row, status in ended.items() if status == "updated"} == set(shop.held)
    assert set(shop.held) == set(range(1, 41)) - refused.keys()
    if len(refused) <= MAX_PROBES:
        assert len(found) == 1


# ------------------------------------------------------------------------ credentials that are not


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("after", [0, 1, 37])
async def test_revoked_credentials_stop_soon_and_judge_no_row(
    tmp_path: Path, after: int, status: int
) -> None:
    shop = Shop(revoked=(after, status))

    def renewed(summary: Summary) -> None:
        assert summary.exit_code == 3
        assert len(shop.asked) <= after + SUSPECTED_AFTER + 8 + MAX_PROBES
        left = {Status.UPDATED: after, Status.NOT_ATTEMPTED: 60 - after}
        assert {status: n for status, n in summary.statuses.items() if n} == {
            status: n for status, n in left.items() if n
        }

    async with serving(shop.talk) as server:
        config = configure(tmp_path, f"{server.url}/api", in_flight=8)
        path = drop(tmp_path, *map(coupon, range(1, 61)))
        options = RunOptions(operation="xsolla.coupon")
        before = await carry_out(prepare(path, config, options), RunEnvironment(environ=ENVIRON))
        renewed(before)
        asked = len(shop.asked)
        again = await resume(before.run, config)  # nobody has renewed them yet
        assert again.exit_code == 3
        assert len(shop.asked) <= asked + max(1 + MAX_PROBES, 1 + asked - after)
        assert set(shop.asked[asked:]).isdisjoint(shop.asked[:asked])
        shop.is_well = True
        last = await resume(before.run, config)
    assert last.exit_code == 0
    assert last.statuses[Status.UPDATED] == 60
    assert set(shop.held) == set(range(1, 61))


async def test_a_file_of_refused_rows_only_comes_to_its_end(tmp_path: Path) -> None:
    shop = Shop(refused=dict.fromkeys(range(1, 13), 403))
    found, config = await carried_on(tmp_path, shop, 12, most=4)
    assert [each.exit_code for each in found] == [3, 3, 3, 1]
    assert ends(found[-1], config) == {"failed": 12}  # refused twice, and nothing else is left


async def test_a_single_refused_row_is_judged_by_the_second_process(tmp_path: Path) -> None:
    shop = Shop(refused={1: 403})
    found, config = await carried_on(tmp_path, shop, 1, most=5)
    assert [each.exit_code for each in found] == [3, 1]
    assert ends(found[-1], config) == {"failed": 1}


# --------------------------------------------------------------------------------- no reply at all


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_silent_first_row_holds_up_no_other(tmp_path: Path, attempts: int) -> None:
    shop = Shop(silent={1})
    more = f"timeout_s = 2\nattempts = {attempts}"
    (summary,), config = await carried_on(tmp_path, shop, 30, more=more)
    assert ends(summary, config)["updated"] == 29
    assert summary.exit_code == 1
    assert shop.asked.count(1) <= attempts
