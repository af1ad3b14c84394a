"""Oracle BRM, Billing Care REST: the status of offers that customers have purchased.

One request sets one status for many offers: `chargeOffers` and `discountOffers` list them, and
`statusCode`, `effectiveDate`, `notes` and `extension` hold for all. The answer is 200 with `true`;
the only failure that is documented is 500, which a wrong id and an outage share.

The sources of the facts below, each with the version of its documentation.

    OFFERS  docs.oracle.com, "Update an Offer's Status", 15.0, op-statusupdate-offers-put
    INDEX   the same for the whole group, 12.0 and 16.26.0, api-status-update
    SEND    15.0, "Send Requests" (SendRequests) and the list of statuses (reference)
    AUTH    15.1, "Authenticate"
    TOKEN   15.2, op-authentication-queryaccesstoken-get; 15.0, "Request an Access Token"
    NOTES   15.0, op-notes-post, op-notes-account-id-get, op-notes-billunit-id-get
    DETAIL  15.0, op-subscriptions-offerdetails-id-put
    STATUS  15.1 and 16.26.0, the siblings for accounts and services

What these state refuses a row. What is only inferred, or where they contradict one another, only
warns: a client stricter than its vendor blocks good rows. Not in any source: the body of an error,
how many offers a request may list, whether it is applied whole or in part, and rate limits. We
found no page that shows how the current status is read: those of "Get Services for an Account"
(12.0, 15.0) and "Get Service Details" (15.0, 15.1) speak of lists of offers, and what an offer in
them holds was cut off in what we could read.

OFFERS names XML beside JSON. It is not offered here: the name and the namespace of its root
element are not published, so that a body could only be guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, from_json, to_json

from pipeline.model import (
    Answer,
    Cell,
    CellKind,
    EntityKey,
    NoReply,
    Reply,
    Request,
    UpdateJob,
    Verdict,
)
from pipeline.vendors.kit import compare
from pipeline.vendors.kit.classify import (
    HINT_IN_DOUBT,
    NOT_CONFIRMED,
    Confirmation,
    classify,
    is_html,
    json_object,
    plain,
    refused_in_body,
)
from pipeline.vendors.kit.contract import (
    Authentication,
    Basic,
    Bearer,
    Change,
    Defaults,
    Difference,
    KnownReply,
    Operation,
    RequestHead,
    State,
    Token,
    TokenCall,
    Vendor,
    VendorSettings,
)
from pipeline.vendors.kit.numbers import lifetime_s


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("value", text)


def _faults(
    title: str, found: Mapping[str, str], values: Mapping[str, Any] | None = None
) -> ValidationError:
    """Complaints by place.

    values  what they are about; None shows nothing of it, for it could be a secret
    """
    details = [
        InitErrorDetails(
            type=_wrong(text),
            loc=(place,),
            input=None if values is None else values.get(place, values),
        )
        for place, text in found.items()
    ]
    return ValidationError.from_exception_data(title, details)


# ------------------------------------------------------------------------------------- settings

Secret = Annotated[SecretStr, Field(min_length=1)]

_CREDENTIALS: Final[Mapping[str, tuple[str, ...]]] = {
    "bearer": ("client_id", "client_secret", "access_token"),
    "basic": ("user", "password"),
    "none": (),
}


class OracleSettings(VendorSettings):
    """Settings of an account at Billing Care.

    base_url       up to the version, as https://billing.example.com:7002/bcws/webresources/v1.0;
                   INDEX shows the path with and without that prefix, so it is written out
    auth           "bearer": client_id and client_secret get a token (TOKEN), or access_token is
                   one; "basic": user and password, at sites that have it (inferred); "none": test
                   systems may accept calls without (AUTH)
    status_as      "text" sends "2", "number" 2. The sample of OFFERS has the text, its schema says
                   int32; no source says if both are accepted
    max_batch      most rows per request. A refused batch is sent again in parts, and no source says
                   how many rows are too many: 1 is safe
    """

    auth: Literal["bearer", "basic", "none"] = Field(
        default="bearer",
        description=(
            "How to sign in; none is for test systems. Credentials of another way are an error."
        ),
    )
    client_id: Secret | None = Field(
        default=None,
        description="bearer: to get tokens from base_url + /authentication/queryAccessToken.",
    )
    client_secret: Secret | None = Field(default=None, description="bearer: its secret.")
    access_token: Secret | None = Field(
        default=None, description="bearer: a ready token, instead of the two."
    )
    user: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="basic, at sites that have it (inferred)."
    )
    password: Secret | None = Field(default=None, description="basic.")
    status_as: Literal["text", "number"] = Field(
        default="text",
        description=(
            'text sends "2", as the vendor\'s sample does; number sends 2, as its schema says.'
        ),
    )
    max_batch: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Rows per request."
    )

    @model_validator(mode="after")
    def _signs_in_one_way(self) -> Self:
        names = (name for names in _CREDENTIALS.values() for name in names)
        given = {name for name in names if getattr(self, name) is not None}
        if found := dict(_sign_in_faults(self.auth, given)):
            raise _faults("Settings", found)
        return self


def _sign_in_faults(auth: str, given: AbstractSet[str]) -> Iterator[tuple[str, str]]:
    """Yield settings that are missing or have no effect, each with the fault.

    >>> dict(_sign_in_faults("basic", {"user"}))
    {'password': 'is missing: auth = "basic" needs user and password'}
    """
    for other, names in _CREDENTIALS.items():
        for name in names if other != auth else ():
            if name in given:
                yield name, f'belongs to auth = "{other}", and this account has auth = "{auth}"'
    if auth == "basic":
        for name in sorted({"user", "password"} - given):
            yield name, 'is missing: auth = "basic" needs user and password'
    if auth == "bearer" and "access_token" not in given:
        for name in sorted({"client_id", "client_secret"} - given):
            yield (
                name,
                ('is missing: auth = "bearer" needs client_id and client_secret, or access_token'),
            )
    if auth == "bearer" and "access_token" in given and {"client_id", "client_secret"} & given:
        yield (
            "access_token",
            "conflicts with client_id and client_secret, which get a token: give one or the other",
        )


def _authenticate(s: OracleSettings) -> Authentication:
    """How an account signs in: the settings hold the credentials of one way only."""
    if s.access_token is not None:
        return Bearer(s.access_token)
    if s.user is not None and s.password is not None:
        return Basic(s.user, s.password)
    if s.client_id is None or s.client_secret is None:
        return None
    return TokenCall(
        base_url=s.base_url.rstrip("/"),
        request=Request(
            "GET", "/authentication/queryAccessToken", headers={"Accept": "application/json"}
        ),
        basic=Basic(s.client_id.get_secret_value(), s.client_secret),
        read=_token,
        secrets=(s.client_id, s.client_secret),
    )


_A_TOKEN = re.compile(r"[!-~]+")  # what a header can carry


def _token(reply: Reply) -> Token | None:
    """The token of TOKEN: access_token, token_type "Bearer", expires_in in seconds, scope.

    >>> _token(Reply(200, {}, b'{"access_token": "a1", "expires_in": 3600}'))
    Token(value=SecretStr('**********'), lifetime_s=3600.0)
    """
    body = json_object(reply.body)
    value, kind, lasts = map(body.get, ("access_token", "token_type", "expires_in"))
    if not isinstance(value, str) or not _A_TOKEN.fullmatch(value):
        return None
    if kind is not None and str(kind).lower() != "bearer":
        return None
    return Token(SecretStr(value), lifetime_s(lasts))


# ----------------------------------------------------------------------------- ids of offers


class ObjectId(NamedTuple):
    """An id of BRM, called POID there.

    database  as in 0.0.0.1
    type      as in -purchased_product
    number    digits, without zeros in front
    """

    database: str
    type: str
    number: str

    @property
    def text(self) -> str:
        """As REST writes it; no source shows a revision there."""
        return f"{self.database}+{self.type}+{self.number}"


# OFFERS, DETAIL, STATUS: database, type with / as -, number. That the parts match `_USUAL` is
# inferred.
_REST = re.compile(r"([0-9]+(?:\.[0-9]+)*)\+(-[^\s+/]+)\+([0-9]+)")
_USUAL = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+\+-[A-Za-z0-9_-]+\+[0-9]+")
# inferred: so BRM's own tools print an id, database, type, number, revision
_PRINTED = re.compile(r"([0-9]+(?:\.[0-9]+)*) +/([^\s+]+) +([0-9]+)(?: +[0-9]+)?")


def object_id(text: str) -> ObjectId:
    """The id that `text` writes, in the form of REST or as BRM prints it; ValueError without one.

    >>> object_id("0.0.0.1 /purchased_product 209130 12")
    ObjectId(database='0.0.0.1', type='-purchased_product', number='209130')
    """
    if found := _REST.fullmatch(text):
        database, kind, number = found.groups()
    elif found := _PRINTED.fullmatch(text):
        database, kind, number = found[1], "-" + found[2].replace("/", "-"), found[3]
    else:
        raise _wrong(
            "expected an id of BRM, parted by plus signs, as in 0.0.0.1+-purchased_product+209130"
        )
    return ObjectId(database, kind, number.lstrip("0") or "0")


def _offer_id(text: str) -> str:
    object_id(text)
    return text


# ----------------------------------------------------------------------- what a value must be

Status = Literal["active", "inactive", "canceled"]
Kind = Literal["charge", "discount"]

_CODES: Final[Mapping[str, int]] = {"active": 1, "inactive": 2, "canceled": 3}  # OFFERS
_STATUSES: Final[Mapping[str, str]] = {
    **{name: name for name in _CODES},
    **{str(code): name for name, code in _CODES.items()},
    "cancelled": "canceled",  # as the British write it
}
_WHY_NO_STATUS: Final[Mapping[str, str]] = {
    # OFFERS lists 0 among the values; no source says what a request for it does
    "0": "0 means not set, which is no status to ask for",
    "suspended": "the status of a suspended offer is inactive",  # OFFERS has no other
    # STATUS
    **dict.fromkeys(("10100", "10102", "10103"), "this is a status of accounts and services"),
}


def _status(value: Any) -> Any:
    """The name of a status, from its name in any case or its number.

    >>> _status("Cancelled"), _status("2"), _status("2.0")
    ('canceled', 'inactive', 'inactive')
    """
    if type(value) not in (str, int):
        raise _wrong("expected text")
    word = str(value).lower()
    word = re.sub(r"\A([0-9]+)\.0+\Z", r"\1", word)  # pandas writes a column with gaps so
    if word not in _STATUSES:
        why = f"; {_WHY_NO_STATUS[word]}" if word in _WHY_NO_STATUS else ""
        raise _wrong(f"expected active, inactive or canceled, or 1, 2 or 3{why}")
    return _STATUSES[word]


def _kind(value: Any) -> Any:
    word = value.lower() if isinstance(value, str) else value
    if word not in ("charge", "discount"):
        raise _wrong("expected charge or discount")
    return word


_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


@lru_cache(maxsize=4096)  # the dates of a file repeat
def _is_date(text: str) -> bool:
    """Return whether `text` is a moment in the format of RFC 3339.

    >>> _is_date("2027-06-01T00:00:00+02:00"), _is_date("2027-06-31T00:00:00+02:00")
    (True, False)
    """
    try:
        return bool(_RFC3339.fullmatch(text) and datetime.fromisoformat(text))
    except ValueError:
        return False


def _date(text: str) -> str:
    if not _is_date(text):
        raise _wrong("expected a date, a time and an offset, as in 2027-06-01T00:00:00+02:00")
    return text


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    """`value`, if it is the same after it is written as JSON and read again."""
    try:
        same = from_json(to_json([value]), allow_inf_nan=False) == [value]
    except ValueError:  # half a character, a number that JSON has not, too many levels
        same = False
    if not same:
        raise _wrong("expected an object of JSON values")
    return value


_INT32: Final = 2**31


def _is_int32(value: Any) -> bool:
    return type(value) is int and -_INT32 <= value < _INT32


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_object, value))


def _is_moment(value: Any) -> bool:
    # OFFERS says date-time, the samples of NOTES have milliseconds since 1970: `warn` tells
    return _is_text(value) or type(value) is int


Member = tuple[Callable[[Any], bool], str]

_TEXT: Final[Member] = (_is_text, "text")
_WHOLE: Final[Member] = (_is_int32, "a whole number of 32 bits")
_MOMENT: Final[Member] = (_is_moment, "a date and time")

# OFFERS, NOTES. The end of the list is in no source, so that other members pass as they are; so
# do status, type and subType, which occur in sample responses only.
_NOTE: Final[Mapping[str, Member]] = {
    "amount": (_is_number, "a number"),
    "billId": _TEXT,
    "billUnitId": _TEXT,
    "closedDate": _MOMENT,
    "comments": (_is_list_of_objects, "a list of objects"),
    "count": _WHOLE,
    "domainId": _WHOLE,
    "effectiveDate": _MOMENT,
    "eventId": _TEXT,
    "extension": (_is_object, "an object"),
    "header": _TEXT,
    "id": _TEXT,
    "itemId": _TEXT,
    "reasonId": _WHOLE,
    "serviceId": _TEXT,
}


def _notes(value: dict[str, Any]) -> dict[str, Any]:
    found = dict(_note_faults(_json_object(value)))
    if found:
        raise _faults("notes", found, value)
    return value


def _note_faults(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    account = value.get("accountId")
    if not isinstance(account, str) or not account.strip():
        yield "accountId", "expected the account's id as text (accountId): notes need it"
    for name, (is_right, expected) in _NOTE.items():
        # null: no source says that a member may be, none that it may not
        if value.get(name) is not None and not is_right(value[name]):
            yield name, f"expected {expected} ({name})"


# ------------------------------------------------------------------------------------- the job

ABSENT: Any = None
"""The value of a field that a row leaves out; `model_fields_set` distinguishes it from null."""

_LISTS: Final[Mapping[str, str]] = {"charge": "chargeOffers", "discount": "discountOffers"}
# OFFERS, DETAIL
_KIND_OF_TYPE: Final[Mapping[str, Kind]] = {
    "-purchased_product": "charge",
    "-purchased_discount": "discount",
}


class OfferStatus(UpdateJob):
    """The status that a purchased offer is to have.

    offer_id  as the row writes it: `warn` can tell what was inferred; `offer_key` is the form that
              is sent and that tells offers apart
    status    always the name
    """

    offer_id: Annotated[
        str,
        Field(min_length=1),
        AfterValidator(_offer_id),
        Cell(
            CellKind.ID,
            help="The purchased offer; or as BRM prints it: 0.0.0.1 /purchased_product 209130 12.",
            example="0.0.0.1+-purchased_product+209130",
            is_opaque=True,
        ),
    ]
    status: Annotated[
        Status,
        BeforeValidator(_status),
        Cell(
            CellKind.KEYWORD,
            help="active, inactive or canceled, or 1, 2 or 3; canceled cannot be undone.",
            example="inactive",
        ),
    ]
    kind: Annotated[
        Kind,
        BeforeValidator(_kind),
        Cell(
            CellKind.KEYWORD,
            help="charge or discount, if the type in offer_id is missing or wrong.",
            example="charge",
        ),
    ] = ABSENT
    previous_status: Annotated[
        Status,
        BeforeValidator(_status),
        Cell(
            CellKind.KEYWORD,
            help="The status it has now, as you know it; not sent. Plans and undo go by it.",
            example="active",
        ),
    ] = ABSENT
    effective_date: Annotated[
        str,
        AfterValidator(_date),
        Cell(CellKind.DATE, help="From when it holds.", example="2027-06-01T00:00:00+02:00"),
    ] = ABSENT
    notes: Annotated[
        dict[str, Any],
        AfterValidator(_notes),
        Cell(
            CellKind.OBJECT,
            help="A note to keep with the change; accountId is required in it.",
            example='{"accountId": "0.0.0.1+-account+123123", "header": "End of campaign"}',
        ),
    ] = ABSENT
    extension: Annotated[
        dict[str, Any],
        AfterValidator(_json_object),
        Cell(
            CellKind.OBJECT,
            help="Attributes that your site has added to Billing Care.",
            example='{"campaign": "summer"}',
        ),
    ] = ABSENT

    @model_validator(mode="wrap")
    @classmethod
    def _has_a_list(cls, values: Any, inner: ModelWrapValidatorHandler[Self]) -> Self:
        """A validator around all others, so that its fault is reported with theirs."""
        faults = list(_list_faults(values))
        try:
            job = inner(values)
        except ValidationError as error:
            faults += [
                InitErrorDetails(
                    type=PydanticCustomError(fault["type"], fault["msg"]),
                    loc=fault["loc"],
                    input=fault["input"],
                )
                for fault in error.errors(include_url=False)
            ]
        if faults:
            raise ValidationError.from_exception_data("OfferStatus", faults)
        return job


def _list_faults(values: Any) -> Iterator[InitErrorDetails]:
    """Yield a fault if neither the id nor `kind` says which list the offer belongs to."""
    text = values.get("offer_id") if isinstance(values, dict) and "kind" not in values else None
    try:
        is_open = isinstance(text, str) and object_id(text).type not in _KIND_OF_TYPE
    except ValueError:
        is_open = False  # no id at all has a fault of its own
    if is_open:
        fault = _wrong(
            "expected purchased_product as the type, which goes to chargeOffers, or "
            "purchased_discount, which goes to discountOffers; an offer of another type needs a "
            "column kind that says charge or discount"
        )
        yield InitErrorDetails(type=fault, loc=("offer_id",), input=text)


def offer_key(job: OfferStatus) -> ObjectId:
    """The offer's id, the same however the row wrote it."""
    return object_id(job.offer_id)


