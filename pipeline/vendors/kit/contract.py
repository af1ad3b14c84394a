"""The contract between a vendor and the rest of the pipeline.

A vendor is a value of class `Vendor`, built from facts, types and pure functions. There is no base
class, and a vendor does no I/O and reads no clock. To add a vendor, add one file with a
`VENDOR` to `pipeline/vendors/`, or a folder whose `__init__.py` has it.

This file reads from top to bottom: the settings of an account, `Vendor`, and its `Operation`s,
which must say how a job is encoded, how its reply is decoded and how the vendor confirms an update.
Then come the optional parts, each of which adds a capability:

    EntityRead  verify a run, resolve rows in doubt, make plans
    Listing     read many entities with few requests
    Change      show what an update would change, and undo it
    Guard       send updates safely that must not be applied twice
    Probe       test an account without changing anything

At the end: ways to authenticate. `account.py` has what the configuration makes of all this.

Every function is pure. It may be called any number of times, from any thread, and must return the
same for the same arguments. MUST marks what `tests/vendors/conformance.py` checks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from pipeline.model import (
    Answer,
    EntityKey,
    NoReply,
    Reply,
    Request,
    UpdateJob,
)
from pipeline.vendors.kit.classify import Confirmation


class VendorSettings(BaseModel):
    """Base class of a vendor's settings: the keys of `[accounts.NAME]` that only this vendor has.

    base_url  scheme, host, port and path prefix, without a slash at the end. The configuration
              requires `https` unless the host is a loopback address
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    base_url: str = Field(description="Address of the API: scheme, host, port and path prefix.")

    @property
    def origin(self) -> str:
        """Scheme, host and port of `base_url`, in one spelling."""
        return origin_of(self.base_url)


@lru_cache(maxsize=64)
def origin_of(url: str) -> str:
    """Scheme, host and port of a URL in one spelling; a default port is left out.

    >>> origin_of("HTTPS://Store.Xsolla.com:443/api")
    'https://store.xsolla.com'
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    is_usual = parts.port in (None, {"https": 443, "http": 80}.get(parts.scheme))
    return f"{parts.scheme}://{host}" if is_usual else f"{parts.scheme}://{host}:{parts.port}"


ABSENT: Any = None
"""The value of a job's field that a row leaves out; `model_fields_set` tells it from null."""


Secret = Annotated[SecretStr, Field(min_length=1)]
"""A credential in a vendor's settings."""


NAMES_OF_CREDENTIALS: Final = ("client_id", "user")
"""Settings that name who signs in. They stay the same when passwords, secrets and tokens are
renewed. If a vendor has none of them, the user of HTTP Basic names it."""


S = TypeVar("S", bound=VendorSettings)
J = TypeVar("J", bound=UpdateJob)


