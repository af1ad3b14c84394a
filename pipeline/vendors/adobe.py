"""Adobe Journey Optimizer: fallback offers of the Offer Library, as JSON Patch.

Two generations of one API, `api` of the account chooses: `dps`, and `xcore`, the repository API
that UPDATE documents and that has ended: LEGACY says "supported until 03/27/2024". One PATCH per
row, answered with a receipt that holds the offer's new etag.

The sources of the facts below; all were read on 2026-11-22.

    UPDATE   "Update fallback offers", Chinese and French pages of Journey Optimizer, undated
    LEGACY   github AdobeDocs/journey-optimizer.en, offers-api/legacy-apis
    DPS      the same, offers-api/fallback-offers/update (commits 04e844c8, 0b94bfea)
    SERVICE  "Manage Decisioning objects and rules using APIs", tutorial of Experience Platform
    TROUBLE  github AdobeDocs/experience-platform.en @01e70824, help/landing/troubleshooting.md
    AJO      github AdobeDocs/journey-optimizer-apis @418ba208: sibling APIs
    OAUTH    developer.adobe.com, "Server to Server authentication", IMS
    LIMITS   github AdobeDocs/analytics-2.0-apis, texts and issue 176: the same gateway
    RFC 6901 JSON Pointer, RFC 6902 JSON Patch

Not in any source: the status of a good PATCH, whether dps knows If-Match, the error bodies of these
two APIs, their rate limits.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice, takewhile
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import quote, urlencode, urlsplit

from jsonpointer import JsonPointer, JsonPointerException
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, to_json

from pipeline.model import (
    Answer,
    Cell,
    CellKind,
    Effect,
    EntityKey,
    NoReply,
    Reply,
    Request,
    UpdateJob,
    Verdict,
)
from pipeline.model.validation import value_error
from pipeline.vendors.kit import compare, json_patch, preconditions
from pipeline.vendors.kit.classify import (
    HINT_IN_DOUBT,
    NOT_CONFIRMED,
    Confirmation,
    classify,
    error_status,
    json_object,
    plain,
)
from pipeline.vendors.kit.contract import (
    MISSING,
    Bearer,
    Change,
    Defaults,
    Difference,
    Doubt,
    EntityPage,
    EntityRead,
    Guard,
    KnownReply,
    Listing,
    Missing,
    Operation,
    Probe,
    RequestHead,
    State,
    Token,
    TokenCall,
    Vendor,
    VendorSettings,
)
from pipeline.vendors.kit.json_values import EXPECTED, is_json, is_whole
from pipeline.vendors.kit.numbers import lifetime_s

# ------------------------------------------------------------------------------------- settings

# Characters of headers and entity keys: visible, without the `|` that separates parts of a key.
_WORD = re.compile(r"(?!\.\.?\Z)[!-{}~]+")
_SCOPE = re.compile(r"[!-+\--~]+")  # OAUTH: commas part them


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise value_error("expected visible ASCII characters, without blanks and without |")
    return text


def _scope_name(text: str) -> str:
    if not _SCOPE.fullmatch(text):
        raise value_error("expected one scope each, without blanks and commas")
    return text


Word = Annotated[str, AfterValidator(_word)]
Secret = Annotated[SecretStr, Field(min_length=1)]


class AdobeSettings(VendorSettings):
    """Settings of an account at Adobe.

    `api` has no default: it is chosen.
    """

    base_url: str = Field(
        default="https://platform.adobe.io/data/core",  # UPDATE, DPS
        description="Address of the API.",
    )
    api: Literal["xcore", "dps"] = Field(
        description="The generation of the API; Adobe supported xcore until 2024-03-27."
    )
    container_id: Word | None = Field(default=None, description="xcore: where the offers are.")
    containers: tuple[Word, ...] = Field(
        default=(), description="xcore: others that a column container_id may name."
    )
    ims_org: Word = Field(description="The organisation, sent as x-gw-ims-org-id.")
    sandbox_name: Word = Field(description="The sandbox, sent as x-sandbox-name.")
    client_id: Secret = Field(
        description="Of the project in the Developer Console; also the x-api-key of every request."
    )
    client_secret: Secret | None = Field(default=None, description="To get tokens; needs scopes.")
    scopes: tuple[Annotated[str, AfterValidator(_scope_name)], ...] = Field(
        default=(), description="Those that the Developer Console lists; needs client_secret."
    )
    access_token: Secret | None = Field(
        default=None, description="A ready token, instead of client_secret and scopes."
    )
    token_url: str = Field(
        default="https://ims-na1.adobelogin.com/ims/token/v3",  # OAUTH
        description="Where tokens come from: https://, or http:// to this machine.",
    )
    preconditions: bool = Field(
        default=True,
        description=(
            "false adds no precondition to updates that are harmful when repeated, and does not "
            "repeat them once in doubt."
        ),
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if faults := [*_sign_in_faults(self), *_container_faults(self)]:
            raise PydanticCustomError("settings", "; ".join(faults))
        return self


def _sign_in_faults(s: AdobeSettings) -> Iterator[str]:
    # presence only: while rows are bound, secrets hold a placeholder
    if s.client_secret is None and s.access_token is None:
        yield "client_secret with scopes, or access_token, is missing: nothing says how to sign in"
    elif s.client_secret is not None and s.access_token is not None:
        yield "client_secret and access_token are two ways to sign in: leave one of them out"
    elif s.client_secret is not None and not s.scopes:
        yield "scopes is missing: client_secret needs those that the Developer Console lists"
    elif s.access_token is not None and s.scopes:
        yield "scopes belongs to client_secret: leave it out with access_token"
    if not _may_hold_credentials(s.token_url):
        yield "token_url should be https:// with host and path, without user, query and fragment"


def _container_faults(s: AdobeSettings) -> Iterator[str]:
    if s.api == "xcore" and s.container_id is None:
        yield "container_id is missing: xcore finds an offer in its container"
    if s.api == "dps" and (s.container_id is not None or s.containers):
        # it would have no effect, which a reader of the configuration would not expect
        yield "container_id and containers belong to xcore: dps knows an offer by its id alone"


def _may_hold_credentials(url: str) -> bool:
    """Return whether credentials may be sent to this address.

    >>> _may_hold_credentials("http://127.0.0.1:8080/token"), _may_hold_credentials("http://a/b")
    (True, False)
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_loopback = host in {"localhost", "::1"} or re.fullmatch(r"127(\.[0-9]{1,3}){3}", host)
    is_plain = re.fullmatch(r"[!-~]+", url) and not re.search(r"[?#\\@]", url)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback)
    return bool(host and parts.path.startswith("/") and is_plain and is_safe)


