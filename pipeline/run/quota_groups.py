"""Accounts that share a quota."""

from __future__ import annotations

import hashlib

from pipeline.vendors import Account
from pipeline.vendors.kit.account import credential_text


def quota_group(account: Account) -> str:
    """The group of accounts that share a quota: same vendor, origin and credential."""
    who = credential_text(account.vendor.authenticate(account.settings))
    digest = hashlib.sha256(who.encode()).hexdigest()[:16]
    return f"{group_prefix(account)}{digest}"


def group_prefix(account: Account) -> str:
    """The start of an account's quota group, without the credential."""
    return f"{account.vendor.name}|{account.settings.origin}|"
