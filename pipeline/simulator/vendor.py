"""What an emulated vendor is: a value with its address, its rules and its way of saying no."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.simulator.options import SimulatorOptions

Headers = Mapping[str, str]  # names in lower case; values of repeated names joined by ", "
Failure = Callable[[int, str, str], "VendorReply"]


class Entities(Protocol):
    """What updates have written, by kind, scope (such as a project) and id."""

    def get(self, kind: str, scope: str, entity_id: str) -> dict[str, Any] | None:
        """The last body written, or None where none was."""

    def put(self, kind: str, scope: str, entity_id: str, body: dict[str, Any]) -> None:
        """Replace the whole entity."""

    def page(
        self, kind: str, scope: str, after: str, limit: int
    ) -> list[tuple[str, dict[str, Any]]]:
        """Entities that were written, by id, at most `limit` of those after `after`."""

    def skip(self, kind: str, scope: str, offset: int) -> str:
        """The id before which `offset` others stand; empty for 0."""

    def count(self, kind: str, scope: str) -> int:
        """How many were written."""


class Tokens(Protocol):
    """The tokens that were given out; times are seconds since 1970."""

    def issue(self, vendor: str, expires_utc_s: float) -> str:
        """A new token, like no other."""

    def is_good(self, vendor: str, token: str, now_utc_s: float) -> bool:
        """Whether this vendor gave it out, it has not expired and was not revoked."""


class Memory(Entities, Tokens, Protocol):
    """All that a vendor remembers."""


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """What a request names, each part decoded once; `kind` is the operation.

    entity_id  empty where the request names no entity, or several
    ids        all entities that the body names, in its order; None where the path names the one
    """

    kind: str
    scope: str
    entity_id: str
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrived; `now_utc_s` is seconds since 1970, `query` the text after `?`."""

    method: str
    headers: Headers
    body: bytes
    transaction_id: str
    now_utc_s: float
    query: str = ""


@dataclass(frozen=True, slots=True)
class VendorReply:
    """What the vendor says; `applied` is True where all entities named were updated."""

    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=dict)
    applied: bool = False


@dataclass(frozen=True, slots=True)
class TokenDesk:
    """Where a vendor gives out tokens; outside its quota, and meeting no fault by chance.

    path       the whole of it, from the origin
    operation  its name in the log
    answer     MUST NOT wait or look at a clock
    failure    as of Vendor
    """

    path: str
    operation: str
    answer: Callable[[SimulatorOptions, Tokens, Call], VendorReply]
    failure: Failure


@dataclass(frozen=True, slots=True)
class EmulatedVendor:
    """One emulated vendor.

    prefix   of every path, no slash at the end
    locate   path segments after the prefix, percent-decoded once, and the call -> what it names, or
             None. MUST take any body
    answer   MUST apply a good update before it returns, and MUST NOT wait or look at a clock
    failure  status, words, transaction id -> a refusal in the vendor's error shape
    desk     None: the vendor knows no tokens
    """

    name: str
    prefix: str
    locate: Callable[[tuple[str, ...], Call], RequestTarget | None]
    answer: Callable[[SimulatorOptions, Memory, Call, RequestTarget | None], VendorReply]
    failure: Failure
    desk: TokenDesk | None = None
