"""A client that sees bytes: no library between the test and the simulator."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pipeline.simulator import Running

COUPON = "/v2/project/44056/admin/coupon/C1"
BONUS = "/v2/project/44056/admin/promotion/111425/bonus"


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
            "Host": "127.0.0.1",
            "Authorization": basic("44056", "simulator-key"),
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }
        head = "".join(
            f"{name}: {value}\r\n" for name, value in fields.items() if value is not None
        )
        path = path if path.startswith(("/_", "/else")) else "/xsolla/api" + path
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
