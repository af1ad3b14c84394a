"""Pauses of vendors on record: looked at before anything is sent, and lifted."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.config import Config
from pipeline.model import ConfigError
from pipeline.model.pause import AskedPause
from pipeline.pacing.pause import remaining_s
from pipeline.run.session import group_prefix, quota_group
from pipeline.runs.registry import open_registry


def pause_on_record(
    config: Config, name: str, environ: Mapping[str, str], now_s: float
) -> AskedPause | None:
    """The pause that account `name` has to wait for; None where there is none.

    environ  where secrets are looked up, and only where the account's vendor paused somebody
    now_s    UTC seconds since 1970

    Where the secrets cannot be read, the longest pause of the vendor stands for the account's own.
    """
    with open_registry(config) as runs:
        found = runs.pauses(group_prefix(config.outline(name)))
    left = {group: asked for group, asked in found.items() if remaining_s(asked, now_s) > 0}
    if not left:
        return None
    try:
        return left.get(quota_group(config.account(name, environ)))
    except ConfigError:
        return max(left.values(), key=lambda asked: remaining_s(asked, now_s))


def lift_pause(config: Config, name: str, environ: Mapping[str, str]) -> AskedPause | None:
    """Take the pause of account `name` off the record: what it was, None where there was none.

    Runs that wait for it go on within a second. The pause belongs to the credential: where that
    cannot be read and several credentials of the vendor are paused, ConfigError is raised.
    """
    with open_registry(config) as runs:
        found = runs.pauses(group_prefix(config.outline(name)))
        if len(found) > 1:
            return runs.lift_pause(quota_group(config.account(name, environ)))
        try:
            group = quota_group(config.account(name, environ)) if found else ""
        except ConfigError:
            (group,) = found
        return runs.lift_pause(group)
