"""A run waits until shortly before its time."""

from __future__ import annotations

from pipeline.model import ConfigError, Fault
from pipeline.pacing.account_limiter import AccountLimiter
from pipeline.run.execute import RunEnvironment
from pipeline.run.prepare import Prepared
from pipeline.run.schedule_window import READY_AHEAD_S
from pipeline.run.session import RunOutcome
from pipeline.workers.tokens import REFUSED, sign_in_ahead


async def await_turn(prepared: Prepared, way: RunEnvironment, sent: RunOutcome) -> bool:
    """Wait until shortly before a run begins; False where it is called off.

    Raises ConfigError where an account is refused now: whoever set the time may still be there.
    """
    if way.window.start_at is None or prepared.refusal is not None:
        return True
    for name in prepared.bound.jobs:
        account = prepared.config.account(name, way.environ)
        limiter = way.shared.limiter(account, prepared.config)
        account_limiter = AccountLimiter(limiter, prepared.run, announce=way.tell)
        async with way.open_link(account, account_limiter) as send:
            refused = await sign_in_ahead(send)
        if refused is not None and refused.reason == REFUSED:
            raise ConfigError([Fault(what=f"account {name} cannot sign in: {refused.detail}")])
    return await way.await_start(sent, ahead_s=READY_AHEAD_S)
