"""What an emulated vendor is: a value with its address, its rules and its way of saying no."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.simulator.options import SimulatorOptions

Headers = Mapping[str, str]  # names in lower case; values of repeated names joined by ", "


class Entities(Protocol):
    """What updates have written, by kind, scope (such as a project) and id."""

    def get(self, kind: str, scope: str, entity_id: str) -> dict[str, Any] | None:
        """The last body written, or None where none was."""

    def put(self, kind: str, scope: str, entity_id: str, body: dict[str, Any]) -> None:
        """Replace the whole entity."""


@dataclass(frozen=True, slots=True)
class Target:
    """The entity that a path names, each part percent-decoded once; `kind` is the operation."""

    kind: str
    scope: str
    entity_id: str


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrived; `now_utc_s` is seconds since 1970."""

    method: str
    headers: Headers
    body: bytes
    transaction_id: str
    now_utc_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the vendor says; `applied` is True where the entity was replaced."""

    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=dict)
    applied: bool = False


@dataclass(frozen=True, slots=True)
class Vendor:
    """One emulated vendor.

    prefix   of every path, no slash at the end
    locate   path segments after the prefix, percent-decoded once -> the entity, or None
    answer   MUST apply a good update before it returns, and MUST NOT wait or look at a clock
    failure  status, words, transaction id -> a refusal in the vendor's error shape
    """

    name: str
    prefix: str
    locate: Callable[[tuple[str, ...]], Target | None]
    answer: Callable[[SimulatorOptions, Entities, Call, Target | None], Answer]
    failure: Callable[[int, str, str], Answer]
