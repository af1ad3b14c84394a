"""What a vendor is: a value. Facts, types and pure functions; no I/O, no clock, no base class.

Adding a vendor is adding one file to this folder, with a `VENDOR` in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from pipeline.model import (
    Answer,
    EntityKey,
    Fault,
    InputError,
    Link,
    NoReply,
    Reply,
    Request,
    UpdateJob,
)
from pipeline.model.quota import Quota
from pipeline.model.retry import RetryPolicy
from pipeline.vendors.kit.classify import Confirmation


class VendorSettings(BaseModel):
    """What an account of a vendor needs beside what every account has.

    base_url  scheme, host, port and path prefix, without a slash at the end. `https` unless it is
              a loopback address; the configuration checks that
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="Address of the API: scheme, host, port and path prefix.")

    @property
    def origin(self) -> str:
        """Scheme, host and port of `base_url`, in one spelling."""
        return origin_of(self.base_url)


@lru_cache(maxsize=64)
def origin_of(url: str) -> str:
    """Scheme, host and port in one spelling.

    >>> origin_of("HTTPS://Store.Xsolla.com:443/api")
    'https://store.xsolla.com'
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    is_usual = parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme))
    return f"{parts.scheme}://{host}" if is_usual else f"{parts.scheme}://{host}:{parts.port}"


NAMES_OF_CREDENTIALS: Final = ("client_id", "user")
"""Settings that say who signs in, and stay while passwords, secrets and tokens are renewed. Where a
vendor has none of them, the user of HTTP Basic says it."""

S = TypeVar("S", bound=VendorSettings)
J = TypeVar("J", bound=UpdateJob)


@dataclass(frozen=True, slots=True)
class Basic:
    """HTTP Basic authentication."""

    user: str
    password: SecretStr


@dataclass(frozen=True, slots=True)
class Bearer:
    """A ready token."""

    token: SecretStr


class Token(NamedTuple):
    """What a token call brought.

    lifetime_s  from now on; None where the reply names none
    """

    value: SecretStr
    lifetime_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCall:
    """A request that brings a bearer token.

    base_url  where it goes, no slash at the end; may be another host than the account's
    request   its path follows `base_url`; not shown, for its body may hold credentials
    read      the token of a 2xx reply, or None where that is no token
    basic     credentials that travel in the header; None where the request holds them
    secrets   what must never be shown, wherever a reply repeats it
    quota     of this call alone
    """

    base_url: str
    request: Request = field(repr=False)
    read: Callable[[Reply], Token | None]
    basic: Basic | None = field(default=None, repr=False)
    secrets: tuple[SecretStr, ...] = ()
    quota: tuple[str, ...] = ("1/s",)


Authentication = Basic | Bearer | TokenCall | None
"""How requests show whose they are; None: they do not."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """Cautious values where the account states none.

    quota      as in the configuration, for example ("10/s",)
    in_flight  requests under way at once
    timeout_s  for a whole attempt
    """

    quota: tuple[str, ...]
    in_flight: int
    timeout_s: float


class Difference(NamedTuple):
    """One thing that the vendor does not hold as a row wants it.

    field           as people would write it
    wanted, found   JSON values, None where absent; `found` as the vendor wrote it, which may be
                    half of a surrogate pair
    is_told         False where a read cannot decide it (an item added to a list)
    """

    field: str
    wanted: Any
    found: Any
    is_told: bool = True


class State(NamedTuple):
    """What an entity holds.

    fields  in the shape of an update
    etag    None where the vendor has none
    """

    fields: Mapping[str, Any]
    etag: str | None = None

    def text(self) -> str:
        """As JSON in pure ASCII, whatever the vendor wrote.

        >>> State({"name": "a"}, "3").text()
        '{"fields": {"name": "a"}, "etag": "3"}'
        """
        return json.dumps({"fields": dict(self.fields), "etag": self.etag})

    @classmethod
    def of(cls, text: str) -> State:
        """What `text` wrote.

        >>> State.of(State({"name": "a"}).text())
        State(fields={'name': 'a'}, etag=None)
        """
        found = json.loads(text)
        return cls(found["fields"], found["etag"])


class Missing(Enum):
    """What a read finds where there is certainly no such entity."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class EntityPage(NamedTuple):
    """Some entities of a list.

    states  by the id that an `EntityKey` has
    total   entities on all pages; None where the vendor does not say
    next    what the request for the next page takes; empty: there is none
    """

    states: Mapping[str, State]
    total: int | None
    next: str


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[S, J]):
    """How all entities of one place are read, a page at a time.

    request  a GET for a page of what lies where a job's entity lies; the text is `next` of the page
             before, empty for the first
    page     what a reply says; the text is what the request took. None where it tells nothing. MUST
             accept any status and any bytes
    """

    request: Callable[[S, J, str], Request]
    page: Callable[[S, Reply, str], EntityPage | None]