def _kind_of_type(job: OfferStatus) -> Kind | None:
    return _KIND_OF_TYPE.get(offer_key(job).type)


# ------------------------------------------------------------------------ doubts, never a refusal


def _warn(job: OfferStatus) -> tuple[str, ...]:
    return tuple(_doubts(job))


def _doubts(job: OfferStatus) -> Iterator[str]:
    sent = offer_key(job).text
    if sent != job.offer_id:
        yield (
            "offer_id: rewritten into the form of Billing Care's samples, as in "
            "0.0.0.1+-purchased_product+209130; that this is the same offer is inferred"
        )
    if not _USUAL.fullmatch(sent):
        yield "offer_id: none of Billing Care's samples has an id of this form"
    if job.kind is not None and job.kind != (_kind_of_type(job) or job.kind):
        yield f"kind: {job.kind}, but the type in offer_id is that of a {_kind_of_type(job)}"
    for name in ("effectiveDate", "closedDate"):
        moment = (job.notes or {}).get(name)
        if moment is not None and not (isinstance(moment, str) and _is_date(moment)):
            yield f"notes: {name} is not a date in the form 2027-06-01T00:00:00+02:00"


# ---------------------------------------------------------------------------- jobs to requests

# SEND. The body has the ids as they are: a plus sign in a path or a form would be a blank.
_HEADERS: Final = MappingProxyType(
    {"Content-Type": "application/json", "Accept": "application/json"}
)
_PATH: Final = "/statusupdate/offers"


