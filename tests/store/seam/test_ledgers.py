"""Records of a run and of its shares: who may write, and what is read together."""

from __future__ import annotations

import pytest

from pipeline.model import Status
from pipeline.model.exchange import Exchange
from pipeline.model.leg import Leg
from pipeline.model.sample import Sample
from pipeline.store import LedgerError
from pipeline.store.seam import LeaseLostError, LostRecordError, Share, run_lease, share_lease
from tests.store.seam.conftest import began, result

LAST = 10**9
SHARES = [Share("shop", number, 2) for number in (0, 1)]


@pytest.fixture
def held(store):
    """The lease of a run that began."""
    began(store)
    with store.lease(run_lease("monday")) as lease:
        assert lease.take()
        yield lease


@pytest.fixture
def parts(store):
    """The leases of both shares of a run that began."""
    began(store)
    store.runs.share("monday", SHARES)
    leases = [store.lease(share_lease("monday", share)) for share in SHARES]
    assert all(lease.take() for lease in leases)
    yield leases
    for lease in leases:
        lease.release()


def test_what_is_recorded_is_read_in_another_process(store, other, held):
    with store.ledger("monday", None, held) as ledger:
        ledger.record([1, 2], [result(1)], [], [(2, "old")])
    with other.ledger("monday", None, None) as ledger:
        assert list(ledger.results(1, LAST)) == [result(1)]
        assert list(ledger.claimed()) == [2]
        assert ledger.previous_states([1, 2]) == {2: "old"}


def test_a_commit_that_is_repeated_counts_once(store, held):
    """The answer to the first one may have been lost."""
    with store.ledger("monday", None, held) as ledger:
        ledger.record([1, 2], [])
        ledger.record([1, 2], [])
        assert list(ledger.claimed()) == [1, 2]
        ledger.record([], [result(1)])
        with pytest.raises(LedgerError):
            ledger.record([], [result(1, http_status=500)])
        assert ledger.counts() == {Status.UPDATED: 1}


def test_a_record_that_was_opened_to_read_is_not_written(store, held):
    with store.ledger("monday", None, None) as ledger, pytest.raises(LedgerError):
        ledger.record([1], [])
    with store.ledger("monday", None, held) as ledger:
        assert list(ledger.claimed()) == []


def test_a_lost_lease_records_nothing(store, other, held):
    with store.ledger("monday", None, held) as ledger:
        ledger.record([1], [])
        held.release()
        with other.lease(run_lease("monday")) as taken:
            assert taken.take()
            for record in (lambda: ledger.record([2], [result(1)]), lambda: ledger.release([1])):
                with pytest.raises(LeaseLostError):
                    record()
    with other.ledger("monday", None, None) as ledger:
        assert list(ledger.claimed()) == [1]
        assert list(ledger.results(1, LAST)) == []


def test_a_record_is_made_once(store, held):
    with pytest.raises(LedgerError.__base__):
        store.new_ledger("monday").__enter__()


def test_a_run_without_a_record_is_missed(store):
    store.files("monday").make_folder()
    with pytest.raises(LostRecordError):
        store.ledger("monday", None, None).__enter__()


def test_a_record_that_lost_commits_is_noticed(store, held):
    with store.ledger("monday", None, held) as ledger:
        ledger.record([1], [])
        commits = ledger.commits
    with pytest.raises(LostRecordError):
        store.ledger("monday", None, held, commits=commits + 1).__enter__()


def test_results_of_all_shares_are_read_in_row_order(store, other, parts):
    states = [(1, "one")]
    with store.ledger("monday", SHARES[0], parts[0]) as first:
        first.record([1, 4, 7], [result(1), result(4, Status.NOT_ATTEMPTED)], [], states)
        with other.ledger("monday", SHARES[1], parts[1]) as second:  # at the same time
            odd = Exchange(3, Status.REJECTED, "0401", "curl", "HTTP 422")
            second.record([3, 2], [result(3, Status.REJECTED)], [odd])
            second.record([8], [result(2)])
            assert list(second.claimed()) == [8]
        assert list(first.claimed()) == [7]
    with store.ledger("monday", None, None) as whole:
        assert [each.row for each in whole.results(1, LAST)] == [1, 2, 3, 4]
        assert [each.row for each in whole.results(2, 3)] == [2, 3]
        assert list(whole.claimed()) == [7, 8]
        assert set(whole.ended([1, 2, 3, 4, 7])) == {1, 2, 3}
        assert whole.counts() == {
            Status.UPDATED: 2,
            Status.REJECTED: 1,
            Status.NOT_ATTEMPTED: 1,
        }
        assert [each.row for each in whole.exchanges()] == [3]
        assert [each.row for each in whole.exchanges(3)] == [3]
        assert whole.has_previous_states()
        assert whole.previous_states([1, 2]) == {1: "one"}


