"""Turns dates, certificates and replies into findings. Pure."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from pipeline.doctor.finding import Finding, Level
from pipeline.model import NoReply, Reply
from pipeline.vendors.kit.account import Account
from pipeline.vendors.kit.classify import classify_read
from pipeline.vendors.kit.contract import Probed

CLOCK_DOUBTFUL_S = 5.0  # `Date` has whole seconds, and a reply takes some
CLOCK_WRONG_S = 300.0  # the most that signed tokens tolerate
CERTIFICATE_SOON_S = 14 * 86_400.0
SET_CLOCK = "Set the clock of this machine, for example: timedatectl set-ntp true"


def judge_clock(date: str | None, here_s: float, account: str) -> Finding | None:
    """Compare our clock with the vendor's; None if the reply has no valid `Date`.

    date    the header `Date` of a reply
    here_s  time of arrival by our clock, UTC seconds since 1970

    >>> judge_clock("Thu, 01 Jan 1970 00:10:00 GMT", 0.0, "shop").what
    'this clock is 600 s behind that of the vendor'
    """
    try:
        there = parsedate_to_datetime(date or "")
        there_s = (there if there.tzinfo else there.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    off_s = there_s - here_s
    if abs(off_s) <= CLOCK_DOUBTFUL_S:
        what = f"agrees with that of the vendor within {CLOCK_DOUBTFUL_S:.0f} s"
        return Finding(level=Level.OK, check="clock", what=what, account=account)
    side = "behind" if off_s > 0 else "ahead of"
    return Finding(
        level=Level.FAULT if abs(off_s) > CLOCK_WRONG_S else Level.WARNING,
        check="clock",
        what=f"this clock is {abs(off_s):,.0f} s {side} that of the vendor",
        fix=SET_CLOCK,
        account=account,
    )


def judge_certificate(ends_s: float, now_s: float, peer: str, account: str) -> Finding:
    """Check how long the certificate of a trusted server is still valid.

    >>> judge_certificate(86_400.0, 0.0, "shop.example:443", "shop").what
    'the certificate of shop.example:443 ends in 1 days'
    """
    left_s = ends_s - now_s
    what = f"the certificate of {peer} ends in {left_s / 86_400:.0f} days"
    if left_s < CERTIFICATE_SOON_S:
        fix = "Ask its owner to renew it: after it ends, nothing can be sent"
        return Finding(level=Level.WARNING, check="tls", what=what, fix=fix, account=account)
    what = f"{peer} is trusted; its certificate ends in {left_s / 86_400:.0f} days"
    return Finding(level=Level.OK, check="tls", what=what, account=account)


def judge_lost(lost: NoReply, account: str) -> Finding:
    """The finding for a request without a reply: address, certificate or credentials."""
    check = _CHECK_BY_REASON.get(lost.reason, "reachability")
    return Finding(
        level=Level.FAULT,
        check=check,
        what=lost.detail,
        fix=_FIX_BY_CHECK[check],
        account=account,
    )


_CHECK_BY_REASON = {
    "tls_failed": "tls",
    "sign_in_refused": "credentials",
    "sign_in_failed": "credentials",
}
_FIX_BY_CHECK = {
    "tls": "See the words above; certificates are always verified",
    "credentials": "Check client id, secret, scopes and token_url with the vendor",
    "reachability": "Check base_url, proxy, firewall and name server",
}


def judge_reply(account: Account, reply: Reply) -> Finding:
    """The finding for a reply to the vendor's probe, by the vendor's own judgement or by status."""
    probe = account.vendor.probe
    result = (probe.judge(account.settings, reply) if probe else None) or _by_status(reply)
    level = Level.FAULT if result.is_fault else Level.WARNING if result.fix else Level.OK
    check = "credentials" if reply.status in _REFUSING else "vendor"
    return Finding(
        level=level,
        check=check,
        what=reply.hide(result.what),
        fix=reply.hide(result.fix),
        account=account.name,
    )


_REFUSING = (401, 403)


def _by_status(reply: Reply) -> Probed:
    """Judge a reply by its status alone.

    >>> _by_status(Reply(429, {}, b"")).is_fault
    False
    """
    answer = classify_read(reply)
    text = f"HTTP {reply.status}" + (f": {answer.message}" if answer.message else "")
    match reply.status:
        case 401:
            return Probed(
                f"the vendor does not accept the credentials: {text}",
                "Check key, secret and project with the vendor; renew what has ended",
                is_fault=True,
            )
        case 403:
            return Probed(
                f"the vendor knows the credentials and forbids the access: {text}",
                "Have the vendor's administrator grant the account the right",
                is_fault=True,
            )
        case status if 200 <= status < 300:  # noqa: PLR2004 - the class of success
            return Probed("the vendor answers, and accepts the credentials")
        case status if status == 429 or status >= 500:  # noqa: PLR2004
            return Probed(f"the vendor is reachable but fails now: {text}", "Try again later")
    return Probed(f"unexpected answer from the vendor: {text}", "Check base_url", is_fault=True)