def _authenticate(s: AdobeSettings) -> Bearer | TokenCall:
    """OAUTH: client credentials in a form. The reply has a token for 24 hours, which is renewed."""
    if s.access_token is not None:
        return Bearer(s.access_token)
    secret = s.client_secret or SecretStr("")  # never empty: `_sign_in_faults`
    form = {
        "grant_type": "client_credentials",
        "client_id": s.client_id.get_secret_value(),
        "client_secret": secret.get_secret_value(),
        "scope": ",".join(s.scopes),
    }
    url = urlsplit(s.token_url)
    return TokenCall(
        base_url=f"{url.scheme}://{url.netloc}",
        request=Request("POST", url.path, urlencode(form).encode(), _FORM),
        read=_read_token,
        secrets=(s.client_id, secret),
    )


_FORM: Final = MappingProxyType(
    {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
)


def _read_token(reply: Reply) -> Token | None:
    """OAUTH: `{access_token, token_type, expires_in}`, in seconds; see `lifetime_s` for bounds.

    >>> _read_token(Reply(200, {}, b'{"access_token": "t", "expires_in": 86399}'))
    Token(value=SecretStr('**********'), lifetime_s=86399.0)
    """
    body = json_object(reply.body)
    text, lifetime = body.get("access_token"), body.get("expires_in")
    if not isinstance(text, str) or not re.fullmatch(r"[!-~]+", text):
        return None
    return Token(SecretStr(text), lifetime_s(lifetime))


# ------------------------------------------------------------------------- changes and JSON Patch

STATUSES: Final = ("draft", "approved", "archived")  # SERVICE
PATCH: Final = "patch"

# UPDATE has xdm:status; DPS has the root of the document, with name and description
_NAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "xcore": {"status": "/_instance/xdm:status"},
    "dps": {"status": "/status", "name": "/name", "description": "/description"},
}
_COLUMN = re.compile(r"(add:|remove:|)(/.*)", re.DOTALL)
_MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {  # RFC 6902, section 4
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "copy": ("from", "path"),
    "move": ("from", "path"),
    "test": ("path", "value"),
}

Place = tuple[int | str, ...]
Complaint = tuple[Place, str]

_NO_CHANGE = (
    "expected a value in at least one column that changes something: status, name, description, "
    "patch, a JSON Pointer such as /name (xcore: /_instance/xdm:name), or one after add: or remove:"
)
_NO_POINTER = "a JSON Pointer, as in /_instance/xdm:name; within a name ~ is ~0 and / is ~1"
_NO_TEXT = "expected text; other types, and null, go through the column patch"


def _checked(given: Any) -> dict[str, Any]:
    """Validate the columns of a row that change something; name every invalid one."""
    if given is None or given == {}:
        raise value_error(_NO_CHANGE)
    if not isinstance(given, dict):
        raise value_error("expected an object")
    found = [
        InitErrorDetails(
            type=value_error(f"{text} ({_in_words(place)})" if place else text),
            loc=(str(key), *place),
            input=value,
        )
        for key, value in given.items()
        for place, text in _member_complaints(str(key), value)
    ]
    if found:
        raise ValidationError.from_exception_data("changes", found)
    return given


def _in_words(place: Place) -> str:
    """A place within a cell.

    >>> _in_words((1, "path"))
    'item 2, path'
    """
    return ", ".join(f"item {step + 1}" if isinstance(step, int) else step for step in place)


def _member_complaints(key: str, value: Any) -> Iterator[Complaint]:
    if key == PATCH:
        yield from _patch_complaints(value)
    elif key == "status":
        if value not in STATUSES:
            yield (), "expected draft, approved or archived"
    elif key in _NAMED["dps"]:
        yield from _text_complaints(value)
    elif (column := _COLUMN.fullmatch(key)) is None:
        yield (), "expected no such column"
    else:
        prefix, pointer = column.groups()
        if _tokens_or_none(pointer) is None:
            yield (), f"expected a header that is {_NO_POINTER}"
        if prefix != "remove:":
            yield from _text_complaints(value)
        elif value is not True:
            yield (), "expected true, which removes it; leave the cell empty to keep it"


def _text_complaints(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, str):
        yield (), _NO_TEXT
    elif not is_whole(value):
        yield (), "expected whole characters, not half of a surrogate pair"


def _patch_complaints(value: Any) -> Iterator[Complaint]:
    if not isinstance(value, list) or not value:
        yield (), "expected a list of at least one operation"
        return
    for number, operation in enumerate(value):
        for place, text in _operation_complaints(operation):
            yield (number, *place), text


def _operation_complaints(operation: Any) -> Iterator[Complaint]:
    if not isinstance(operation, dict):
        yield (), "expected an object with op and path"
        return
    name = operation.get("op")
    members = _MEMBERS.get(name) if isinstance(name, str) else None
    if members is None:
        yield ("op",), f"expected one of {', '.join(_MEMBERS)}"
        return
    for member in members:
        if member not in operation:
            yield (member,), "expected a value"
        elif member == "value":
            if not is_json(operation[member]):
                yield (member,), EXPECTED
        elif _tokens_or_none(operation[member]) is None:
            yield (member,), f"expected {_NO_POINTER}"
    for member in operation:  # RFC 6902, 4: others are ignored; `_doubts` names them
        if member not in (*members, "op") and not is_json({member: operation[member]}):
            yield (str(member),), EXPECTED


