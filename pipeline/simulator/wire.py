"""Sends replies, also broken ones."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field

from aiohttp import web

from pipeline.simulator.vendor import VendorReply

#: faults after which the client has received no status
SILENT = frozenset({"reset-before", "reset-after", "timeout-after", "close-reused", "garbage"})
_BROKEN = SILENT | {"half-body", "endless-body"}

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: close sends RST
_GARBAGE = bytes([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xFC, 0x03, 0x03, 0x0D, 0x0A])
_HALF = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n"
    b'{"statusCode": 200, "na'
)
_ENDLESS = b" " * 65536


@dataclass(slots=True)
class Connection:
    """A client's connection; `gone` is set when it ends."""

    number: int
    requests: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)


async def send(
    request: web.BaseRequest, connection: Connection, answer: VendorReply, fault: str | None
) -> web.StreamResponse:
    """Send the answer as the fault requires; the connection may be closed when this returns."""
    if fault in _BROKEN:
        await _break(request, connection, answer, fault)
        return web.Response()  # the connection is closed: aiohttp drops it quietly
    return web.Response(status=answer.status, body=answer.body or None, headers=answer.headers)


async def _break(
    request: web.BaseRequest, connection: Connection, answer: VendorReply, fault: str
) -> None:
    match fault:
        case "reset-before" | "reset-after":
            _reset(request)
        case "timeout-after":
            await connection.gone.wait()
        case "close-reused":
            await _write_and_close(request, connection, b"")
        case "garbage":
            await _write_and_close(request, connection, _GARBAGE)
        case "half-body":
            await _write_and_close(request, connection, _HALF)
        case _:
            await _write_endlessly(request, connection, answer)


def _reset(request: web.BaseRequest) -> None:
    transport = request.transport
    if transport is not None:
        option = (socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.get_extra_info("socket").setsockopt(*option)
        transport.abort()


async def _write_and_close(request: web.BaseRequest, connection: Connection, piece: bytes) -> None:
    transport = request.transport
    if transport is not None:
        if piece:
            transport.write(piece)
        transport.close()
        await connection.gone.wait()


async def _write_endlessly(
    request: web.BaseRequest, connection: Connection, answer: VendorReply
) -> None:
    response = web.StreamResponse(
        status=answer.status, headers={"Content-Type": "application/json"}
    )
    response.enable_chunked_encoding()
    try:
        await response.prepare(request)
        while not connection.gone.is_set():
            await response.write(_ENDLESS)
            await asyncio.sleep(0.001)  # a client that reads everything must not starve others
    except ConnectionError:
        return
