"""The one vendor of the tests: it holds every check of the suite, and no other is called Acme.

Tests that need another answer, sign-in or operation of it replace that part.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

from pydantic import AfterValidator, Field, SecretStr

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
from pipeline.vendors import (
    Defaults,
    Operation,
    Token,
    TokenCall,
    Vendor,
    VendorSettings,
)
from pipeline.vendors.kit.classify import Confirmation, classify, json_object, refused_in_body


class Settings(VendorSettings):
    warehouse: str
    client_id: SecretStr
    client_secret: SecretStr
    max_batch: int = 20


def authenticate(s: Settings) -> TokenCall:
    form = {"id": s.client_id.get_secret_value(), "secret": s.client_secret.get_secret_value()}
    return TokenCall(
        base_url="https://sign-in.acme.example",
        request=Request("POST", "/token", urlencode(form).encode()),
        read=read_token,
        secrets=(s.client_id, s.client_secret),
    )


def read_token(reply: Reply) -> Token | None:
    text = json_object(reply.body).get("access_token")
    is_token = isinstance(text, str) and text.isalnum()
    return Token(SecretStr(str(text)), None) if is_token else None


def no_dots(text: str) -> str:
    if text in {".", ".."}:
        raise ValueError("expected an id, not a way up")
    return text


Sku = Annotated[
    str,
    Field(min_length=1, max_length=64),
    AfterValidator(no_dots),
    Cell(CellKind.ID, help="The article.", example="anvil-7"),
]


class Stock(UpdateJob):
    """How much there is of an article; its id travels in the body."""

    sku: Sku
    warehouse: Annotated[str, Cell(CellKind.ID, help="Where it is.", example="north")] = "north"
    changes: Annotated[
        dict[str, Any],
        Cell(
            CellKind.MAP,
            is_spread=True,
            members=(
                ("level", Cell(CellKind.KEYWORD, help="full, low or none.", example="low")),
                ("memo", Cell(CellKind.TEXT, help="Is added to the others.", example="Seen")),
                ("tag:*", Cell(CellKind.TEXT, help="A tag: it is set.", example="heavy")),
            ),
        ),
    ]
    limits: Annotated[
        dict[str, int],
        Cell(
            CellKind.OBJECT,
            help="How many may be ordered.",
            example='{"per_order": 5}',
            members=(
                ("per_order", Cell(CellKind.INTEGER, help="In one order.", example="5")),
                ("per_day", Cell(CellKind.INTEGER, help="In a day.", example="50")),
            ),
        ),
    ] = {}  # noqa: RUF012 - stands where a row gives none


class Price(UpdateJob):
    """What an article costs; its id travels in the path."""

    sku: Sku
    cents: Annotated[int, Cell(CellKind.INTEGER, help="The price.", example="995")]


HEADERS = {"Content-Type": "application/json"}


def origin(s: Settings) -> str:
    url = urlsplit(s.base_url)
    port = "" if url.port in {None, 443} else f":{url.port}"
    return f"{url.scheme}://{url.hostname}{port}"


def stock_entity(s: Settings, job: Stock) -> EntityKey:
    return EntityKey("acme", origin(s), job.warehouse, "stock", job.sku)


def price_entity(s: Settings, job: Price) -> EntityKey:
    return EntityKey("acme", origin(s), "", "price", job.sku)


def asked(job: Stock) -> dict[str, Any]:
    return {name: value for name, value in job.given().items() if name in {"changes", "limits"}}


def encode_stock(_s: Settings, batch: Sequence[Stock]) -> Request:
    first = batch[0]
    body = {**asked(first), "skus": [job.sku for job in batch]}
    path = f"/v1/{quote(first.warehouse, safe='')}/stock?mode=set"
    return Request("PUT", path, json.dumps(body).encode(), HEADERS)


def encode_price(_s: Settings, batch: Sequence[Price]) -> Request:
    (job,) = batch
    body = json.dumps({"cents": job.cents}).encode()
    return Request("PATCH", f"/v1/prices/{quote(job.sku, safe='')}", body, HEADERS)


def is_repeatable(_s: Settings, job: Stock) -> bool:
    return "memo" not in job.changes


def batch_key(s: Settings, job: Stock) -> str:
    return json.dumps([job.warehouse, asked(job)]) if is_repeatable(s, job) else ""


CONFIRMATION = Confirmation(
    words='200 with {"stored": true}',
    example=Reply(200, {}, b'{"stored": true, "etag": 2}'),
    holds=lambda reply: (
        reply.status == 200 and not reply.is_cut and json_object(reply.body).get("stored") is True
    ),
    refusal=refused_in_body,
)


def decode(
    _s: Settings,
    batch: Sequence[UpdateJob],
    reply: Reply | NoReply,
    confirmation: Confirmation = CONFIRMATION,
) -> tuple[Answer, ...]:
    answer = classify(reply, confirmation)
    etag = json_object(reply.body).get("etag") if isinstance(reply, Reply) else None
    if answer.verdict is Verdict.OK and type(etag) is int:
        answer = answer._replace(receipt=json.dumps({"etag": etag}))
    if len(batch) > 1 and (answer.verdict is Verdict.REJECTED or answer.http_status == 500):
        answer = answer._replace(verdict=Verdict.SPLIT)
    return (answer,) * len(batch)


STOCK = Operation[Settings, Stock](
    name="acme.stock",
    summary="How much there is of an article",
    job_type=Stock,
    entity_kind="stock",
    replaces=False,
    defaults=Defaults(quota=("5/s",), in_flight=2, timeout_s=10.0),
    entity=stock_entity,
    encode=encode_stock,
    confirmation=lambda _s, _job: CONFIRMATION,
    decode=decode,
    repeatable=is_repeatable,
    repeat_note="harmless, but for a memo: each is added",
    irreversible=lambda job: job.changes.get("level") == "none",
    batch_key=batch_key,
    batch_size=lambda s: s.max_batch,
    sample={
        "sku": "anvil-1",
        "warehouse": "south",
        "level": "full",
        "tag:size": "large",
        "limits.per_order": "2",
        "limits.per_day": "20",
    },
)
PRICE = Operation[Settings, Price](
    name="acme.price",
    summary="What an article costs",
    job_type=Price,
    entity_kind="price",
    replaces=True,
    defaults=Defaults(quota=("5/s", "100/min"), in_flight=2, timeout_s=10.0),
    entity=price_entity,
    encode=encode_price,
    confirmation=lambda _s, _job: CONFIRMATION,
    decode=decode,
    repeatable=lambda _s, _job: True,
    repeat_note="harmless",
    sample={"sku": "anvil-1", "cents": "1095"},
)
ACME = Vendor[Settings](
    name="acme",
    summary="Acme: anvils",
    settings=Settings,
    authenticate=authenticate,
    operations=(STOCK, PRICE),
    scope=lambda s: f"warehouse {s.warehouse}",
    simulated={"warehouse": "north", "client_id": "an id", "client_secret": "a secret"},
)