@lru_cache(maxsize=4096)  # the headers of a file come again in every row
def _tokens(pointer: str) -> tuple[str, ...]:
    """The steps of a JSON Pointer; raises JsonPointerException.

    >>> _tokens("/tags/a~1b")
    ('tags', 'a/b')
    """
    return tuple(JsonPointer(pointer).parts)


def _tokens_or_none(pointer: Any) -> tuple[str, ...] | None:
    if not isinstance(pointer, str) or not is_whole(pointer):
        return None
    try:
        return _tokens(pointer)
    except JsonPointerException:
        return None


def _operations(api: str, changes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The JSON Patch of a row, in the order of its columns.

    >>> _operations("dps", {"status": "approved", "remove:/labels": True})
    [{'op': 'replace', 'path': '/status', 'value': 'approved'}, {'op': 'remove', 'path': '/labels'}]
    """
    found: list[dict[str, Any]] = []
    for key, value in changes.items():
        if key == PATCH:
            found += value
        elif (operation := _of_column(api, key, value)) is not None:
            found.append(operation)
    return found


def _of_column(api: str, key: str, value: Any) -> dict[str, Any] | None:
    """The operation of a column; None if the API has no such column, which is refused."""
    column = _COLUMN.fullmatch(key)
    if column is None:
        path = _NAMED[api].get(key)
        return None if path is None else {"op": "replace", "path": path, "value": value}
    prefix, path = column.groups()
    if prefix == "remove:":
        return {"op": "remove", "path": path}
    return {"op": "add" if prefix else "replace", "path": path, "value": value}


# ------------------------------------------------------------------------------------- the job

ABSENT: Any = None
"""The value of a field that a row leaves out; `model_fields_set` distinguishes it from null."""


def _segment(text: str) -> str:
    # `.` and `..` as a path segment mean another address to every URL parser (RFC 3986, 5.2.4)
    if text in ("", ".", "..") or not is_whole(text):
        raise value_error("expected an id, for example b3966680-13ec-11eb-9c20-8323709cfc65")
    return text


# RFC 9110, 8.8.3: any visible ASCII but the quotes around it. Bounded, for it travels in a header
_ETAG = re.compile(r'("?)([!#-~]{1,200})\1')


def _etag(value: Any) -> str:
    """Opaque (RFC 9110): UPDATE and DPS show whole numbers, SERVICE sends them in quotes.

    >>> _etag('"3"'), _etag(3), _etag("a1-f0")
    ('3', '3', 'a1-f0')
    """
    text = str(value) if type(value) is int else value
    found = _ETAG.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise value_error(
            "expected the etag as Adobe gave it, as in 3: 1 to 200 visible ASCII characters"
        )
    return found[2]


def _etag_or_none(value: Any) -> str | None:
    try:
        return _etag(value)
    except PydanticCustomError:
        return None


def _text_cell(help_: str, example: str) -> Cell:
    return Cell(CellKind.TEXT, help=help_, example=example, is_opaque=True)


class FallbackOffer(UpdateJob):
    """Changes of one fallback offer.

    changes  JSON values by the column that gave them, in column order: `status`, `name`,
             `description`, `patch`, a JSON Pointer (replaces), or one after `add:` or `remove:`
    """

    instance_id: Annotated[
        str,
        AfterValidator(_segment),
        Cell(
            CellKind.ID,
            help="The offer to update: its id (dps), its instance id (xcore).",
            example="b3966680-13ec-11eb-9c20-8323709cfc65",
            is_opaque=True,
        ),
    ]
    container_id: Annotated[
        str,
        AfterValidator(_segment),
        Cell(
            CellKind.ID,
            help="xcore: the container, if it is not the account's own; one of `containers`.",
            example="e0bd8463-0913-4ca1-bd84-6309134ca1f6",
        ),
    ] = ABSENT
    etag: Annotated[
        str,
        BeforeValidator(_etag),
        Cell(
            CellKind.ID,
            help="xcore: update only if the offer still has this etag, as Adobe gave it.",
            example="2",
        ),
    ] = ABSENT
    changes: Annotated[
        dict[str, Any],
        BeforeValidator(_checked),
        Field(validate_default=True),  # so that a row without changes gets its own message
        Cell(
            CellKind.MAP,
            help="What changes: a column for each change, sent in the order of the columns.",
            example='{"status": "approved"}',
            is_spread=True,
            members=(
                (
                    "status",
                    Cell(CellKind.KEYWORD, help="draft, approved or archived.", example="approved"),
                ),
                ("name", _text_cell("dps: the name.", "Summer")),
                ("description", _text_cell("dps: the description.", "For everyone")),
                (
                    PATCH,
                    Cell(
                        CellKind.LIST,
                        help="Operations of JSON Patch, for values that are no text.",
                        example='[{"op": "replace", "path": "/labels", "value": []}]',
                    ),
                ),
                (
                    "/*",
                    _text_cell(
                        "A header such as /name, in xcore /_instance/xdm:name: replaces it.",
                        "Summer",
                    ),
                ),
                (
                    "add:/*",
                    _text_cell("A header such as add:/labels/-: adds this text there.", "summer"),
                ),
                (
                    "remove:/*",
                    Cell(
                        CellKind.BOOLEAN,
                        help="A header such as remove:/labels/0: true removes it.",
                        example="true",
                    ),
                ),
            ),
        ),
    ] = ABSENT


# ------------------------------------------------------------------------ doubts, never a refusal

_NOT_OF_FALLBACKS: Final = frozenset({"rank", "selectionConstraint", "cappingConstraint"})


def _warn(job: FallbackOffer) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_doubts(_operations("dps", job.changes))))


def _doubts(operations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if all(operation["op"] == "test" for operation in operations):
        yield "patch: it only tests, so that nothing changes"
    for operation in operations:
        if extra := operation.keys() - {"op", *_MEMBERS[operation["op"]]}:
            known = plain(", ".join(sorted(extra)), _SHOWN_ID_CHARS)
            yield f"patch: JSON Patch ignores {known} of {operation['op']}; it is sent as given"
        names = {token.removeprefix("xdm:") for token in _tokens(operation["path"])}
        # SERVICE; the sample of DPS for creating one sends both all the same
        if operation["op"] != "test" and not names.isdisjoint(_NOT_OF_FALLBACKS):
            where = plain(operation["path"], _SHOWN_ID_CHARS)
            yield f"{where}: Adobe says that fallback offers have no rank and no constraints"


# --------------------------------------------------------- what may be sent, and what sent again

_DOCUMENTED: Final[Mapping[str, frozenset[str]]] = {
    "xcore": frozenset({"add", "replace", "remove"}),  # UPDATE
    "dps": frozenset({"add", "replace", "remove", "copy", "test"}),  # DPS
}
_MAX_REASONS = 5


def _refuse(s: AdobeSettings, job: FallbackOffer) -> str | None:
    """Everything that this account's API cannot take, in one text."""
    operations = _operations(s.api, job.changes)
    found = [
        *_misplaced(s, job),
        *_undocumented(s.api, operations),
        *_given_twice(s.api, job.changes),
    ]
    if s.api == "dps" and _needs_guard(s, job) and not preconditions.can_be_guarded(_steps(s, job)):
        found.append(_UNGUARDED)
    reasons = list(dict.fromkeys(found))
    if len(reasons) > _MAX_REASONS:
        reasons[_MAX_REASONS:] = [f"and {len(reasons) - _MAX_REASONS} more"]
    return "; ".join(reasons) or None


_UNGUARDED: Final = (
    "sent twice, this would not leave the same as sent once, and no test can be read for it: put "
    "one first, in the column patch before all other changes, that no longer holds after them, or "
    "set preconditions = false for the account"
)


def _misplaced(s: AdobeSettings, job: FallbackOffer) -> Iterator[str]:
    given = job.model_fields_set
    if s.api == "dps":
        if "container_id" in given:
            yield "container_id: dps knows an offer by its id alone; leave the cell empty"
        if "etag" in given:
            yield (
                "etag: no If-Match is documented for dps; put a test first instead, in the column "
                'patch, as in [{"op": "test", "path": "/status", "value": "draft"}]'
            )
    elif "container_id" in given and job.container_id not in (s.container_id, *s.containers):
        allowed = ", ".join((s.container_id or "", *s.containers))
        yield (
            f"container_id {plain(job.container_id, _SHOWN_ID_CHARS)} is none of this account's "
            f"containers ({allowed}); add it to `containers` of the account, or choose another "
            "account"
        )
    for key in job.changes:
        if key != PATCH and not _COLUMN.fullmatch(key) and key not in _NAMED[s.api]:
            yield f"{key}: a column of dps; in xcore give a pointer, such as /_instance/xdm:{key}"


def _undocumented(api: str, operations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for operation in operations:
        name = operation["op"]
        if name not in _DOCUMENTED[api]:
            known = ", ".join(sorted(_DOCUMENTED[api]))
            yield f"patch: {api} documents no operation {name}, only {known}"
        for pointer in (operation["path"], operation.get("from", operation["path"])):
            shown = plain(pointer, _SHOWN_ID_CHARS) or "an empty pointer"
            if api == "xcore" and not pointer.startswith("/_instance/"):
                yield f"{shown}: pointers of xcore start with /_instance/, as /_instance/xdm:name"
            if api == "dps" and f"{pointer}/".startswith("/_instance/"):
                yield f"{shown}: pointers of dps start at the root, as /name, without /_instance"


def _given_twice(api: str, changes: Mapping[str, Any]) -> Iterator[str]:
    """Two columns that set the same field: it is unknown which one is meant."""
    seen: dict[tuple[str, ...], str] = {}
    for key, value in changes.items():
        operation = None if key == PATCH else _of_column(api, key, value)
        if operation is not None and preconditions.is_harmless(_step(operation)):
            twin = seen.setdefault(_tokens(operation["path"]), key)
            if twin != key:
                yield f"{twin} and {key} set the same: keep one of them"


def _repeatable(s: AdobeSettings, job: FallbackOffer) -> bool:
    """Each operation sets something to a value, or a guard keeps Adobe from doing it twice."""
    return all(map(preconditions.is_harmless, _steps(s, job))) or _is_guarded(s, job)


def _is_guarded(s: AdobeSettings, job: FallbackOffer) -> bool:
    """Return whether Adobe would refuse the job the second time."""
    if s.api == "xcore":  # SERVICE: an etag that is not the offer's any more gets a 409
        return "etag" in job.model_fields_set
    return preconditions.is_guarded(_steps(s, job))


def _needs_guard(s: AdobeSettings, job: FallbackOffer) -> bool:
    return s.preconditions and not _repeatable(s, job)


def _guarded(s: AdobeSettings, job: FallbackOffer, state: State) -> FallbackOffer | None:
    """Add the etag that was read (xcore), and tests for steps that must not be repeated.

    xcore does not accept tests. The job has them all the same, for a read that resolves doubt.
    """
    tests = preconditions.guards_for(_steps(s, job), state.fields, is_json)
    operations = [
        *({"op": "test", "path": _pointer(test.place), "value": test.value} for test in tests),
        *_operations(s.api, job.changes),
    ]
    changes = {"changes": {PATCH: operations}}
    if s.api == "xcore":
        return job.model_copy(update={**changes, "etag": state.etag}) if state.etag else None
    return job.model_copy(update=changes) if tests else None


def _is_guard_refusal(s: AdobeSettings, answer: Answer) -> bool:
    """SERVICE: a stale etag gets a 409. No source has the reply to a failed test."""
    return answer.http_status in ({409, 412} if s.api == "xcore" else {400, 409, 412, 422})


def _expected(s: AdobeSettings, job: FallbackOffer) -> str:
    if s.api == "xcore":
        return f"etag {job.etag}"
    tests = takewhile(lambda each: each["op"] == "test", _operations(s.api, job.changes))
    words = (f"{each['path']} = {to_json(each['value']).decode()}" for each in tests)
    return plain(", ".join(words), _SHOWN_MESSAGE_CHARS)


def _pointer(place: Sequence[str]) -> str:
    return str(JsonPointer.from_parts(place).path)


# ---------------------------------------------------------------------------- jobs to requests

# UPDATE contradicts itself: its table has Content-Type `application/schema-instance+json`, its
# request `application/vnd.adobe.platform.xcore.patch.hal+json`. It is the latter that is sent: all
# other update pages of LEGACY have it in their tables, SERVICE keeps schema-instance for creating.
_SCHEMA = "https://ns.adobe.com/experience/offer-management/fallback-offer;version=0.1"
_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "xcore": {
        "Accept": "application/vnd.adobe.platform.xcore.xdm.receipt+json; version=1",
        "Content-Type": "application/vnd.adobe.platform.xcore.patch.hal+json; version=1; "
        f'schema="{_SCHEMA}"',
    },
    "dps": {"Content-Type": "application/json"},  # DPS
}


@lru_cache(maxsize=64)  # one object per account, which the transport recognises
def _headers(s: AdobeSettings, *, is_read: bool = False) -> Mapping[str, str]:
    return MappingProxyType(
        {
            **(_READ_HEADERS if is_read else _HEADERS)[s.api],
            "x-api-key": s.client_id.get_secret_value(),
            "x-gw-ims-org-id": s.ims_org,
            "x-sandbox-name": s.sandbox_name,
        }
    )


def _encode(s: AdobeSettings, batch: Sequence[FallbackOffer]) -> Request:
    (job,) = batch
    # xcore knows no test: what one says, the etag guards
    operations = _operations(s.api, job.changes)
    body = to_json([each for each in operations if s.api == "dps" or each["op"] != "test"])
    headers = _headers(s)
    if s.api == "xcore" and "etag" in job.model_fields_set:
        headers = MappingProxyType({**headers, "If-Match": f'"{job.etag}"'})
    return Request("PATCH", _path(s, job), body, headers)


def _path(s: AdobeSettings, job: FallbackOffer) -> str:
    offer = _quoted(job.instance_id)
    if s.api == "dps":
        return f"/dps/offers/{offer}?offer-type=fallback"
    return f"/xcore/{_quoted(_container(s, job))}/instances/{offer}"


def _quoted(segment: str) -> str:
    return quote(segment, safe=":")  # ids such as xcore:fallback-offer:1 stay as people know them


def _container(s: AdobeSettings, job: FallbackOffer) -> str:
    given = job.container_id if "container_id" in job.model_fields_set else s.container_id
    return given or ""


def _entity(s: AdobeSettings, job: FallbackOffer) -> EntityKey:
    # every organisation has a sandbox `prod`, hence both; a container is the only one of its id
    scope = _container(s, job) if s.api == "xcore" else f"{s.ims_org}/{s.sandbox_name}"
    return EntityKey("adobe", s.origin, scope, "offer", job.instance_id)


# -------------------------------------------------------------------------- replies to answers

_SHOWN_MESSAGE_CHARS = 500
_SHOWN_ID_CHARS = 100
_CONFLICTS: Final = frozenset({409, 412})
_PROBLEM_TYPES = "https://ns.adobe.com/aep/errors/"  # TROUBLE

# TROUBLE; the same for every row of the account. LIMITS has 429050.
_MISCONFIGURED: Final = frozenset({"400003", "401013", "403000", "403003", "403010", "403025"})
_HINTS: Final[Mapping[str, str]] = {
    "400003": "check ims_org: Adobe misses a header that tells the organisation",
    "401013": "check client_id and client_secret, or give a fresh access_token",
    "403000": "check client_id: it is also the API key, which Adobe misses",
    "403003": "check client_id: Adobe does not take it as an API key for this API; add the API to "
    "the project in the Developer Console",
    "403010": "check base_url and proxy: the access token did not reach Adobe",
    "403025": "check ims_org: these credentials do not belong to it",
    "429050": "lower the account's quota: Adobe counts together all that use this client_id",
}
_HINTS_BY_STATUS: Final[Mapping[int, str]] = {
    401: _HINTS["401013"],
    403: "check sandbox_name, ims_org and what the credentials may do there",
    422: "correct the row: Adobe applies it, then checks the whole offer; its message names the "
    "fault, for example a property that must not change",  # SERVICE
}
_HINT_STALE = (
    "someone changed the offer since this etag was read: read the new one, and look whether the "
    "row is still right"
)
_HINT_HARMLESS = "it may have been applied; sending the row again is harmless: it sets values"
_HINT_GUARDED = "it may have been applied; sending the row again is safe: if it was, Adobe refuses"


def _decode(
    s: AdobeSettings, batch: Sequence[FallbackOffer], reply: Reply | NoReply
) -> tuple[Answer, ...]:
    answer = classify(reply, _confirmation(s, batch[0]))
    if isinstance(reply, Reply):
        body = json_object(reply.body)
        request_id = compare.short(body.get("request-id")) or compare.short(
            reply.headers.get("x-request-id")
        )
        answer = answer._replace(request_id=request_id)
        if answer.verdict is Verdict.OK:
            answer = answer._replace(receipt=_receipt(body))
        elif answer.code != NOT_CONFIRMED:
            answer = _explained(s, batch[0], answer, body)
    if answer.hint == HINT_IN_DOUBT:
        answer = answer._replace(hint=_hint_in_doubt(s, batch[0]))
    return (answer,) * len(batch)


# UPDATE, DPS: what names the offer in the receipt of a good PATCH; ids of xcore have two forms
_IDS: Final[Mapping[str, tuple[str, ...]]] = {"xcore": ("instanceId", "@id"), "dps": ("id",)}
_OK: Final = 200  # no source has the status of a good PATCH: assumed


def _confirmation(s: AdobeSettings, job: FallbackOffer) -> Confirmation:
    """A receipt that names the very offer that was to be updated."""
    names = _IDS[s.api]
    example = to_json({names[0]: job.instance_id, "etag": 2})
    return Confirmation(
        words=f"200 with a receipt whose {' or '.join(names)} is the offer's",
        example=Reply(_OK, {}, example),
        holds=lambda reply: _names(job.instance_id, names, reply),
        refusal=_refusal,
        source="UPDATE, DPS: the receipt; that its status is 200 is assumed",
    )


def _names(instance_id: str, names: Sequence[str], reply: Reply) -> bool:
    if reply.status != _OK or reply.is_cut:
        return False
    body = json_object(reply.body)
    return any(body.get(name) == instance_id for name in names)


def _refusal(reply: Reply) -> int | None:
    """The status of an error body (see `_codes`) in a 2xx; codes of the gateway begin with it.

    >>> _refusal(Reply(200, {}, b'{"error_code": "403025", "message": "Profile is not valid"}'))
    403
    """
    body = {} if reply.is_cut else json_object(reply.body)
    code = re.match(r"[45][0-9]{2}", compare.short(body.get("error_code")))
    return int(code[0]) if code else error_status(body)


def _receipt(body: Mapping[str, Any]) -> str:
    """The offer's new etag and its id, as JSON; empty if the reply has neither.

    >>> _receipt({"instanceId": "b39", "@id": "xcore:fallback-offer:1", "repo:etag": 2})
    '{"etag":2,"id":"b39"}'
    """
    of_etag = body.get("repo:etag", body.get("etag"))  # UPDATE, DPS
    ids = map(compare.short, (body.get("instanceId"), body.get("@id"), body.get("id")))
    members = {
        "etag": of_etag if type(of_etag) is int else _etag_or_none(of_etag) or "",
        "id": next(filter(None, ids), ""),
    }
    receipt = {name: value for name, value in members.items() if value != ""}
    return to_json(receipt).decode() if receipt else ""


def _explained(
    s: AdobeSettings, job: FallbackOffer, answer: Answer, body: Mapping[str, Any]
) -> Answer:
    """`answer` with what Adobe's error body says; three shapes are known, see `_codes`."""
    codes = _codes(body)
    is_ours = answer.verdict is Verdict.REJECTED and not _MISCONFIGURED.isdisjoint(codes)
    return answer._replace(
        verdict=Verdict.FATAL if is_ours else answer.verdict,
        code=codes[0] if codes else answer.code,
        message=_message(body) or answer.message,
        hint=_hint(s, job, answer, codes),
    )


def _codes(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The codes of the body: of the gateway, of a problem's type, of the services it passed.

    >>> _codes({"error_code": "401013", "message": "Oauth token is not valid"})
    ('401013',)
    >>> _codes({"type": "https://ns.adobe.com/aep/errors/EXEG-3050-401", "status": 401})
    ('EXEG-3050-401',)
    >>> _codes({"type": "about:blank", "title": "Not Found", "status": 404})
    ()
    """
    kind = compare.short(body.get("type"))
    of_type = kind.removeprefix(_PROBLEM_TYPES) if kind.startswith(_PROBLEM_TYPES) else ""
    chain = body.get("error-chain")
    links = chain[:10] if isinstance(chain, list) else ()
    of_chain = (compare.short(link.get("errorCode")) for link in links if isinstance(link, dict))
    found = (compare.short(body.get("error_code")), of_type, *of_chain)
    return tuple(dict.fromkeys(filter(None, found)))


def _message(body: Mapping[str, Any]) -> str:
    report = body.get("report")
    more = report.get("additionalContext") if isinstance(report, dict) else None
    inner = list(islice(more.values(), 10)) if isinstance(more, dict) else [more]
    found = [body.get("message"), body.get("title"), body.get("detail"), *inner]
    words = (plain(text, _SHOWN_MESSAGE_CHARS) for text in found if isinstance(text, str))
    return plain("; ".join(dict.fromkeys(filter(None, words))), _SHOWN_MESSAGE_CHARS)


def _hint(s: AdobeSettings, job: FallbackOffer, answer: Answer, codes: Sequence[str]) -> str:
    if answer.effect is Effect.MAYBE:
        return answer.hint
    known = [_HINTS[code] for code in codes if code in _HINTS]
    if known:
        return known[0]
    status = answer.http_status or 0
    if status in _CONFLICTS and "etag" in job.model_fields_set:
        return _HINT_STALE
    if status == 404:  # noqa: PLR2004 - a status says what it is
        where = "container_id" if s.api == "xcore" else "sandbox_name"
        return f"check instance_id and {where}: Adobe has no such fallback offer there"
    return _HINTS_BY_STATUS.get(status, answer.hint)


def _hint_in_doubt(s: AdobeSettings, job: FallbackOffer) -> str:
    if _is_guarded(s, job):
        return _HINT_GUARDED
    return _HINT_HARMLESS if _repeatable(s, job) else HINT_IN_DOUBT


# -------------------------------------------------------------------------------- reading back

# LEGACY; the parameter of the schema as in a PATCH. DPS needs no Accept
_READ_HEADERS: Final[Mapping[str, Mapping[str, str]]] = {
    "xcore": {"Accept": f'*, application/vnd.adobe.platform.xcore.hal+json; schema="{_SCHEMA}"'},
    "dps": {"Accept": "application/json"},
}


def _read(s: AdobeSettings, job: FallbackOffer) -> Request:
    return Request("GET", _path(s, job), headers=_headers(s, is_read=True))


def _state(s: AdobeSettings, job: FallbackOffer, reply: Reply) -> State | Missing | None:
    return _held(s, reply, job.instance_id)


def _held(s: AdobeSettings, reply: Reply, instance_id: str) -> State | Missing | None:
    """The state of this offer in a reply; None if the reply names another one."""
    body = {} if reply.is_cut else json_object(reply.body)
    if reply.status == 404:  # noqa: PLR2004 - a status says what it is
        # TROUBLE: the error format of a service; the gateway, which knows no offers, has another
        is_service = compare.short(body.get("type")).startswith(_PROBLEM_TYPES)
        return MISSING if is_service else None
    if s.api == "xcore":  # LEGACY: the offer is in `_instance`, its etag is next to it
        held, name, etag = body.get("_instance"), "xdm:name", body.get("repo:etag")
        inner = held.get("@id") if isinstance(held, dict) else None
        ids = {body.get(each) for each in ("instanceId", "@id") if isinstance(body.get(each), str)}
        ids |= {inner} if isinstance(inner, str) else set()
    else:
        ids = {body["id"]} if isinstance(body.get("id"), str) else set()
        held, name, etag = body, "name", body.get("etag")
    if reply.status != 200 or not isinstance(held, dict) or name not in held:  # noqa: PLR2004
        return None
    if ids and instance_id not in ids:
        return None
    return State({"_instance": held} if s.api == "xcore" else held, _etag_or_none(etag))


_PAGE_OFFERS: Final = 100  # DPS has `limit`; no source has its maximum


def _list(s: AdobeSettings, _job: FallbackOffer, after: str) -> Request:
    first = f"/dps/offers?offer-type=fallback&limit={_PAGE_OFFERS}"
    return Request("GET", after or first, headers=_headers(s, is_read=True))


def _page(s: AdobeSettings, reply: Reply, _after: str) -> EntityPage | None:
    """DPS: results, count, total, and in `_links.next` the relative address of the next page."""
    body = {} if reply.is_cut or reply.status != 200 else json_object(reply.body)  # noqa: PLR2004
    results, total = body.get("results"), body.get("total")
    if not isinstance(results, list):
        return None
    found: dict[str, State] = {}
    for item in results:
        offer = item.get("id") if isinstance(item, dict) else None
        state = _held(s, Reply(200, {}, to_json(item)), offer) if isinstance(offer, str) else None
        if not isinstance(state, State):
            return None
        found[str(offer)] = state
    links = body.get("_links")
    link = links.get("next") if isinstance(links, dict) else None
    href = link.get("href") if isinstance(link, dict) else None
    return EntityPage(found, total if type(total) is int else None, _next(href))


def _next(href: Any) -> str:
    """The path of the next page; empty for an address outside this listing.

    >>> _next("/offers?offer-type=fallback&start=2"), _next("https://evil.example/offers")
    ('/dps/offers?offer-type=fallback&start=2', '')
    """
    if not isinstance(href, str) or not re.fullmatch(r"/?offers\?[!-~]+", href):
        return ""
    return f"/dps/{href.removeprefix('/')}"


def _differences(s: AdobeSettings, job: FallbackOffer, state: State) -> tuple[Difference, ...]:
    """Compare the values at the patch's pointers, and the etag, which every update changes."""
    columns = {path: name for name, path in _NAMED[s.api].items()}
    found = []
    for place, *values in compare.patch_differences(_steps(s, job), state.fields):
        pointer = _pointer(place)
        found.append(Difference(columns.get(pointer, pointer), *values))
    if "etag" in job.model_fields_set and state.etag == job.etag:
        found.append(Difference("etag", f"another than {job.etag}", state.etag))
    return tuple(found)


def _steps(s: AdobeSettings, job: FallbackOffer) -> list[compare.PatchStep]:
    return list(map(_step, _operations(s.api, job.changes)))


def _step(operation: Mapping[str, Any]) -> compare.PatchStep:
    return compare.PatchStep(
        operation["op"],
        _tokens(operation["path"]),
        operation.get("value"),
        _tokens(operation.get("from", "")),
    )


def _writes(s: AdobeSettings, job: FallbackOffer) -> frozenset[str] | None:
    operations = _operations(s.api, job.changes)
    pointers = frozenset(each["path"] for each in operations if each["op"] != "test")
    return None if "" in pointers else pointers


# ------------------------------------------------------------------------------- plans and undo

# SERVICE, DPS: members that Adobe itself writes, besides all that start with repo:
_ITS_OWN: Final = frozenset(
    {
        *("@id", "_links", "created", "createdBy", "createdByClientId", "createdDate"),
        *("datasetId", "etag", "id", "lastModifiedBy", "lastModifiedByClientId"),
        *("lastModifiedDate", "modified", "sandboxId", "schemas"),
    }
)


def _after(s: AdobeSettings, job: FallbackOffer, state: State) -> State | None:
    fields = json_patch.applied(_steps(s, job), state.fields)
    return None if fields is None else State(fields)


def _state_differences(s: AdobeSettings, wanted: State, found: State) -> tuple[Difference, ...]:
    """Compare the members of the offer, each as a whole; equal etags mean equal states."""
    if wanted.etag is not None and wanted.etag == found.etag:
        return ()
    within = ("_instance",) if s.api == "xcore" else ()
    first, second = (compare.value_at(state.fields, within) for state in (wanted, found))
    names = [n for n in {**first, **second} if n not in _ITS_OWN and not n.startswith("repo:")]
    pairs = compare.differences(first, second, names, dict.fromkeys(names, _by_moment))
    columns = {path: name for name, path in _NAMED[s.api].items()}
    paths = (JsonPointer.from_parts((*within, each.field)).path for each in pairs)
    return tuple(
        Difference(columns.get(path, path), each.wanted, each.found)
        for path, each in zip(paths, pairs, strict=True)
    )


def _by_moment(value: Any) -> Hashable:
    return compare.meaning(value, compare.moment)


def _inverse(s: AdobeSettings, job: FallbackOffer, state: State) -> FallbackOffer | None:
    """A patch of the places that `job` writes; on dps, tests precede what it removes."""
    after = json_patch.applied(_steps(s, job), state.fields)
    if after is None:
        return None
    steps = json_patch.restoring(_steps(s, job), state.fields, after)
    if s.api == "dps":
        removed = [step.place for step in steps if step.name == "remove"]
        tests = [
            compare.PatchStep("test", place, compare.value_at(after, place)) for place in removed
        ]
        steps = [*tests, *steps]
    if not steps:
        return None
    given = job.given()
    address = ("instance_id", "container_id")
    values: dict[str, Any] = {name: given[name] for name in address if name in given}
    values["changes"] = {PATCH: [_as_operation(step) for step in steps]}
    return FallbackOffer.trusted(to_json(values).decode())


def _as_operation(step: compare.PatchStep) -> dict[str, Any]:
    operation: dict[str, Any] = {"op": step.name, "path": JsonPointer.from_parts(step.place).path}
    return operation if step.name == "remove" else {**operation, "value": step.value}


def _gap(s: AdobeSettings) -> str:
    if s.api == "xcore":
        return ""
    return (
        "no If-Match is documented for dps: within the round trip before a row is sent, tests in "
        "the patch notice a change of what it writes, and nothing notices another"
    )


# ------------------------------------------------------------------------------ what is offered


def _known(status: int, code: str, source: str) -> KnownReply:
    """A reply of the gateway with this code (TROUBLE); without one, of the service."""
    body = to_json({"error_code": code, "message": "No"}) if code else b""
    return KnownReply(
        f"{status} with {code}" if code else str(status), Reply(status, {}, body), source
    )


_KNOWN: Final = (
    *(_known(int(code[:3]), code, "TROUBLE") for code in sorted(_MISCONFIGURED)),
    _known(409, "", "SERVICE: a stale etag"),
    _known(412, "", "RFC 9110, 15.5.13: a stale etag; that Adobe uses it is assumed"),
    _known(422, "", "SERVICE: the patched offer is not right"),
    _known(429, "429050", "LIMITS, of a sibling behind the same gateway"),
    _known(500, "", "TROUBLE: wait and repeat; that it may have been applied is assumed"),
)

REPEAT_NOTE: Final = (
    "harmless if every change sets a value (inferred); any other is sent with a precondition, the "
    "row's own or one that is read first: an etag, which Adobe refuses with 409 once it is stale "
    "(tutorial of the xcore API), or a test in the patch (dps), unless the account has "
    "preconditions = false"
)

FALLBACK_OFFER: Final = Operation(
    name="adobe.fallback-offer",
    summary="Update a fallback offer: shown to whoever qualifies for no other",
    job_type=FallbackOffer,
    entity_kind="offer",
    replaces=False,
    # A cautious guess: no source has numbers. LIMITS: 12 calls in 6 s for another API behind the
    # same gateway, which itself continues for 60 s.
    defaults=Defaults(quota=("2/s",), in_flight=4, timeout_s=65.0),
    entity=_entity,
    encode=_encode,
    head=lambda s: RequestHead("PATCH", _headers(s)),
    confirmation=_confirmation,
    decode=_decode,
    known=_KNOWN,
    refuse=_refuse,
    repeatable=_repeatable,
    repeat_note=REPEAT_NOTE,
    warn=_warn,
    writes=_writes,
    # LIMITS: the gateway itself works on for 60 s
    reading=EntityRead(
        request=_read,
        state=_state,
        differences=_differences,
        settle_after_s=65.0,
        listing=lambda s: Listing(request=_list, page=_page) if s.api == "dps" else None,
    ),
    change=Change(after=_after, differences=_state_differences, inverse=_inverse, gap=_gap),
    guard=Guard(
        needs=_needs_guard, guarded=_guarded, refusal=_is_guard_refusal, expected=_expected
    ),
    sample=MappingProxyType(
        {
            "instance_id": "b3966680-13ec-11eb-9c20-8323709cfc65",
            "status": "approved",
            "name": "Summer for everyone",
            "add:/labels/-": "summer",
        }
    ),
)


def _scope(s: AdobeSettings) -> str:
    where = f", container {s.container_id}" if s.api == "xcore" else ""
    return f"sandbox {s.sandbox_name}{where}"


def _account_doubts(s: AdobeSettings) -> tuple[Doubt, ...]:
    if s.api == "dps":
        return ()
    return (
        Doubt(
            "xcore has ended: Adobe supported it until 2024-03-27",  # LEGACY
            'Move to api = "dps": its columns and pointers have other names',
        ),
    )


def _probe(s: AdobeSettings) -> Request | None:
    """A page of one offer. For xcore no source shows a list that needs no schema."""
    if s.api != "dps":
        return None
    path = "/dps/offers?offer-type=fallback&limit=1"
    return Request("GET", path, headers=_headers(s, is_read=True))


VENDOR: Final = Vendor(
    name="adobe",
    summary="Adobe Journey Optimizer: fallback offers of the Offer Library (dps; xcore has ended)",
    settings=AdobeSettings,
    authenticate=_authenticate,
    scope=_scope,
    operations=(FALLBACK_OFFER,),
    probe=Probe(request=_probe),
    doubts=_account_doubts,
    simulated=MappingProxyType(
        {
            "api": "dps",
            "ims_org": "SIMULATED@AdobeOrg",
            "sandbox_name": "prod",
            "client_id": "simulator-client",
            "client_secret": "simulator-secret",
            "scopes": ["openid"],
            "token_url": "{origin}/ims/token/v3",
        }
    ),
)