def _encode(s: OracleSettings, batch: Sequence[OfferStatus]) -> Request:
    """One request; all members but the two lists are those of every job of the batch."""
    first = batch[0]
    code = _CODES[first.status]
    body: dict[str, Any] = {
        "statusCode": str(code) if s.status_as == "text" else code,
        # OFFERS: the sample sends both lists, the one without an offer empty
        "chargeOffers": [],
        "discountOffers": [],
    }
    for job in batch:
        kind = job.kind or _kind_of_type(job)
        body[_LISTS[str(kind)]].append({"ref": {"id": offer_key(job).text}})
    given = first.given()
    for name, field in (
        ("effectiveDate", "effective_date"),
        ("notes", "notes"),
        ("extension", "extension"),
    ):
        if field in given:
            body[name] = given[field]
    return Request("PUT", _PATH, to_json(body), _HEADERS)


def _entity(s: OracleSettings, job: OfferStatus) -> EntityKey:
    return EntityKey("oracle", s.origin, "", "purchased-offer", offer_key(job).text)


# Nothing here is in a source; all is inferred, on the careful side.
_NOT_TWICE: Final = frozenset(
    {
        "notes",  # every request may write another note
        "effective_date",  # if it is in the past it changes what was rated; there is no clock here
        "extension",  # what it does is the site's own
    }
)