@dataclass(frozen=True, kw_only=True)
class EntityRead(Generic[S, J]):
    """How an entity is read back.

    request         a GET for what a job updates: the entity's path, no body
    state           what a reply says of a job's entity; None where it tells nothing and should be
                    asked again. MUST accept any status and any bytes; MISSING only where the vendor
                    itself says so; MUST be None where the reply names another entity
    differences     what the state does not hold of what a job wants; none: it holds all of it. MUST
                    compare what values mean, not how they are written
    settle_after_s  how long after an attempt began the vendor may still carry it out
    listing         how many entities are read at once; None where the vendor has no list
    """

    request: Callable[[S, J], Request]
    state: Callable[[S, J, Reply], State | Missing | None]
    differences: Callable[[S, J, State], tuple[Difference, ...]]
    settle_after_s: float
    listing: Callable[[S], Listing[S, J] | None] = lambda _settings: None


@dataclass(frozen=True, kw_only=True)
class Change(Generic[S, J]):
    """What an update makes of what an entity holds: plans are made of it, sent, and taken back.

    after    what the entity holds once the job was applied to a state; None where the vendor
             would refuse it there (a patch that does not fit)
    unlike   what two states do not have alike: `wanted` of the first, `found` of the second. MUST
             leave out what the vendor itself writes (dates of change, authors)
    merge    the whole that a full replace has to send so that what the row leaves out stays as
             the state has it; None: the update leaves that alone by itself
    inverse  what makes of `after(state)` the state again; None: nothing does
    said     what the row itself says that the entity holds, for vendors that cannot be read
    gap      what a guard cannot keep from slipping through between a read and an update, for people
    """

    after: Callable[[S, J, State], State | None]
    unlike: Callable[[S, State, State], tuple[Difference, ...]]
    inverse: Callable[[S, J, State], J | None]
    merge: Callable[[S, J, State], J] | None = None
    said: Callable[[S, J], State | None] = lambda _settings, _job: None
    gap: Callable[[S], str] = lambda _settings: ""


@dataclass(frozen=True, kw_only=True)
class Guard(Generic[S, J]):
    """How the vendor is kept from carrying out twice what would do harm twice.

    needs     True where a job travels only with a guard that is read first
    guarded   the job so that the vendor refuses it unless the entity is as in this state, as it no
              longer is once the job was carried out; None where the state offers nothing for that.
              MUST be `repeatable` and need no other guard, and the same state MUST give the same
    refusal   whether an answer may be that refusal
    expected  what a guarded job expects of the entity, for people: "etag 3"
    """

    needs: Callable[[S, J], bool]
    guarded: Callable[[S, J, State], J | None]
    refusal: Callable[[S, Answer], bool]
    expected: Callable[[S, J], str]


class KnownReply(NamedTuple):
    """A reply of which the vendor's pages, or this project, say more than its status does.

    words   for people, as in "404 with code 9502"
    reply   such a reply; what it means, `decode` says
    source  who says that it means that, "assumed" where nobody does
    """

    words: str
    reply: Reply
    source: str


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[S, J]):
    """One kind of update that a vendor offers.

    name          `<vendor>.<what>`, also the name of its drop folder
    summary       one line for people
    job_type      its fields carry a `Cell` each, in `Annotated[...]`
    entity_kind   several operations may share a kind
    replaces      True where the update replaces the whole entity, so that what is left out is
                  cleared: `missing` applies
    always        fields that a row must give whatever `missing` says (a value or null)
    sample        a row by column name, as people would write it, for templates and help
    entity        MUST give the same key for whatever the vendor treats as the same thing
    refuse        why this job cannot be sent by this account, or None
    irreversible  True where nothing takes the update back: the user must allow it
    warn          what is doubtful about the job but no ground to refuse it
    batch_key     jobs with the same may share a request; empty: travels alone. MUST be empty where
                  the job may not be repeated: the refusal of a group says nothing of its rows
    reading       how the entity is read back; None where the vendor cannot be asked
    change        what the update makes of a state; None: it can be neither planned nor taken back
    guard         for jobs that are not repeatable; None: such jobs travel without. Needs `reading`
    writes        JSON Pointers to what the update writes; None: the whole entity. A pointer covers
                  itself and what lies below it. One with `-` or a number among its steps names a
                  place in a list, which is another one after each change of the list: it is
                  covered by what stands above that step, and covers nothing itself
    batch_size    how many jobs one request may carry at most, 1 or more
    encode        one request for the jobs of a batch, of one `batch_key` and with no entity twice.
                  MUST percent-encode every path segment
    confirmation  what the vendor documents as its confirmation of a job's update. MUST depend on
                  the job where the reply names what was updated
    decode        one answer per job of the batch, in order. MUST accept any status and any bytes;
                  MUST trust the status over the body, and call nothing applied but what
                  `confirmation` holds for; SPLIT only of a batch of two or more
    known         replies of which more is known than their status, each with its source
    repeatable    True where the vendor's state is the same after sending it twice
    repeat_note   the same in words, for people, with its source
    """

    name: str
    summary: str
    job_type: type[J]
    entity_kind: str
    replaces: bool
    defaults: Defaults
    entity: Callable[[S, J], EntityKey]
    encode: Callable[[S, Sequence[J]], Request]
    confirmation: Callable[[S, J], Confirmation]
    decode: Callable[[S, Sequence[J], Reply | NoReply], tuple[Answer, ...]]
    repeatable: Callable[[S, J], bool]
    repeat_note: str
    refuse: Callable[[S, J], str | None] = lambda _settings, _job: None
    irreversible: Callable[[J], bool] = lambda _job: False
    reading: EntityRead[S, J] | None = None
    change: Change[S, J] | None = None
    guard: Guard[S, J] | None = None
    writes: Callable[[S, J], frozenset[str] | None] = lambda _settings, _job: None
    batch_key: Callable[[S, J], str] = lambda _settings, _job: ""
    batch_size: Callable[[S], int] = lambda _settings: 1
    warn: Callable[[J], tuple[str, ...]] = lambda _job: ()
    known: tuple[KnownReply, ...] = ()
    always: tuple[str, ...] = ()
    sample: Mapping[str, str] = field(default_factory=dict)


