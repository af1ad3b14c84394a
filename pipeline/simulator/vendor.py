"""The contract of an emulated vendor: a value with its path, its rules and its error format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.simulator.options import SimulatorOptions

Headers = Mapping[str, str]  # names in lower case; values of repeated names joined by ", "
Failure = Callable[[int, str, str], "VendorReply"]


class Entities(Protocol):
    """Entities that updates wrote, by kind, scope (such as a project) and id."""

    def get(self, kind: str, scope: str, entity_id: str) -> dict[str, Any] | None:
        """The last body written; None if none was."""

    def put(self, kind: str, scope: str, entity_id: str, body: dict[str, Any]) -> None:
        """Replace the whole entity."""

    def page(
        self, kind: str, scope: str, after: str, limit: int
    ) -> list[tuple[str, dict[str, Any]]]:
        """At most `limit` entities after id `after`, in order of their ids."""

    def skip(self, kind: str, scope: str, offset: int) -> str:
        """The last of the first `offset` ids; empty for 0."""

    def count(self, kind: str, scope: str) -> int:
        """Number of entities."""


class Tokens(Protocol):
    """Issued tokens; times are seconds since 1970."""

    def issue(self, vendor: str, expires_utc_s: float) -> str:
        """Create a token that never existed before."""

    def is_good(self, vendor: str, token: str, now_utc_s: float) -> bool:
        """True if this vendor issued the token and it is neither expired nor revoked."""


class Memory(Entities, Tokens, Protocol):
    """The state of a vendor."""


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """The operation and entity that a request names, each part percent-decoded once.

    kind       the operation
    entity_id  empty if the request names no entity, or several
    ids        the entities that the body names, in its order; None if the path names one
    """

    kind: str
    scope: str
    entity_id: str
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrived.

    now_utc_s  seconds since 1970
    query      the text after `?`
    """

    method: str
    headers: Headers
    body: bytes
    transaction_id: str
    now_utc_s: float
    query: str = ""


@dataclass(frozen=True, slots=True)
class VendorReply:
    """A vendor's reply; `applied` is True if all named entities were updated."""

    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=dict)
    applied: bool = False


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """The endpoint where a vendor issues tokens, without quota and without faults by chance.

    path       full path
    operation  its name in the log
    answer     MUST NOT wait or read a clock
    failure    as of EmulatedVendor
    """

    path: str
    operation: str
    answer: Callable[[SimulatorOptions, Tokens, Call], VendorReply]
    failure: Failure


@dataclass(frozen=True, slots=True)
class EmulatedVendor:
    """One emulated vendor.

    prefix          of every path, without a slash at the end
    locate          (path segments after the prefix, percent-decoded once; call) -> what the request
                    names, or None. MUST accept any body
    answer          MUST apply a valid update before it returns, and MUST NOT wait or read a clock
    failure         (status, message, transaction id) -> a refusal in the vendor's error format
    token_endpoint  None: the vendor issues no tokens
    """

    name: str
    prefix: str
    locate: Callable[[tuple[str, ...], Call], RequestTarget | None]
    answer: Callable[[SimulatorOptions, Memory, Call, RequestTarget | None], VendorReply]
    failure: Failure
    token_endpoint: TokenEndpoint | None = None