def _writes(_s: OracleSettings, job: OfferStatus) -> frozenset[str]:
    """The status. Other fields of a row (a note, a date) are not undone by a plain status."""
    others = job.model_fields_set & {"effective_date", "notes", "extension"}
    return frozenset({"/status", *(f"/{name}" for name in others)})


def _repeatable(_s: OracleSettings, job: OfferStatus) -> bool:
    return not _irreversible(job) and _NOT_TWICE.isdisjoint(job.model_fields_set)


def _irreversible(job: OfferStatus) -> bool:
    return job.status == "canceled"  # inferred: no way back to another status


def _batch_key(s: OracleSettings, job: OfferStatus) -> str:
    """Status, date, note and extension hold for a whole request (OFFERS).

    Jobs that may be repeated have nothing of this but the status. The others travel alone: the
    500 that one wrong id brings would leave all of them in doubt.
    """
    return job.status if _repeatable(s, job) else ""


# -------------------------------------------------------------------------- replies to answers

_OK: Final = 200
_SERVER_ERROR: Final = 500
_SHOWN_CHARS: Final = 500
_BOM: Final = b"\xef\xbb\xbf"
_HTML = re.compile(rb"<!doctype html|<html", re.IGNORECASE)
_WORDS: Final = ("message", "errorMessage", "error_description", "detail", "title", "error")

