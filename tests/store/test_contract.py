"""What every ledger promises, whatever keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import RowResult, RunAborted, Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import LATENCY_BOUNDS_S, Sample
from pipeline.store import LedgerError, MemoryLedger, RunLedger
from pipeline.store.contract import MAX_EXCHANGE_CHARS, Ledger
from pipeline.store.postgres.store import PgStore

LAST = 10**9


def result(row: int, status: Status = Status.UPDATED, **fields) -> RowResult:
    return RowResult(row, "xsolla.coupon", "shop", status, **fields)


def in_postgres(request: pytest.FixtureRequest) -> Ledger:
    store = PgStore(request.getfixturevalue("database"), environ={})
    request.addfinalizer(store.close)
    return store.new_ledger("monday")


@pytest.fixture(params=["file", "memory", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    make = {
        "file": lambda: RunLedger.create(tmp_path / "ledger.db"),
        "memory": MemoryLedger,
        "postgres": lambda: in_postgres(request),
    }
    each: Ledger = make[request.param]()
    yield each
    each.close()


def test_an_empty_record_has_nothing(ledger):
    assert list(ledger.results(1, LAST)) == []
    assert list(ledger.claimed()) == []
    assert set(ledger.ended([1, 2])) == set()
    assert ledger.counts() == {}
    assert list(ledger.samples()) == []


def test_results_come_back_in_row_order_however_they_ended(ledger):
    odd = result(2, Status.REJECTED, error='say "no"\n', hint="\u2028 é", receipt='{"etag": "\\""}')
    ledger.record([], [result(5), odd])
    ledger.record([], [result(9000, seconds=0.1 + 0.2, http_status=204, request_id="x")])
    ledger.record([], [result(1, Status.INVALID)])
    everything = list(ledger.results(1, LAST))
    assert everything == [
        result(1, Status.INVALID),
        odd,
        result(5),
        result(9000, seconds=0.1 + 0.2, http_status=204, request_id="x"),
    ]
    assert all(isinstance(each.status, Status) for each in everything)
    assert list(ledger.results(2, 5)) == everything[1:3]
    assert list(ledger.results(6, 8999)) == []
    assert ledger.counts() == {Status.UPDATED: 2, Status.REJECTED: 1, Status.INVALID: 1}


# half a pair as well; and often nothing, as most results of a success have it
texts = st.just("") | st.text(st.characters(codec=None) | st.just("\ud800"), max_size=12)


RESULTS = st.builds(
    RowResult,
    row=st.integers(1, 2**40),
    operation=texts,
    account=texts,
    status=st.sampled_from(Status),
    http_status=st.none() | st.integers(100, 599),
    error_code=texts,
    error=texts,
    hint=texts,
    attempts=st.integers(0, 99),
    seconds=st.floats(0, 1e6),
    request_id=texts,
    receipt=texts,
)


@given(RESULTS)
@settings(max_examples=60)
def test_a_result_comes_back_as_it_was(tmp_path_factory, each):
    with RunLedger.create(tmp_path_factory.mktemp("ledger") / "ledger.db") as ledger:
        ledger.record([], [each])
        assert list(ledger.results(each.row, each.row)) == [each]


def test_a_claim_lasts_until_the_result(ledger):
    ledger.record([3, 1, 2], [])
    assert list(ledger.claimed()) == [1, 2, 3]
    ledger.record([4], [result(2)])
    assert list(ledger.claimed()) == [1, 3, 4]
    ledger.record([1], [])  # after a kill: once more
    assert list(ledger.claimed()) == [1, 3, 4]
    ledger.record([5], [result(5)])  # both in one commit: it ended
    assert list(ledger.claimed()) == [1, 3, 4]


def test_a_claim_can_be_released_and_repeated(ledger):
    ledger.record([1, 2], [])
    ledger.release([2, 7])
    assert list(ledger.claimed()) == [1]
    ledger.record([2], [])
    assert list(ledger.claimed()) == [1, 2]


@pytest.mark.parametrize(
    ("claims", "results", "row"),
    [
        ([], [result(7), result(2, attempts=9)], 2),  # another result
        ([], [result(7), result(2)], 2),  # the very same
        ([], [result(2, Status.NOT_ATTEMPTED)], 2),  # the weaker one does not win
        ([], [result(8), result(7), result(8)], 8),  # both new
        ([9, 2], [result(7)], 2),  # would be sent again
    ],
)
def test_a_result_is_final(ledger, claims, results, row):
    ledger.record([1], [result(2), result(3)])
    with pytest.raises(LedgerError, match=f"^row {row} "):
        ledger.record(claims, results)
    assert list(ledger.results(1, LAST)) == [result(2), result(3)]
    assert list(ledger.claimed()) == [1]
    ledger.record([9], [result(7)])  # and it goes on
    assert set(ledger.ended([1, 2, 3, 7, 9])) == {2, 3, 7}


def test_a_row_that_was_not_attempted_may_still_be(ledger):
    ledger.record([], [result(row, Status.NOT_ATTEMPTED) for row in (1, 2, 3, 4)])
    assert set(ledger.ended([1, 2, 3, 4])) == set()
    ledger.record([1, 2], [result(3)])
    assert list(ledger.claimed()) == [1, 2]
    assert list(ledger.results(1, LAST)) == [result(3), result(4, Status.NOT_ATTEMPTED)]
    ledger.record([], [result(1, Status.UNKNOWN), result(4, Status.NOT_ATTEMPTED, hint="again")])
    assert list(ledger.claimed()) == [2]
    assert ledger.counts() == {Status.UNKNOWN: 1, Status.UPDATED: 1, Status.NOT_ATTEMPTED: 1}
    assert set(ledger.ended([1, 2, 3, 4])) == {1, 3}


def test_many_rows_are_read_in_pieces_and_recorded_in_between(ledger):
    """More than one chunk, and no reader holds the record back."""
    count = 10_000
    ledger.record(range(1, count + 1), [])
    claimed = ledger.claimed()
    assert next(claimed) == 1
    ledger.record([], [result(row) for row in range(count, 0, -1)])
    read = ledger.results(1, count)
    assert next(read) == result(1)
    ledger.record([count + 1], [])
    assert [each.row for each in read] == list(range(2, count + 1))
    assert set(ledger.ended(range(1, 8002))) == set(range(1, 8002))
    assert ledger.counts() == {Status.UPDATED: count}


def test_results_that_are_left_are_found_among_many(ledger):
    ledger.record([], [result(row) for row in range(1, 6000)])
    odd = [result(row, Status.UNKNOWN) for row in range(7000, 12_000)]
    ledger.record([], [*odd, result(6500, Status.NOT_ATTEMPTED), result(6600, Status.REJECTED)])
    found = list(ledger.results_left())
    assert [each.row for each in found] == [6500, *range(7000, 12_000)]


def test_samples_come_back_in_order(ledger):
    samples = [
        Sample("shop", 1_800_000_000.25, 1.0, 20, 3, 16, 0.0, (0, 4, *[0] * 34, 1)),
        Sample("billing", 1_800_000_000.25, 1.0, 0, 0, 4, 12.5, (), 20.0, 3, is_probing=True),
    ]
    ledger.sample(samples)
    ledger.sample(samples[:1])
    assert list(ledger.samples()) == [*samples, samples[0]]


def exchange(row: int, status: Status = Status.REJECTED, reply: str = "HTTP 422") -> Exchange:
    return Exchange(row, status, "0401", "curl -X PUT https://a.example/\u2028é", reply)


def test_exchanges_come_with_the_results_of_their_rows(ledger):
    odd = exchange(9, Status.UNKNOWN, "no\n\ud800")
    ledger.record([], [result(9, Status.UNKNOWN), result(2, Status.REJECTED)], [odd, exchange(2)])
    ledger.record([], [result(3)])
    assert list(ledger.exchanges()) == [exchange(2), odd]
    assert list(ledger.exchanges(9)) == [odd]
    assert list(ledger.exchanges(3)) == []
    assert all(isinstance(each.status, Status) for each in ledger.exchanges())
    with pytest.raises(LedgerError):  # nor is an exchange kept of what is not
        ledger.record([], [result(4), result(3)], [exchange(4)])
    assert list(ledger.exchanges(4)) == []


def test_exchanges_of_a_run_are_bounded(ledger):
    big = "x" * (MAX_EXCHANGE_CHARS // 4)
    for row in range(1, 6):
        ledger.record([], [result(row, Status.FAILED)], [exchange(row, reply=big)])
    assert [each.row for each in ledger.exchanges()] == [1, 2, 3]
    ledger.record([], [result(7, Status.FAILED)], [exchange(7)])  # there is room for a small one
    assert [each.row for each in ledger.exchanges()] == [1, 2, 3, 7]


def test_previous_states_come_with_the_claims_of_their_rows(ledger):
    assert not ledger.has_previous_states()
    ledger.record([1, 2], [], [], [(1, '{"é": "\\ud800"}'), (2, "old")])
    ledger.record([2], [result(1)], [], [(2, "newer")])
    assert ledger.has_previous_states()
    assert ledger.previous_states([2, 1, 3]) == {1: '{"é": "\\ud800"}', 2: "newer"}
    assert ledger.previous_states([]) == {}
    with pytest.raises(LedgerError):  # nor is a state kept of what is not
        ledger.record([], [result(1)], [], [(4, "old")])
    assert ledger.previous_states([4]) == {}


def test_a_ledger_error_ends_a_run():
    assert issubclass(LedgerError, RunAborted)


def test_latency_bounds_rise_evenly_and_reach_beyond_the_timeouts():
    ratios = [above / below for below, above in pairwise(LATENCY_BOUNDS_S)]
    assert LATENCY_BOUNDS_S[0] == 0.001
    assert LATENCY_BOUNDS_S[-1] > 120
    assert all(1.35 < ratio < 1.45 for ratio in ratios)


def test_a_leg_replaces_its_earlier_entry(ledger):
    first = Leg(1, "shop", began_at_s=10.0, last_at_s=11.0, requests=5)
    other = Leg(1, "journey", began_at_s=10.0, last_at_s=11.0, requests=2, retries=1)
    ledger.sample([], [first, other])
    ledger.sample([], [first._replace(last_at_s=12.0, requests=9, is_over=True)])
    ledger.sample([], [Leg(2, "shop", began_at_s=20.0, last_at_s=20.0)])
    assert ledger.legs() == [
        other,
        first._replace(last_at_s=12.0, requests=9, is_over=True),
        Leg(2, "shop", began_at_s=20.0, last_at_s=20.0),
    ]
