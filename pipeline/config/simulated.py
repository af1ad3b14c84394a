"""Directs accounts to the simulator: they send nothing elsewhere, and read no secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, combinations
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from pipeline.config.accounts import SAMPLE_PREFIX, AccountEntry
from pipeline.config.keys import AccountKeys
from pipeline.config.secrets import secret_keys
from pipeline.vendors.kit.contract import TokenCall, Vendor, VendorSettings

SAMPLE_QUOTA = "50/s"  # slow enough to watch a run
SAMPLE_ATTEMPTS = 3  # rows that fail on purpose fail soon

_ORIGIN = "{origin}"
_PLACEHOLDER = "simulated"  # for a secret that a vendor requires and the simulator does not check


def at_simulator(entry: AccountEntry, base_url: str) -> AccountEntry:
    """Return the account at the simulator.

    Addresses and secrets are the simulator's. Other settings stay the account's own unless they
    conflict: if the account signs in differently, the fewest settings that make it sign in at the
    simulator are replaced.
    """
    vendor = entry.vendor
    given = _merged(vendor, entry.given, base_url)
    keys = entry.keys.model_copy(
        update={
            "ca_file": None,
            "client_cert": None,
            "client_key": None,
            "proxy": None,
            "headers": {},
            "tls": "1.2",
        }
    )
    settings = vendor.settings.model_validate(given)
    return replace(entry, settings=settings, given=given, keys=keys, is_simulated=True)


def sample(vendor: Vendor[Any], base_url: str) -> AccountEntry:
    """The account that a vendor's samples name."""
    given = _simulated(vendor, base_url)
    return AccountEntry(
        name=SAMPLE_PREFIX + vendor.name,
        vendor=vendor,
        settings=vendor.settings.model_validate(given),
        keys=AccountKeys.model_validate(
            {"vendor": vendor.name, "quota": SAMPLE_QUOTA, "attempts": SAMPLE_ATTEMPTS}
        ),
        given=given,
        is_simulated=True,
    )


def _simulated(vendor: Vendor[Any], base_url: str) -> dict[str, Any]:
    """The vendor's settings for the simulator, with its addresses filled in."""
    required = {key for key, info in vendor.settings.model_fields.items() if info.is_required()}
    parts = urlsplit(base_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    given = {
        key: value.replace(_ORIGIN, origin) if _is_address(value) else value
        for key, value in vendor.simulated.items()
    }
    secrets = dict.fromkeys(secret_keys(vendor) & required, _PLACEHOLDER)
    return {**secrets, **given, "base_url": base_url}


def _is_address(value: object) -> bool:
    return isinstance(value, str) and _ORIGIN in value


def _merged(vendor: Vendor[Any], own: Mapping[str, Any], base_url: str) -> dict[str, Any]:
    """The simulator's settings with as many of the account's `own` as possible."""
    simulated = _simulated(vendor, base_url)
    addresses = {key for key, value in vendor.simulated.items() if _is_address(value)}
    fixed = {*secret_keys(vendor), *addresses, "base_url"}
    merged = {key: simulated[key] for key in fixed & simulated.keys()}
    merged |= {key: value for key, value in own.items() if key not in fixed}
    either = [key for key in merged.keys() | simulated.keys() if key not in fixed]
    candidates = (
        {key: value for key, value in merged.items() if key not in replaced}
        | {key: simulated[key] for key in replaced if key in simulated}
        for replaced in _fewest_first(sorted(either))
    )
    wanted = _sign_in(vendor, simulated)
    return next(given for given in candidates if _sign_in(vendor, given) == wanted)


def _fewest_first(keys: list[str]) -> Iterator[tuple[str, ...]]:
    """Every selection of the keys: none first, all of them last.

    >>> list(_fewest_first(["a", "b"]))
    [(), ('a',), ('b',), ('a', 'b')]
    """
    return chain.from_iterable(combinations(keys, count) for count in range(len(keys) + 1))


def _sign_in(vendor: Vendor[Any], given: Mapping[str, Any]) -> tuple[type, str] | None:
    """How and where an account with these settings signs in; None if the settings conflict."""
    try:
        settings: VendorSettings = vendor.settings.model_validate(given)
    except ValidationError:
        return None
    found = vendor.authenticate(settings)
    return type(found), found.base_url if isinstance(found, TokenCall) else ""