_HINT_HARMLESS: Final = "it may have been applied; sending the row again is harmless (inferred)"
_HINT_LOOK: Final = (
    "it may have been applied, and sending the row again may not be harmless: look at the offer in "
    "Billing Care first"
)
_HINTS: Final[Mapping[int, str]] = {
    401: "check auth and the credentials of the account; a site may have tokens of its own, which "
    "access_token takes",
    403: "check what the account's client or user may do in Billing Care",
    404: "check base_url: the ids are in the body, so it is the address that was not found",
    _SERVER_ERROR: "check offer_id and kind, for Billing Care answers 500 to a wrong id and to an "
    "outage alike",
}


# OFFERS: if it was successful, 200 is returned with `true` in the response body
_CONFIRMATION: Final = Confirmation(
    words="200 with true",
    example=Reply(200, {}, b"true"),
    holds=lambda reply: reply.status == _OK and _is_true(reply),
    refusal=refused_in_body,  # no source has the body of an error
    source="OFFERS",
)
_KNOWN: Final = (
    *(
        KnownReply(str(status), Reply(status, {}, b""), "SEND; that nothing was applied is assumed")
        for status in (400, 401, 403, 404, 405, 406, 415)
    ),
    KnownReply(
        "500", Reply(500, {}, b""), "OFFERS: the one failure named; what of it, nobody says"
    ),
)


