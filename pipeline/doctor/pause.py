"""Whether the vendor of an account asked for a pause that is not over."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.config import Config
from pipeline.doctor.finding import Finding, Level
from pipeline.model import RunAborted
from pipeline.pacing.pause import describe, lift_command, remaining_s
from pipeline.run.pauses import pause_on_record
from pipeline.vendors import Account


def examine_pause(
    config: Config, account: Account, environ: Mapping[str, str], now_s: float
) -> Finding | None:
    """The pause that the account has to wait for; None where there is none, or no record yet."""
    try:
        is_known = config.ledger.exists()
        asked = pause_on_record(config, account.name, environ, now_s) if is_known else None
    except RunAborted:  # the disk is looked at elsewhere
        return None
    if asked is None:
        return None
    most_s = account.max_wait_s
    does = "stops at once" if remaining_s(asked, now_s) > most_s else "waits for that"
    return Finding(
        level=Level.WARNING,
        check="pause",
        what=f"paused {describe(asked, now_s)}. A run {does} (max_wait_s = {most_s:.0f})",
        mend=f"Wait, or, where the vendor cannot have meant it: {lift_command(account.name)}",
        account=account.name,
    )
