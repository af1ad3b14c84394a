"""Twins of Acme that are broken in one place, for each check of the suite."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

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
from pipeline.vendors import (
    Basic,
    Bearer,
    Defaults,
    RequestHead,
    Token,
    TokenCall,
)
from tests.acme import (
    ACME,
    CONFIRMATION,
    HEADERS,
    PRICE,
    STOCK,
    Price,
    Settings,
    Stock,
    asked,
    authenticate,
    batch_key,
    decode,
    encode_price,
    encode_stock,
    is_repeatable,
    no_dots,
    price_entity,
    stock_entity,
)
from tests.vendors import conformance as suite
from tests.vendors.conformance import Check
from tests.vendors.specimens import AnyOperation, AnyVendor


class Twin(NamedTuple):
    """A vendor and its operation of which `check` alone says that they are wrong; and why."""

    check: Check
    why: str
    vendor: AnyVendor
    operation: AnyOperation


def of(
    check: Check, why: str, operation: AnyOperation = STOCK, *, vendor: Any = None, **changed: Any
) -> Twin:
    broken = dataclasses.replace(operation, **changed)
    return Twin(check, why, dataclasses.replace(vendor or ACME, operations=(broken,)), broken)


def acme(**changed: Any) -> AnyVendor:
    return dataclasses.replace(ACME, **changed)


def call(**changed: Any) -> Callable[[Settings], TokenCall]:
    return lambda s: dataclasses.replace(authenticate(s), **changed)


def then(change: Callable[[Answer, Any, int], Answer]) -> dict[str, Any]:
    """A `decode` whose answers are changed, given the reply and the number of jobs."""

    def changed(s: Settings, batch: Sequence[UpdateJob], reply: Reply | NoReply) -> Any:
        return tuple(change(answer, reply, len(batch)) for answer in decode(s, batch, reply))

    return {"decode": changed}


def if_status(*statuses: int, **fields: Any) -> dict[str, Any]:
    def change(answer: Answer, _reply: Any, _count: int) -> Answer:
        return answer._replace(**fields) if answer.http_status in statuses else answer

    return then(change)


def if_silent(**fields: Any) -> dict[str, Any]:
    def change(answer: Answer, reply: Any, _count: int) -> Answer:
        return answer._replace(**fields) if isinstance(reply, NoReply) else answer

    return then(change)


def split_of_groups(*statuses: int | None, **fields: Any) -> dict[str, Any]:
    def change(answer: Answer, _reply: Any, count: int) -> Answer:
        if count < 2 or answer.http_status not in statuses:
            return answer
        return answer._replace(verdict=Verdict.SPLIT, **fields)

    return then(change)


def confirmed_by(holds: Callable[[Reply], bool]) -> dict[str, Any]:
    other = CONFIRMATION._replace(holds=holds)
    return {
        "confirmation": lambda _s, _job: other,
        "decode": partial(decode, confirmation=other),
    }


def raising(*_: Any) -> Any:
    raise KeyError("etag")


def raising_at_lists(s: Settings, batch: Sequence[UpdateJob], reply: Reply | NoReply) -> Any:
    if isinstance(reply, Reply) and reply.body == b"[]":
        raising()
    return decode(s, batch, reply)


def with_path(path: Callable[[Price], str]) -> dict[str, Any]:
    def encode(s: Settings, batch: Sequence[Price]) -> Request:
        return encode_price(s, batch)._replace(path=path(batch[0]))

    return {"encode": encode}


def with_body(body: Callable[[Price], Any]) -> dict[str, Any]:
    def encode(s: Settings, batch: Sequence[Price]) -> Request:
        return encode_price(s, batch)._replace(body=json.dumps(body(batch[0])).encode())

    return {"encode": encode}


def with_headers(headers: Callable[[Settings], dict[str, str]]) -> dict[str, Any]:
    def encode(s: Settings, batch: Sequence[Price]) -> Request:
        return encode_price(s, batch)._replace(headers={**HEADERS, **headers(s)})

    return {"encode": encode}


def entity_with(**parts: Callable[[Settings, Stock], str]) -> dict[str, Any]:
    def entity(s: Settings, job: Stock) -> EntityKey:
        changed = {name: part(s, job) for name, part in parts.items()}
        return stock_entity(s, job)._replace(**changed)

    return {"entity": entity}


def first_only(s: Settings, batch: Sequence[Stock]) -> Request:
    return encode_stock(s, batch[:1])


PLAIN_CENTS = Cell(CellKind.INTEGER, help="The price.", example="995")


def price_of(cents: Any) -> type[Price]:
    """A price whose cents are declared so."""
    return type("Other", (Price,), {"__annotations__": {"cents": cents}, "__module__": __name__})


def spread(**changed: Any) -> type[Stock]:
    """A stock whose spread field has another cell."""
    cell = Cell(CellKind.MAP, is_spread=True, members=(("level", PLAIN_CENTS),))
    changes = Annotated[dict[str, Any], dataclasses.replace(cell, **changed)]
    return type("Other", (Stock,), {"__annotations__": {"changes": changes}})


class Doubled(Stock):
    level: Annotated[str, Cell(CellKind.TEXT, help="Once more.", example="x")] = "x"


class OneOnly(Price):
    sku: Annotated[Literal["anvil-1"], Cell(CellKind.ID, help="The article.", example="anvil-1")]


class Carried(Price):
    """Says of both fields that nothing depends on them."""

    sku: Annotated[
        str,
        Field(min_length=1, max_length=64),
        AfterValidator(no_dots),
        Cell(CellKind.ID, help="The article.", example="anvil-7", is_opaque=True),
    ]
    cents: Annotated[int, Cell(CellKind.INTEGER, help="The price.", example="995", is_opaque=True)]


class Shown(Settings):
    def __repr__(self) -> str:
        return f"Shown({self.client_secret.get_secret_value()})"


def loud(s: Settings, batch: Sequence[Price]) -> Request:
    """The same id in capitals, also for the entity."""
    path = f"/v1/prices/{quote(batch[0].sku.upper(), safe='')}"
    return encode_price(s, batch)._replace(path=path)


def spoiling(_s: Settings, job: Stock) -> bool:
    job.changes["memo"] = "seen"
    return True


def of_many(**changed: Any) -> dict[str, Any]:
    """An `encode` whose request is another once there are several jobs."""

    def encode(s: Settings, batch: Sequence[Stock]) -> Request:
        request = encode_stock(s, batch)
        return request._replace(**changed) if len(batch) > 1 else request

    return {"encode": encode}


COUNTER = itertools.count()
SAMPLE = STOCK.sample


def without(*columns: str) -> dict[str, Any]:
    return {"sample": {name: text for name, text in SAMPLE.items() if name not in columns}}


TWINS = [
    of(suite.check_names, "a summary that says nothing", summary=""),
    of(suite.check_names, "a name that is no folder's", name="acme.Stock on hand"),
    of(suite.check_names, "two lines where one stands", PRICE, repeat_note="one\ntwo"),
    of(
        suite.check_defaults_can_be_used,
        "a quota that nobody can read",
        defaults=Defaults(quota=("often",), in_flight=2, timeout_s=10.0),
    ),
    of(
        suite.check_defaults_can_be_used,
        "nothing may be under way",
        defaults=Defaults(quota=("5/s",), in_flight=0, timeout_s=10.0),
    ),
    of(
        suite.check_defaults_can_be_used,
        "an attempt without an end",
        defaults=Defaults(quota=("5/s",), in_flight=1, timeout_s=float("inf")),
    ),
    of(
        suite.check_every_field_is_explained,
        "a field without help",
        PRICE,
        job_type=price_of(Annotated[int, dataclasses.replace(PLAIN_CENTS, help="")]),
    ),
    of(
        suite.check_every_field_is_explained,
        "an example that is no value",
        PRICE,
        job_type=price_of(Annotated[int, dataclasses.replace(PLAIN_CENTS, example="9.95 EUR")]),
    ),
    of(suite.check_every_field_is_explained, "one column, two fields", job_type=Doubled),
    of(suite.check_sample_is_whole_and_right, "a field is left out", **without("warehouse")),
    of(suite.check_sample_is_whole_and_right, "no member of many", **without("level", "tag:size")),
    of(suite.check_sample_is_whole_and_right, "a member is left out", **without("limits.per_day")),
    of(suite.check_sample_is_whole_and_right, "it is doubtful", warn=lambda _job: ("doubt",)),
    of(
        suite.check_sample_can_be_loaded,
        "blanks around an id, which the loader removes",
        sample={**SAMPLE, "sku": " anvil-1"},
    ),
    of(
        suite.check_job_and_text_never_differ,
        "reading adds one",
        PRICE,
        job_type=price_of(Annotated[int, BeforeValidator(lambda cents: cents + 1), PLAIN_CENTS]),
    ),
    of(
        suite.check_the_head_is_that_of_a_request,
        "another method",
        head=lambda _s: RequestHead("POST", HEADERS),
    ),
    of(
        suite.check_request_can_be_sent,
        "a header that is the account's",
        PRICE,
        **with_headers(lambda _s: {"Authorization": "Bearer x"}),
    ),
    of(
        suite.check_request_can_be_sent,
        "a header that frames the message",
        PRICE,
        **with_headers(lambda _s: {"Content-Length": "7"}),
    ),
    of(
        suite.check_request_can_be_sent,
        "a type that is not the body's",
        PRICE,
        **with_headers(lambda _s: {"Content-Type": "text/plain"}),
    ),
    of(
        suite.check_request_can_be_sent,
        "a body that says nothing",
        PRICE,
        **with_body(lambda _j: {}),
    ),
    of(
        suite.check_no_credential_in_sight,
        "a password in a header that people see",
        PRICE,
        **with_headers(lambda s: {"X-Password": s.client_secret.get_secret_value()}),
    ),
    of(
        suite.check_no_credential_in_sight,
        "settings that show what they hide",
        vendor=acme(settings=Shown),
    ),
    of(
        suite.check_secrets_decide_nothing,
        "a refusal that looks at a placeholder",
        refuse=lambda s, _job: "no" if "place" in s.client_id.get_secret_value() else None,
    ),
    of(
        suite.check_signing_in_is_decided,
        "credentials go out in clear",
        vendor=acme(authenticate=call(base_url="http://sign-in.acme.example")),
    ),
    of(
        suite.check_signing_in_is_decided,
        "a path that does not begin",
        vendor=acme(authenticate=call(request=Request("POST", "token"))),
    ),
    of(
        suite.check_signing_in_is_decided,
        "secrets that nobody would mask",
        vendor=acme(authenticate=call(secrets=())),
    ),
    of(
        suite.check_signing_in_is_decided,
        "a reply that is no token ends the run",
        vendor=acme(authenticate=call(read=raising)),
    ),
    of(
        suite.check_signing_in_is_decided,
        "a token of no characters",
        vendor=acme(authenticate=call(read=lambda _reply: Token(SecretStr(""), None))),
    ),
    of(
        suite.check_signing_in_is_decided,
        "no way that the engine knows",
        vendor=acme(authenticate=lambda s: ("user", s.client_secret)),
    ),
    of(
        suite.check_opaque_cells_decide_nothing,
        "some prices may not be sent twice",
        PRICE,
        job_type=Carried,
        repeatable=lambda _s, job: not 1_000 <= job.cents < 1_050,
    ),
    of(
        suite.check_opaque_cells_decide_nothing,
        "some articles have a path of their own",
        PRICE,
        job_type=Carried,
        head=lambda _s: RequestHead("PATCH", HEADERS),
        **with_path(
            lambda job: f"/v1/{'few' if len(job.sku) == 7 else 'prices'}/{quote(job.sku, safe='')}"
        ),
    ),
    of(
        suite.check_an_id_reaches_the_vendor_alone,
        "an id with a slash becomes two segments",
        PRICE,
        **with_path(lambda job: f"/v1/prices/{job.sku}"),
    ),
    of(
        suite.check_an_id_reaches_the_vendor_alone,
        "encoded twice",
        PRICE,
        **with_path(lambda job: f"/v1/prices/{quote(quote(job.sku, safe=''), safe='')}"),
    ),
    of(
        suite.check_an_id_reaches_the_vendor_alone,
        "once in the path and once in the body",
        PRICE,
        **with_body(lambda job: {"cents": job.cents, "sku": job.sku}),
    ),
    of(
        suite.check_an_id_reaches_the_vendor_alone,
        "no id but one is accepted",
        PRICE,
        job_type=OneOnly,
    ),
    of(
        suite.check_entities_are_distinguished,
        "two warehouses, one entity",
        **entity_with(scope=lambda _s, _job: ""),
    ),
    of(
        suite.check_entities_are_distinguished,
        "one address, an entity for each level",
        **entity_with(scope=lambda _s, job: job.warehouse + job.changes.get("level", "")),
    ),
    of(
        suite.check_entities_have_whole_keys,
        "the whole base URL as the origin",
        **entity_with(origin=lambda s, _job: s.base_url),
    ),
    of(
        suite.check_entities_have_whole_keys,
        "a kind of another operation",
        **entity_with(kind=lambda _s, _job: "price"),
    ),
    of(
        suite.check_entities_have_whole_keys,
        "a scope that could be two parts",
        **entity_with(scope=lambda _s, job: f"at|{job.warehouse}"),
    ),
    of(
        suite.check_functions_are_pure,
        "neither yes nor no",
        irreversible=lambda job: job.changes.get("level") == "none" or None,
    ),
    of(
        suite.check_functions_are_pure,
        "other words each time",
        warn=lambda job: () if "limits" in job.given() else (f"{next(COUNTER)}",),
    ),
    of(
        suite.check_batches_can_be_sent,
        "a group of what may not be repeated",
        batch_key=lambda _s, job: json.dumps([job.warehouse, asked(job)]),
    ),
    of(suite.check_batches_can_be_sent, "only the first goes out", encode=first_only),
    of(
        suite.check_batches_can_be_sent,
        "one level for rows of several",
        batch_key=lambda s, job: job.warehouse if is_repeatable(s, job) else "",
    ),
    of(suite.check_batches_can_be_sent, "room for none", batch_size=lambda _s: 0),
    of(suite.check_batches_can_be_sent, "room for many and no key", batch_key=lambda _s, _job: ""),
    of(
        suite.check_any_reply_has_an_answer,
        "a 5xx that claims to have done nothing",
        **if_status(503, effect=Effect.NONE),
    ),
    of(
        suite.check_any_reply_has_an_answer,
        "a 429 that slows nobody",
        **if_status(429, verdict=Verdict.TRANSIENT),
    ),
    of(suite.check_any_reply_has_an_answer, "a list is no error body", decode=raising_at_lists),
    of(
        suite.check_any_reply_has_an_answer,
        "a receipt that is no JSON",
        **if_status(200, receipt="etag 3"),
    ),
    of(
        suite.check_any_reply_has_an_answer,
        "a receipt of what was not applied",
        **if_status(404, receipt="{}"),
    ),
    of(
        suite.check_any_reply_has_an_answer,
        "one row cannot be split",
        PRICE,
        **if_status(422, verdict=Verdict.SPLIT),
    ),
    of(
        suite.check_any_reply_has_an_answer,
        "wrong credentials are no row's fault",
        **split_of_groups(401),
    ),
    of(suite.check_any_reply_has_an_answer, "an outage is no row's fault", **split_of_groups(503)),
    of(
        suite.check_any_reply_has_an_answer,
        "a refused group that may have been applied",
        **split_of_groups(422, effect=Effect.MAYBE),
    ),
    of(
        suite.check_any_reply_has_an_answer,
        "a 500 to a group that claims to have done nothing",
        **split_of_groups(500, effect=Effect.NONE),
    ),
    of(
        suite.check_functions_are_pure,
        "the same reply, other words each time",
        **then(lambda answer, _r, _n: answer._replace(request_id=str(next(COUNTER)))),
    ),
    of(
        suite.check_only_the_confirmation_counts,
        "any success counts",
        **confirmed_by(lambda reply: reply.status // 100 == 2),
    ),
    of(
        suite.check_only_the_confirmation_counts,
        "whatever a 200 says",
        **confirmed_by(lambda reply: reply.status == 200),
    ),
    of(
        suite.check_only_the_confirmation_counts,
        "nothing is a success",
        **confirmed_by(lambda _reply: False),
    ),
    of(
        suite.check_only_the_confirmation_counts,
        "a receipt that is cut short",
        **confirmed_by(lambda reply: CONFIRMATION.holds(reply._replace(is_cut=False))),
    ),
    of(
        suite.check_only_the_confirmation_counts,
        "asked for, and not heeded",
        decode=partial(decode, confirmation=CONFIRMATION._replace(holds=lambda _reply: True)),
    ),
    of(
        suite.check_only_the_confirmation_counts,
        "each confirms what it names, and none is looked at",
        confirmation=lambda _s, job: CONFIRMATION._replace(
            example=Reply(200, {}, json.dumps({"stored": True, "sku": job.sku}).encode())
        ),
    ),
    of(
        suite.check_the_plain_success_is_what_decode_says,
        "an empty reply is called a success, and decode waits for a receipt",
        plain_success=200,
    ),
    of(
        suite.check_no_reply_has_an_answer,
        "a refused connection that may have done something",
        **if_silent(effect=Effect.MAYBE),
    ),
    of(suite.check_no_reply_has_an_answer, "silence splits a group", **split_of_groups(None)),
    of(
        suite.check_one_answer_for_each_job,
        "one answer whatever was asked",
        PRICE,
        decode=lambda s, batch, reply: decode(s, batch[:1], reply),
    ),
    # ------------------------------------------------- more of the kind: how else a check can fail
    of(suite.check_names, "another vendor's operation", name="other.stock"),
    of(
        suite.check_names,
        "a vendor that no table can name",
        vendor=acme(name="Ac me"),
        name="Ac me.x",
    ),
    of(
        suite.check_defaults_can_be_used,
        "no quota at all",
        defaults=Defaults(quota=(), in_flight=1, timeout_s=1.0),
    ),
    of(suite.check_every_field_is_explained, "a field that there is not", always=("cost",)),
    of(
        suite.check_every_field_is_explained,
        "a field without an example",
        PRICE,
        job_type=price_of(Annotated[str, Cell(CellKind.TEXT, help="The price.")]),
    ),
    of(
        suite.check_every_field_is_explained,
        "help of two lines",
        PRICE,
        job_type=price_of(Annotated[int, dataclasses.replace(PLAIN_CENTS, help="one\ntwo")]),
    ),
    of(
        suite.check_every_field_is_explained,
        "a spread list",
        job_type=spread(kind=CellKind.LIST),
        sample={**SAMPLE, "level": "1"},
    ),
    of(
        suite.check_every_field_is_explained,
        "a spread field without members",
        job_type=spread(members=()),
    ),
    of(
        suite.check_every_field_is_explained,
        "a member for every column that there is",
        job_type=spread(members=(("*", PLAIN_CENTS),)),
    ),
    of(suite.check_sample_is_whole_and_right, "it is refused", refuse=lambda _s, _job: "no"),
    of(
        suite.check_sample_is_whole_and_right,
        "nothing takes it back",
        irreversible=lambda _job: True,
    ),
    of(suite.check_sample_can_be_loaded, "it is refused", refuse=lambda _s, _job: "no"),
    of(
        suite.check_sample_can_be_loaded, "it has no member of many", **without("level", "tag:size")
    ),
    of(
        suite.check_job_and_text_never_differ,
        "a value that is not JSON's",
        PRICE,
        job_type=price_of(Annotated[Any, BeforeValidator(lambda cents: (cents,)), PLAIN_CENTS]),
        encode=lambda s, batch: encode_price(s, batch[:1]),
    ),
    of(
        suite.check_job_and_text_never_differ,
        "what was read once is too much",
        PRICE,
        job_type=price_of(
            Annotated[int, Field(le=2000), AfterValidator(lambda cents: cents * 2), PLAIN_CENTS]
        ),
    ),
    of(suite.check_request_can_be_sent, "nothing that asks", PRICE, encode=lambda _s, _b: "PUT /"),
    of(
        suite.check_request_can_be_sent,
        "no update",
        PRICE,
        encode=lambda s, batch: encode_price(s, batch)._replace(method="GET"),
    ),
    of(
        suite.check_request_can_be_sent,
        "a blank in the path",
        PRICE,
        **with_path(lambda job: f"/v1/all prices/{job.sku}"),
    ),
    of(
        suite.check_request_can_be_sent,
        "a way up",
        PRICE,
        **with_path(lambda job: f"/v1/../prices/{job.sku}"),
    ),
    of(
        suite.check_request_can_be_sent,
        "a header given twice",
        PRICE,
        **with_headers(lambda _s: {"content-type": "application/json"}),
    ),
    of(
        suite.check_request_can_be_sent,
        "no type of the body",
        PRICE,
        encode=lambda s, batch: encode_price(s, batch)._replace(headers={}),
    ),
    of(
        suite.check_no_credential_in_sight,
        "an empty password",
        vendor=acme(authenticate=lambda _s: Basic("acme", SecretStr(""))),
    ),
    of(
        suite.check_secrets_decide_nothing,
        "a scope that looks at a placeholder",
        vendor=acme(scope=lambda s: s.client_id.get_secret_value()[:2]),
    ),
    of(
        suite.check_secrets_decide_nothing,
        "a size that looks at a placeholder",
        batch_size=lambda s: len(s.client_id.get_secret_value()),
    ),
    of(
        suite.check_secrets_decide_nothing,
        "a path that holds a key",
        PRICE,
        encode=lambda s, batch: encode_price(s, batch)._replace(
            path=f"/{s.client_id.get_secret_value()}/{batch[0].sku}"
        ),
    ),
    of(
        suite.check_signing_in_is_decided,
        "no host to sign in at",
        vendor=acme(authenticate=call(base_url="https:")),
    ),
    of(
        suite.check_signing_in_is_decided,
        "two slashes before the path",
        vendor=acme(authenticate=call(base_url="https://sign-in.acme.example/")),
    ),
    of(
        suite.check_signing_in_is_decided,
        "a quota that nobody can read",
        vendor=acme(authenticate=call(quota=("often",))),
    ),
    of(
        suite.check_signing_in_is_decided,
        "credentials by the wrong door",
        vendor=acme(
            authenticate=call(request=Request("GET", "/token", headers={"Authorization": "x"}))
        ),
    ),
    of(
        suite.check_signing_in_is_decided,
        "a header that frames the message",
        vendor=acme(authenticate=call(request=Request("GET", "/token", headers={"Host": "x"}))),
    ),
    of(
        suite.check_signing_in_is_decided,
        "a token of two lines",
        vendor=acme(authenticate=call(read=lambda _reply: Token(SecretStr("a\nb"), None))),
    ),
    of(
        suite.check_signing_in_is_decided,
        "a token that has ended already",
        vendor=acme(authenticate=call(read=lambda _reply: Token(SecretStr("a"), 0.0))),
    ),
    of(
        suite.check_an_id_reaches_the_vendor_alone,
        "not as the row writes it",
        PRICE,
        encode=loud,
        entity=lambda s, job: price_entity(s, job)._replace(id=job.sku.upper()),
    ),
    of(
        suite.check_entities_are_distinguished,
        "all are one",
        PRICE,
        entity=lambda s, job: price_entity(s, job)._replace(id="anvil"),
        encode=lambda s, batch: encode_price(s, batch)._replace(path="/v1/prices/anvil"),
    ),
    of(
        suite.check_entities_are_distinguished,
        "capitals are folded",
        PRICE,
        entity=lambda s, job: price_entity(s, job)._replace(id=job.sku.casefold()),
    ),
    of(
        suite.check_entities_have_whole_keys,
        "two spellings of one address",
        **entity_with(
            origin=lambda s, _job: f"{urlsplit(s.base_url).scheme}://{urlsplit(s.base_url).netloc}"
        ),
    ),
    of(
        suite.check_entities_have_whole_keys,
        "always the same address",
        **entity_with(origin=lambda _s, _job: "https://acme.example"),
    ),
    of(suite.check_entities_have_whole_keys, "another's", **entity_with(vendor=lambda _s, _j: "x")),
    of(suite.check_entities_have_whole_keys, "nobody's", **entity_with(id=lambda _s, _job: "")),
    of(suite.check_functions_are_pure, "a job that is changed", repeatable=spoiling),
    of(suite.check_functions_are_pure, "a list of words", warn=lambda _job: ["doubt"]),
    of(suite.check_functions_are_pure, "words that say nothing", warn=lambda _job: ("",)),
    of(
        suite.check_functions_are_pure,
        "a doubt about refusing",
        refuse=lambda _s, job: None if "limits" in job.given() else "",
    ),
    of(suite.check_batches_can_be_sent, "half a row", batch_size=lambda _s: 2.5),
    of(
        suite.check_batches_can_be_sent,
        "a key that is no text",
        batch_key=lambda s, job: batch_key(s, job) or None,
    ),
    of(suite.check_batches_can_be_sent, "another address", **of_many(path="/v1/many")),
    of(suite.check_batches_can_be_sent, "another way", **of_many(method="POST")),
    of(
        suite.check_batches_can_be_sent, "other headers", **of_many(headers={**HEADERS, "X-N": "2"})
    ),
    of(
        suite.check_batches_can_be_sent,
        "each id twice",
        encode=lambda s, batch: encode_stock(s, (*batch, *batch)),
    ),
    of(
        suite.check_any_reply_has_an_answer,
        "a list of answers",
        decode=lambda s, batch, reply: list(decode(s, batch, reply)),
    ),
    of(
        suite.check_any_reply_has_an_answer,
        "one answer to a group",
        decode=lambda s, batch, reply: decode(s, batch[:1], reply),
    ),
    of(
        suite.check_any_reply_has_an_answer,
        "no answer but a word",
        decode=lambda _s, batch, _reply: ("ok",) * len(batch),
    ),
    *(
        of(suite.check_any_reply_has_an_answer, why, **if_status(status, **fields))
        for status, fields, why in (
            (200, {"effect": Effect.MAYBE}, "all is well, or not"),
            (404, {"effect": Effect.APPLIED}, "a refusal that was applied"),
            (404, {"verdict": "rejected!"}, "a verdict that there is not"),
            (404, {"effect": "nothing"}, "an effect that there is not"),
            (404, {"http_status": 400}, "another status than the reply's"),
            (200, {"code": "0"}, "a code where all is well"),
            (404, {"code": ""}, "no code"),
            (404, {"message": ""}, "no words"),
            (404, {"hint": ""}, "no hint"),
            (404, {"message": None}, "words that are none"),
            (404, {"request_id": None}, "an id that is none"),
            (404, {"request_id": "x" * 1_000}, "an id that fills a page"),
            (404, {"request_id": "a\nb"}, "an id of two lines"),
            (429, {"retry_after_s": float("inf")}, "a wait without an end"),
            (429, {"retry_after_s": -1.0}, "a wait that is over"),
            (302, {"effect": Effect.NONE}, "a redirect that claims to have done nothing"),
            (500, {"verdict": Verdict.REJECTED}, "a 5xx that blames the row"),
        )
    ),
    of(
        suite.check_no_reply_has_an_answer,
        "a status where there was none",
        **if_silent(http_status=504),
    ),
    of(
        suite.check_no_reply_has_an_answer,
        "an untrusted certificate is tried again",
        **if_silent(verdict=Verdict.TRANSIENT),
    ),
]


# ------------------------------------------------------------------------ what signs in otherwise

OTHERS: list[AnyVendor] = [
    acme(authenticate=lambda s: Basic("acme", s.client_secret)),
    acme(authenticate=lambda s: Bearer(s.client_secret)),
    acme(authenticate=lambda _s: None),
]