def _decode(
    s: OracleSettings, batch: Sequence[OfferStatus], reply: Reply | NoReply
) -> tuple[Answer, ...]:
    answer = classify(reply, _CONFIRMATION)
    if answer.verdict is Verdict.OK:
        return (answer,) * len(batch)
    if isinstance(reply, Reply) and answer.code != NOT_CONFIRMED:
        answer = answer._replace(message=_words(reply) or answer.message)
    if len(batch) > 1 and _may_be_one_row(answer):
        answer = answer._replace(verdict=Verdict.SPLIT)
    return tuple(
        answer._replace(hint=_hint(answer, is_repeatable=_repeatable(s, job))) for job in batch
    )


def _is_true(reply: Reply) -> bool:
    return not reply.is_cut and reply.body.removeprefix(_BOM).strip(b" \t\r\n") == b"true"


def _may_be_one_row(answer: Answer) -> bool:
    """Return whether a row of a group may be at fault. 502, 503, 504 and silence blame no row."""
    return (
        answer.verdict is Verdict.REJECTED
        or answer.http_status == _SERVER_ERROR
        or answer.code == NOT_CONFIRMED
    )


def _hint(answer: Answer, *, is_repeatable: bool) -> str:
    known = _HINTS.get(answer.http_status or 0)
    if answer.hint != HINT_IN_DOUBT:
        return known or answer.hint
    doubt = _HINT_HARMLESS if is_repeatable else _HINT_LOOK
    return f"{known}; {doubt}" if known else doubt