class Doubt(NamedTuple):
    """What is doubtful about an account's settings, and what to do about it."""

    what: str
    advice: str


class Probed(NamedTuple):
    """What a reply to a probe says of the account.

    mend      what to do about it; empty: nothing is wrong
    is_fault  True where updates cannot work like that
    """

    what: str
    mend: str = ""
    is_fault: bool = False


@dataclass(frozen=True, kw_only=True)
class Probe(Generic[S]):
    """How an account is tried without changing anything.

    request  a GET that any account which may update may send too; None: signing in is all that can
             be tried with these settings
    judge    what a reply says beyond its status; None: the status says all. MUST accept any status
             and any bytes
    """

    request: Callable[[S], Request | None]
    judge: Callable[[S, Reply], Probed | None] = lambda _settings, _reply: None


@dataclass(frozen=True, kw_only=True)
class Vendor(Generic[S]):
    """A vendor: its settings, how it authenticates, what it offers.

    scope      what an account's updates reach, for people: "project 44056"
    probe      how an account is tried; None: signing in is all that can be tried
    doubts     what is doubtful about settings but no ground to refuse them
    simulated  settings of a `sample-*` account, beside the simulator's base URL; `{origin}` in a
               value stands for the simulator's origin. For other accounts at the simulator, too,
               its secrets and addresses hold, and a secret that it does not name is dropped; all
               else stays the account's own, but for what does not go together with that
    by_name    operation by name
    """

    name: str
    summary: str
    settings: type[S]
    authenticate: Callable[[S], Authentication]
    operations: tuple[Operation[S, Any], ...]
    scope: Callable[[S], str] = lambda _settings: ""
    probe: Probe[S] | None = None
    doubts: Callable[[S], tuple[Doubt, ...]] = lambda _settings: ()
    simulated: Mapping[str, Any] = field(default_factory=dict)
    by_name: Mapping[str, Operation[S, Any]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {op.name: op for op in self.operations})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One set of credentials, base URL and quota at a vendor, ready to be used.

    quotas       all hold at once; none where what the vendor allows is learned from its replies
    is_assumed   True where the quotas are the vendor file's defaults, not the contract's
    starts_per_s requests a second at first, where there are no quotas
    is_strict    requests count for their quota from their replies on
    day_starts_s seconds after midnight UTC at which the vendor's day begins, for quotas per day;
                 None: any 24 hours count
    max_wait_s   a longer `Retry-After` stops the account
    max_outage_s a longer outage stops the account
    is_simulated True where the base URL is the simulator's
    hidden       what references among headers led to: no reply may show it either
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

    @property
    def quota(self) -> str:
        """As it is configured: "20/s, 1000/min", or "auto"."""
        return ", ".join(map(str, self.quotas)) or "auto"

    @property
    def quota_is(self) -> str:
        """What it is where it does not come from a contract: "assumed" or "learned", else ""."""
        if not self.quotas:
            return "learned"
        return "assumed" if self.is_assumed else ""

    @property
    def mean_per_s(self) -> float:
        """The rate that the quotas allow in the long run, or with which learning starts."""
        return min((quota.per_second for quota in self.quotas), default=self.starts_per_s)

    def operation(self, name: str) -> Operation[Any, Any]:
        """The vendor's operation of this name. Raises InputError if there is none."""
        try:
            return self.vendor.by_name[name]
        except KeyError:
            what = f"vendor {self.vendor.name} has no operation {name!r}"
            expected = " or ".join(sorted(self.vendor.by_name))
            raise InputError([Fault(what=what, expected=expected)]) from None

    def batch_size(self, operation: str) -> int:
        """Jobs that one request of this operation carries at most."""
        return self.operation(operation).batch_size(self.settings)
