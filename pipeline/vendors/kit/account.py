"""An account: what the configuration makes of a vendor, settings and limits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from pipeline.model import Fault, InputError, Link
from pipeline.model.quota import Quota, part_of
from pipeline.model.retry import RetryPolicy
from pipeline.vendors.kit.contract import (
    Authentication,
    Basic,
    Bearer,
    Operation,
    TokenCall,
    Vendor,
    VendorSettings,
)


def credential_text(signs: Authentication) -> str:
    """The credential that a vendor counts requests by: a user, a token or a client. A secret.

    >>> credential_text(Basic("44056", SecretStr("key"))), credential_text(None)
    ('44056', '')
    """
    match signs:
        case Basic():
            return signs.user
        case Bearer():
            return signs.token.get_secret_value()
        case TokenCall():
            basic = [signs.basic.user] if signs.basic else []
            return "|".join([*basic, *(secret.get_secret_value() for secret in signs.secrets)])
        case None:
            return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One set of credentials, base URL and quota at a vendor, ready to use.

    name          as in the configuration
    quotas        all apply at once; empty: the rate is learned from the vendor's replies
    is_assumed    True if the quotas are the vendor's defaults
    in_flight     most concurrent requests
    starts_per_s  initial requests per second if there are no quotas
    is_strict     True if a request counts for its quotas until a full window after its reply
    day_starts_s  seconds after midnight UTC at which the vendor's day begins, for quotas per day;
                  None: any 24 hours count
    max_wait_s    a longer `Retry-After` stops the account
    max_outage_s  a longer outage stops the account
    is_simulated  True if the base URL is the simulator's
    hidden        secrets in custom headers, to be masked in replies too
    shares        parts of its entities that are sent apart, each at its part of the limits
    """

    name: str
    vendor: Vendor[Any]
    settings: VendorSettings
    link: Link
    quotas: tuple[Quota, ...]
    is_assumed: bool
    in_flight: int
    retry: RetryPolicy
    starts_per_s: float = 1.0
    is_strict: bool = False
    day_starts_s: float | None = None
    max_wait_s: float = 900.0
    max_outage_s: float = 900.0
    is_simulated: bool = False
    hidden: tuple[SecretStr, ...] = ()
    shares: int = 1

    def part(self, number: int) -> Account:
        """The account with the limits of one of its shares, by number from 0.

        Those of all shares add up to the whole. Itself if it has one share.
        """
        if self.shares == 1:
            return self
        quotas = tuple(quota.part(number, self.shares) for quota in self.quotas)
        return replace(self, quotas=quotas, in_flight=part_of(self.in_flight, number, self.shares))

    @property
    def quota(self) -> str:
        """The quotas as configured: "20/s, 1000/min", or "auto"."""
        return ", ".join(map(str, self.quotas)) or "auto"

    @property
    def quota_is(self) -> str:
        """The quota's origin if it is not configured: "assumed" or "learned", else ""."""
        if not self.quotas:
            return "learned"
        return "assumed" if self.is_assumed else ""

    @property
    def mean_per_s(self) -> float:
        """Requests per second that the quotas allow in the long run; without, the initial rate."""
        return min((quota.per_second for quota in self.quotas), default=self.starts_per_s)

    def operation(self, name: str) -> Operation[Any, Any]:
        """The vendor's operation of this name. Raises InputError if there is none."""
        try:
            return self.vendor.by_name[name]
        except KeyError:
            what = f"vendor {self.vendor.name} has no operation {name!r}"
            expected = " or ".join(sorted(self.vendor.by_name))
            raise InputError(Fault(what=what, expected=expected)) from None

    def batch_size(self, operation: str) -> int:
        """Jobs that one request of this operation carries at most."""
        return self.operation(operation).batch_size(self.settings)