def _words(reply: Reply) -> str:
    """The vendor's message: no source has an error's body, so the usual names are tried.

    Empty if the body has no message.

    >>> _words(Reply(500, {}, b'{"error": {"message": "no such offer"}}'))
    'no such offer'
    """
    body = json_object(reply.body)
    inner = body.get("error")
    for of in (inner if isinstance(inner, dict) else {}, body):
        for name in _WORDS:
            if isinstance(of.get(name), str) and (text := plain(of[name], _SHOWN_CHARS)):
                return text
    if is_html(reply) and not _is_page(reply):  # XML, which Billing Care writes too
        return plain(reply.body.decode("utf-8", "replace"), _SHOWN_CHARS)
    return ""


def _is_page(reply: Reply) -> bool:
    kind = reply.headers.get("content-type", "").lower()
    return "html" in kind or _HTML.search(reply.body[:1000]) is not None


# ------------------------------------------------------------------------------- plans and undo
# We found no page that shows how to read the status of a purchased offer: rows state it.


def _stated(_s: OracleSettings, job: OfferStatus) -> State | None:
    was = job.previous_status
    return None if was is None else State({"status": was})


def _state_differences(_s: OracleSettings, wanted: State, found: State) -> tuple[Difference, ...]:
    return compare.differences(wanted.fields, found.fields, ("status",), {})


def _inverse(_s: OracleSettings, job: OfferStatus, state: State) -> OfferStatus | None:
    """The job that restores the status alone: a note and a date of effect are not undone."""
    was = state.fields.get("status")
    if was is None or job.status == "canceled":  # canceled is final (inferred)
        return None
    values: dict[str, Any] = {"offer_id": job.offer_id, "status": was}
    if "kind" in job.model_fields_set:
        values["kind"] = job.kind
    return OfferStatus.trusted(to_json({**values, "previous_status": job.status}).decode())


# ------------------------------------------------------------------------------ what is offered

OFFER_STATUS: Final = Operation(
    name="oracle.offer-status",
    summary="Set the status of purchased offers: active, inactive or canceled",
    job_type=OfferStatus,
    entity_kind="purchased-offer",
    replaces=False,
    # No source has numbers: on-premises, so the capacity is the site's. A cautious guess; a call
    # may run through rating, hence the long timeout.
    defaults=Defaults(quota=("5/s",), in_flight=4, timeout_s=120.0),
    entity=_entity,
    encode=_encode,
    head=lambda _s: RequestHead("PUT", _HEADERS),
    confirmation=lambda _s, _job: _CONFIRMATION,
    decode=_decode,
    known=_KNOWN,
    repeatable=_repeatable,
    repeat_note=(
        "harmless for a status alone (inferred: an offer that has it already keeps it); not with "
        "notes, effective_date (it may be in the past) or extension, and not for canceled"
    ),
    irreversible=_irreversible,
    batch_key=_batch_key,
    batch_size=lambda s: s.max_batch,
    writes=_writes,
    warn=_warn,
    change=Change(
        after=lambda _s, job, _state: State({"status": job.status}),
        differences=_state_differences,
        inverse=_inverse,
        stated=_stated,
        gap=lambda _s: (
            "we found no page that shows how to read an offer's status: nothing is compared, "
            "and a change by somebody else goes unnoticed"
        ),
    ),
    sample=MappingProxyType(
        {
            "offer_id": "0.0.0.1+-purchased_product+209130",
            "status": "inactive",
            "kind": "charge",
            "previous_status": "active",
            "effective_date": "2027-06-01T00:00:00+02:00",
            "notes": '{"accountId": "0.0.0.1+-account+123123", "header": "End of campaign"}',
            "extension": '{"campaign": "summer"}',
        }
    ),
)

VENDOR: Final = Vendor(
    name="oracle",
    summary="Oracle BRM Billing Care REST: the status of purchased offers (API version 1.0)",
    settings=OracleSettings,
    authenticate=_authenticate,
    operations=(OFFER_STATUS,),
    simulated=MappingProxyType(
        {
            "auth": "bearer",
            "client_id": "simulator-client",
            "client_secret": "simulator-secret",
            "max_batch": 20,
        }
    ),
)
