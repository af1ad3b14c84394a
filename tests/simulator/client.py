"""A client that sees bytes: no library between the test and the simulator."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from pipeline.simulator import Running

COUPON = "/v2/project/44056/admin/coupon/C1"
BONUS = "/v2/project/44056/admin/promotion/111425/bonus"
ELSEWHERE = (
    "/_",
    "/else",
    "/ims/",
    "/data/",
    "/bcws/",
    "http://",
)  # paths that are no short form of Xsolla's

ADOBE_TOKEN = "/ims/token/v3"
XCORE = "/data/core/xcore/e0bd8463-0913-4ca1-bd84-6309134ca1f6/instances/o1"
DPS = "/data/core/dps/offers/o1?offer-type=fallback"
ORACLE_TOKEN = "/bcws/webresources/v1.0/authentication/queryAccessToken"
OFFERS = "/bcws/webresources/v1.0/statusupdate/offers"

_SCHEMA = "https://ns.adobe.com/experience/offer-management/fallback-offer;version=0.1"
_XCORE_TYPE = "application/vnd.adobe.platform.xcore."
XCORE_PATCH = {
    "content-type": f'{_XCORE_TYPE}patch.hal+json; version=1; schema="{_SCHEMA}"',
    "accept": f"{_XCORE_TYPE}xdm.receipt+json; version=1",
}
XCORE_GET = {"accept": f'*, {_XCORE_TYPE}hal+json; schema="{_SCHEMA}"'}
DPS_PATCH = {"content-type": "application/json"}


def journey(token: str) -> dict[str, str]:
    """Headers that get a call through Adobe's gateway."""
    return {
        "authorization": f"Bearer {token}",
        "x-api-key": "simulator-client",
        "x-gw-ims-org-id": "ACME@AdobeOrg",
        "x-sandbox-name": "prod",
    }


def form(**changes: str | None) -> bytes:
    """The body of a token call to Adobe; None leaves a field out."""
    fields: dict[str, str | None] = {
        "grant_type": "client_credentials",
        "client_id": "simulator-client",
        "client_secret": "simulator-secret",
        "scope": "openid,AdobeID",
        **changes,
    }
    return urlencode({k: v for k, v in fields.items() if v is not None}).encode()


def offers(
    *ids: str, status: object = "2", discounts: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """The body of an update of purchased offers."""
    return {
        "statusCode": status,
        "chargeOffers": [{"ref": {"id": each}} for each in ids],
        "discountOffers": [{"ref": {"id": each}} for each in discounts],
        **more,
    }


def product(number: object) -> str:
    return f"0.0.0.1+-purchased_product+{number}"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(frozen=True)
class Seen:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection; `send` and `receive` apart, so that a test may do either alone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str | None] | None = None,
        extra: str = "",
    ) -> None:
        data = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        fields: dict[str, str | None] = {
            "host": "127.0.0.1",
            "authorization": basic("44056", "simulator-key"),
            "content-type": "application/json",
            "content-length": str(len(data)),
            **{name.lower(): value for name, value in (headers or {}).items()},
        }
        head = "".join(
            f"{name}: {value}\r\n" for name, value in fields.items() if value is not None
        )
        path = path if path.startswith(ELSEWHERE) else "/xsolla/api" + path
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}{extra}\r\n".encode() + data)
        await self.writer.drain()

    async def receive(self) -> Seen:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        else:
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Seen(int(first.split()[1]), headers, body)

    async def adobe_token(self) -> str:
        headers = {"content-type": "application/x-www-form-urlencoded", "authorization": None}
        seen = await self.ask("POST", ADOBE_TOKEN, form(), headers=headers)
        return str(seen.json["access_token"])

    async def oracle_token(self) -> str:
        headers = {"authorization": basic("simulator-client", "simulator-secret")}
        return str((await self.ask("GET", ORACLE_TOKEN, headers=headers)).json["access_token"])

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Seen:
        await self.send(method, path, body, **more)
        return await self.receive()


@asynccontextmanager
async def connect(running: Running) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*_address(running))
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def _address(running: Running) -> tuple[str, int]:
    parts = urlsplit(running.url)
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port