@dataclass(frozen=True, kw_only=True)
class Vendor(Generic[S]):
    """A vendor: its settings, its authentication and its operations.

    name          first part of its operations' names
    summary       one line for people
    settings      the class of its settings
    authenticate  settings -> how requests authenticate
    scope         settings -> what an account's updates reach, for people: "project 44056"
    probe         how to test an account; None: only signing in can be tested
    doubts        settings -> doubts that do not stop the account
    simulated     settings for the simulator, without `base_url`. `{origin}` in a value stands for
                  the simulator's origin. A `sample-*` account uses all of them. Another account
                  that is sent to the simulator uses the secrets and addresses among them, drops
                  its other secrets, and keeps its other settings unless they conflict
    by_name       operation by name
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


@dataclass(frozen=True, kw_only=True)
class Operation(Generic[S, J]):
    """One kind of update that a vendor offers.

    What it is:

    name          `<vendor>.<what>`; also the name of its drop folder
    summary       one line for people
    job_type      the job's class; every field has a `Cell` in its `Annotated[...]`
    entity_kind   part of the entity key; operations on the same entities share it
    replaces      True if the update replaces the whole entity and so clears the fields that a row
                  leaves out. The option `missing` then applies
    always        fields that a row must give whatever `missing` says (a value or null)
    defaults      quota, concurrency and timeout of accounts that state none
    sample        an example row by column name, for templates, help and the conformance suite

    How it is sent:

    entity        (settings, job) -> the entity's key. Rows with equal keys are sent in order.
                  MUST be equal for jobs that the vendor applies to the same entity
    encode        (settings, jobs) -> one request for a batch: jobs of one `batch_key`, no entity
                  twice. MUST percent-encode every path segment
    head          settings -> method and headers that `encode` gives a request for one job, unless
                  the job itself changes them (a precondition). Path and body of such a request are
                  written when its row is bound. None: all requests are encoded when they are sent
    batch_key     (settings, job) -> jobs with equal keys may share a request; empty: the job is
                  sent alone. MUST be empty if the job is not `repeatable`, because the refusal of
                  a batch does not say which of its rows were applied
    batch_size    settings -> most jobs per request, 1 or more
    writes        (settings, job) -> JSON Pointers to the fields that the update writes; None: the
                  whole entity. A pointer covers itself and everything below it. A pointer with `-`
                  or a number as a step names an item of a list, which moves when the list changes:
                  it is covered by pointers above that step, and covers nothing itself

    What the reply means:

    confirmation  (settings, job) -> the reply that the vendor documents as its confirmation. MUST
                  depend on the job if the reply names what was updated
    decode        (settings, jobs, reply) -> one answer per job, in order. MUST accept any status
                  and any bytes. MUST trust the status over the body. MUST NOT answer APPLIED
                  unless `confirmation` holds. SPLIT, for a batch of two or more only, sends its
                  jobs again in smaller batches
    plain_success  a status: with it and without a body, a reply means that every job was applied,
                  whatever its headers. MUST be what `decode` says, which is not asked then. None:
                  `decode` is always asked
    known         replies that mean more than their status, for the reference

    What is safe:

    repeatable    (settings, job) -> True if applying the job twice leaves the same state as once.
                  If False, a job in doubt is never sent again unless a read shows that it was not
                  applied
    repeat_note   the same for people, with its source
    refuse        (settings, job) -> why this account cannot send the job; None if it can
    warn          job -> doubts about the job that do not stop it
    irreversible  job -> True if no update can undo it: the user must allow it
    guard         preconditions for jobs that are not repeatable. Needs `reading`. None: such jobs
                  are sent without one

    What can be read:

    reading       how to read an entity; None if no page shows how. Without it nothing is verified,
                  and a row in doubt that is not `repeatable` stays `unknown`
    change        the effect of the update on a state; None: it can be neither planned nor undone
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
    head: Callable[[S], RequestHead] | None = None
    writes: Callable[[S, J], frozenset[str] | None] = lambda _settings, _job: None
    batch_key: Callable[[S, J], str] = lambda _settings, _job: ""
    batch_size: Callable[[S], int] = lambda _settings: 1
    warn: Callable[[J], tuple[str, ...]] = lambda _job: ()
    plain_success: int | None = None
    known: tuple[KnownReply, ...] = ()
    always: tuple[str, ...] = ()
    sample: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Defaults:
    """Cautious values for accounts that state none.

    quota      as in the configuration, for example ("10/s",)
    in_flight  most concurrent requests
    timeout_s  seconds for a whole attempt, from connecting to the end of the reply
    """

    quota: tuple[str, ...]
    in_flight: int
    timeout_s: float


class RequestHead(NamedTuple):
    """Method and headers of a request."""

    method: str
    headers: Mapping[str, str]


class KnownReply(NamedTuple):
    """A reply that means more than its status says. `decode` gives the meaning.

    words   description for people, as in "404 with code 9502"
    reply   an example
    source  the page that states the meaning; "assumed" if none does
    """

    words: str
    reply: Reply
    source: str


class Doubt(NamedTuple):
    """A doubt about an account's settings, and what to do about it."""

    what: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class EntityRead(Generic[S, J]):
    """How to read one entity, to verify an update or to plan it.

    request         (settings, job) -> a GET for the entity that the job updates, without a body
    state           (settings, job, reply) -> the entity's state. MUST accept any status and any
                    bytes. None if the reply says nothing about the entity: it is read again. MUST
                    be None if the reply names another entity. MISSING only if the vendor itself
                    says that the entity does not exist
    differences     (settings, job, state) -> what the job wants and the state does not hold; empty
                    if it holds all of it. MUST compare meanings, not spellings: 10 and 10.0 are
                    equal
    settle_after_s  seconds after the start of an attempt within which the vendor may still apply
                    it. MUST be at least `timeout_s` of the defaults
    listing         settings -> how to read many entities at once; None if the vendor has no list
    """

    request: Callable[[S, J], Request]
    state: Callable[[S, J, Reply], State | Missing | None]
    differences: Callable[[S, J, State], tuple[Difference, ...]]
    settle_after_s: float
    listing: Callable[[S], Listing[S, J] | None] = lambda _settings: None


@dataclass(frozen=True, kw_only=True)
class Listing(Generic[S, J]):
    """How to read many entities with few requests, a page at a time.

    request  (settings, job, cursor) -> a GET for a page of the entities among which the job's
             entity is. `cursor` is `next` of the previous page, empty for the first
    page     (settings, reply, cursor of its request) -> the page; None if the reply is not one.
             MUST accept any status and any bytes
    """

    request: Callable[[S, J, str], Request]
    page: Callable[[S, Reply, str], EntityPage | None]


class EntityPage(NamedTuple):
    """One page of a listing.

    states  by the `id` of their `EntityKey`
    total   number of entities on all pages; None if the vendor does not say
    next    cursor of the next page; empty if this is the last one
    """

    states: Mapping[str, State]
    total: int | None
    next: str


