"""An account that is sent in shares is one account to whoever looks at it."""

from __future__ import annotations

from dataclasses import replace

from pipeline.model import AccountProgress, Status
from pipeline.model.progress import RecentError
from pipeline.model.quota import Quota
from pipeline.run.account_shares import whole_progress
from tests.workers.drive import ACCOUNT

WHOLE = replace(ACCOUNT, quotas=(Quota(10, 1.0),), shares=2)
ONE = AccountProgress(
    account=WHOLE.name,
    rows=40,
    done={Status.UPDATED: 3},
    done_before={Status.REJECTED: 1},
    sent=5,
    retries=1,
    sending_s=2.0,
    in_flight=1,
    in_flight_limit=4,
    retrying=2,
    pause_left_s=0.0,
    quota="5/s",
    quota_per_s=5.0,
    rate_per_s=5.0,
    recent_errors=(RecentError("http_503", "no", 2),),
)
OTHER = replace(
    ONE,
    done={Status.UPDATED: 4, Status.FAILED: 1},
    done_before={},
    sending_s=1.0,
    pause_left_s=7.0,
    rate_per_s=2.5,
    is_probing=True,
    stopped="the vendor is down",
    recent_errors=(RecentError("http_429", "slow", 1), RecentError("http_503", "no", 3)),
)


def test_the_progress_of_shares_adds_up_to_that_of_the_account():
    assert whole_progress(WHOLE, [ONE, OTHER], 40) == AccountProgress(
        account=WHOLE.name,
        rows=40,
        done={Status.UPDATED: 7, Status.FAILED: 1},
        done_before={Status.REJECTED: 1},
        sent=10,
        retries=2,
        sending_s=2.0,
        in_flight=2,
        in_flight_limit=8,
        retrying=4,
        pause_left_s=7.0,
        quota="10/s",
        quota_per_s=10.0,
        rate_per_s=7.5,
        is_probing=True,
        stopped="the vendor is down",
        recent_errors=(RecentError("http_503", "no", 5), RecentError("http_429", "slow", 1)),
    )


def test_a_share_that_nobody_sends_adds_nothing_to_the_rate():
    assert whole_progress(WHOLE, [ONE, replace(OTHER, rate_per_s=0.0)], 40).rate_per_s == 5.0


def test_without_a_bound_there_is_none_for_the_whole():
    parts = [replace(each, rate_per_s=0.0) for each in (ONE, OTHER)]
    assert whole_progress(WHOLE, parts, 40).rate_per_s == 0.0
