"""Accounts that share a quota."""

from __future__ import annotations

import hashlib

from pipeline.vendors import Account, Authentication, Basic, Bearer, TokenCall


def quota_group(account: Account) -> str:
    """The group of accounts that share a quota: same vendor, origin and credential."""
    signs: Authentication = account.vendor.authenticate(account.settings)
    match signs:
        case Basic():
            who = signs.user
        case Bearer():
            who = signs.token.get_secret_value()
        case TokenCall():
            basic = [signs.basic.user] if signs.basic else []
            who = "|".join([*basic, *(secret.get_secret_value() for secret in signs.secrets)])
        case None:
            who = ""
    digest = hashlib.sha256(who.encode()).hexdigest()[:16]
    return f"{group_prefix(account)}{digest}"


def group_prefix(account: Account) -> str:
    """The start of an account's quota group, without the credential."""
    return f"{account.vendor.name}|{account.settings.origin}|"