class State(NamedTuple):
    """The state of an entity at the vendor.

    fields  JSON values in the shape of an update
    etag    None if the vendor has none
    """

    fields: Mapping[str, Any]
    etag: str | None = None

    def text(self) -> str:
        """The state as JSON in ASCII.

        >>> State({"name": "a"}, "3").text()
        '{"fields": {"name": "a"}, "etag": "3"}'
        """
        return json.dumps({"fields": dict(self.fields), "etag": self.etag})

    @classmethod
    def of(cls, text: str) -> State:
        """The state that `text` returned.

        >>> State.of(State({"name": "a"}).text())
        State(fields={'name': 'a'}, etag=None)
        """
        found = json.loads(text)
        return cls(found["fields"], found["etag"])


class Missing(Enum):
    """The result of a read if the vendor says that the entity does not exist."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


class Difference(NamedTuple):
    """A field whose value at the vendor is not the wanted one.

    field          name for people
    wanted, found  JSON values; None if absent. `found` is as the vendor wrote it and may hold half
                   a surrogate pair
    is_decided     False if a read cannot decide it (an item added to a list)
    """

    field: str
    wanted: Any
    found: Any
    is_decided: bool = True


@dataclass(frozen=True, kw_only=True)
class Change(Generic[S, J]):
    """The effect of an update on an entity's state. It makes plans and undo possible.

    after        (settings, job, state) -> the state after the job is applied to `state`; None if
                 the vendor would refuse the job in that state (a patch that does not apply)
    differences  (settings, one state, other state) -> their differences: `wanted` from the first,
                 `found` from the second. MUST leave out what the vendor writes itself (dates of
                 change, authors)
    inverse      (settings, job, state before) -> the job that turns `after(state)` into `state`
                 again; None if nothing does
    merge        (settings, job, state) -> the job with the fields that its row leaves out filled
                 from the state, for operations that replace the whole entity. None: the update
                 itself keeps fields that it does not name
    stated       (settings, job) -> the current state as far as the row itself gives it, for
                 vendors that cannot be read; None if it gives none
    gap          settings -> for people: which change by others between read and update would go
                 unnoticed; empty if none
    """

    after: Callable[[S, J, State], State | None]
    differences: Callable[[S, State, State], tuple[Difference, ...]]
    inverse: Callable[[S, J, State], J | None]
    merge: Callable[[S, J, State], J] | None = None
    stated: Callable[[S, J], State | None] = lambda _settings, _job: None
    gap: Callable[[S], str] = lambda _settings: ""


@dataclass(frozen=True, kw_only=True)
class Guard(Generic[S, J]):
    """Preconditions that keep the vendor from applying an update twice.

    needs     (settings, job) -> True if the job may be sent only with a precondition, for which its
              entity is read first
    guarded   (settings, job, state) -> the job with a precondition: the vendor applies it only if
              the entity is in this state, which the job itself ends. None if the state offers
              nothing to test. MUST be `repeatable`, MUST need no further guard, and MUST be equal
              for equal states
    refusal   (settings, answer) -> True if the answer may mean that the precondition failed
    expected  (settings, guarded job) -> the precondition in words: "etag 3"
    """

    needs: Callable[[S, J], bool]
    guarded: Callable[[S, J, State], J | None]
    refusal: Callable[[S, Answer], bool]
    expected: Callable[[S, J], str]


@dataclass(frozen=True, kw_only=True)
class Probe(Generic[S]):
    """How to test an account without changing anything.

    request  settings -> a GET that every account with the right to update may send; None: with
             these settings only signing in can be tested
    judge    (settings, reply) -> what the reply says beyond its status; None: nothing. MUST accept
             any status and any bytes
    """

    request: Callable[[S], Request | None]
    judge: Callable[[S, Reply], Probed | None] = lambda _settings, _reply: None


class Probed(NamedTuple):
    """The result of a probe.

    what      what the reply shows
    fix       what to do about it; empty if nothing is wrong
    is_fault  True if updates cannot work
    """

    what: str
    fix: str = ""
    is_fault: bool = False


@dataclass(frozen=True, slots=True)
class Basic:
    """HTTP Basic authentication."""

    user: str
    password: SecretStr


@dataclass(frozen=True, slots=True)
class Bearer:
    """A bearer token that the configuration provides."""

    token: SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCall:
    """A request that returns a bearer token.

    base_url  where to send it, without a slash at the end; may differ from the account's host
    request   its path follows `base_url`. Never shown, because its body may hold credentials
    read      returns the token of a 2xx reply, or None if the reply holds no token
    basic     credentials for the `Authorization` header; None if the request holds them
    secrets   texts to mask wherever a reply repeats them
    quota     of this call alone, as in the configuration
    """

    base_url: str
    request: Request = field(repr=False)
    read: Callable[[Reply], Token | None]
    basic: Basic | None = field(default=None, repr=False)
    secrets: tuple[SecretStr, ...] = ()
    quota: tuple[str, ...] = ("1/s",)


class Token(NamedTuple):
    """A bearer token from a reply.

    lifetime_s  seconds from now; None if the reply states none
    """

    value: SecretStr
    lifetime_s: float | None


Authentication = Basic | Bearer | TokenCall | None
"""How requests authenticate; None: they do not."""
