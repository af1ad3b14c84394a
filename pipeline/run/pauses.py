"""Recorded pauses of vendors: read before anything is sent, and lifted."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.config import Config
from pipeline.model import ConfigError
from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import asked_at, remaining_s
from pipeline.run.quota_groups import group_prefix, quota_group
from pipeline.runs.registry import open_store


def pause_on_record(
    config: Config, name: str, environ: Mapping[str, str], now_s: float
) -> AskedPause | None:
    """The pause of account `name`; None if there is none.

    environ  environment variables for secrets, which are read only if the vendor has a pause
    now_s    UTC seconds since 1970

    If the secrets cannot be read, this is the longest pause of the vendor.
    """
    stored = open_store(config).quotas.pauses(group_prefix(config.outline(name)))
    found = {group: asked_at(pause, now_s) for group, pause in stored.items()}
    left = {group: asked for group, asked in found.items() if remaining_s(asked, now_s) > 0}
    if not left:
        return None
    try:
        return left.get(quota_group(config.account(name, environ)))
    except ConfigError:
        return max(left.values(), key=lambda asked: remaining_s(asked, now_s))


def lift_pause(
    config: Config, name: str, environ: Mapping[str, str], now_s: float
) -> AskedPause | None:
    """Remove the recorded pause of account `name`: what it was, None if there was none.

    now_s  UTC seconds since 1970

    Runs that wait for it continue within a second. A pause belongs to a credential: ConfigError is
    raised if it cannot be read and several credentials of the vendor are paused.
    """
    quotas = open_store(config).quotas
    found = quotas.pauses(group_prefix(config.outline(name)))
    try:
        group = quota_group(config.account(name, environ)) if found else ""
    except ConfigError:
        if len(found) > 1:
            raise
        (group,) = found
    lifted = quotas.lift_pause(group)
    return None if lifted is None else asked_at(lifted, now_s)
