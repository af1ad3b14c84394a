"""Whatever a vendor's headers say: the wait is at most max_wait_s, or the account stops."""

from __future__ import annotations

from dataclasses import replace

import anyio
from hypothesis import given
from hypothesis import strategies as st

from pipeline.model import Reply
from pipeline.model.quota import Quota
from pipeline.pacing.account_limiter import AccountLimiter, Permit
from pipeline.pacing.limiter import RateLimiter
from pipeline.pacing.limiter_settings import LimiterSettings
from pipeline.pacing.pause_handler import PauseHandler
from pipeline.vendors.kit.classify import classify_read
from tests.vendors.kit.test_numbers import MEMBERS, NAMES, NOW_S, ODD
from tests.workers.drive import ACCOUNT

REPLIES = st.builds(
    Reply,
    st.sampled_from([204, 429, 503]),
    st.dictionaries(st.sampled_from(["retry-after", *NAMES]), st.one_of(ODD, MEMBERS)),
    st.just(b""),
    received_s=st.just(NOW_S),
    came_s=st.just(0.0),
)


@given(st.lists(REPLIES, min_size=1, max_size=6), st.floats(0.5, 2000.0), st.booleans())
def test_nothing_waits_longer_than_the_account_does(replies, max_wait_s, is_learned):
    stopped: list[str] = []

    async def main() -> None:
        quotas = () if is_learned else (Quota(1000, 1.0),)
        terms = LimiterSettings(quotas=quotas, starts_per_s=10.0, max_wait_s=max_wait_s)
        limiter = RateLimiter(terms, clock=lambda: 1000.0, utc=lambda: NOW_S)
        account = replace(ACCOUNT, max_wait_s=max_wait_s)
        handler = PauseHandler(account, stopped.append, lambda _words: None)
        with limiter.watched(handler.on_pause):
            for reply in replies:
                permit = Permit(AccountLimiter(limiter), limiter._count_sent(), 1000.0, None)
                permit.on_reply(reply)
                permit.on_answer(classify_read(reply))
                if stopped:
                    return
                assert limiter.pause.left_s <= max_wait_s + 1e-6  # UTC seconds are no finer
                assert limiter.per_second * max_wait_s * (1 + 1e-9) >= min(
                    1.0, 10.0 * max_wait_s / 100
                )

    anyio.run(main)
    assert all("pipeline runs --lift-pause" in words for words in stopped)