def test_rows_of_the_run_itself_are_read_with_those_of_its_shares(store, parts):
    with store.lease(run_lease("monday")) as lease:
        assert lease.take()
        with store.ledger("monday", None, lease) as own:
            own.record([], [result(5, Status.INVALID)])
    with store.ledger("monday", SHARES[0], parts[0]) as share:
        share.record([], [result(9), result(1)])
    with store.ledger("monday", None, None) as whole:
        assert [each.row for each in whole.results(1, LAST)] == [1, 5, 9]
        assert whole.counts() == {Status.INVALID: 1, Status.UPDATED: 2}


def test_of_a_share_is_read_what_it_and_the_whole_run_recorded(store, parts):
    with store.lease(run_lease("monday")) as lease:
        assert lease.take()
        with store.ledger("monday", None, lease) as own:
            own.record([8, 9], [result(5, Status.UNKNOWN), result(2, Status.NOT_ATTEMPTED)])
    for share, lease, row in zip(SHARES, parts, (1, 3), strict=True):
        with store.ledger("monday", share, lease) as ledger:
            ledger.record([row, 10 + row], [result(row)])
    with store.ledger("monday", SHARES[1], parts[1]) as ledger:
        ledger.record([], [result(2)])
    with store.ledger("monday", SHARES[1], None) as known:
        assert [each.row for each in known.results(1, LAST)] == [2, 3, 5]
        assert list(known.claimed()) == [8, 9, 13]
        assert set(known.ended([2, 3, 5, 8])) == {2, 3, 5}
        assert known.counts() == {Status.UPDATED: 2, Status.UNKNOWN: 1}
        assert [each.row for each in known.results_left()] == [5]
    with store.ledger("monday", None, None) as whole:
        assert [each.row for each in whole.results_left()] == [5]


def test_a_share_does_not_record_without_its_lease(store, other, parts):
    with store.ledger("monday", SHARES[0], parts[0]) as ledger:
        parts[0].release()
        with other.lease(share_lease("monday", SHARES[0])) as taken:
            assert taken.take()
            with pytest.raises(LeaseLostError):
                ledger.record([1], [])


def test_samples_and_legs_of_all_shares_are_read_by_time(store, parts):
    def sample(at_s: float) -> Sample:
        return Sample("shop", at_s, 1.0, 20, 3, 16, 0.0, (0, 1))

    with store.ledger("monday", SHARES[0], parts[0]) as ledger:
        ledger.sample([sample(1.0), sample(3.0)], [Leg(1, "shop", 1.0, 2.0, requests=5)])
    with store.ledger("monday", SHARES[1], parts[1]) as ledger:
        ledger.sample([sample(2.0)], [Leg(2, "shop", 1.5, 2.0, requests=7)])
    with store.ledger("monday", None, None) as whole:
        assert [each.at_s for each in whole.samples()] == [1.0, 2.0, 3.0]
        assert [each.requests for each in whole.legs()] == [5, 7]
    recent = store.recent_samples("monday", "shop", most=2)
    assert [each.at_s for each in recent] == [3.0, 2.0]


def test_estimates_read_a_record_without_checking_it(store, parts):
    with store.ledger("monday", SHARES[0], parts[0]) as ledger:
        ledger.record([7], [result(1), result(2, Status.NOT_ATTEMPTED)])
        assert store.ended_among("monday", [1, 2, 7]) == {1}
    assert store.ended_among("tuesday", [1]) == set()
    assert store.recent_samples("tuesday", "shop", most=2) == []
