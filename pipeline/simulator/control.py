"""The simulator's own pages below /_simulator/, without quota, log and faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from aiohttp import web

CONTROL = "/_simulator/"
_FLUSH_BYTES = 64 * 1024


class ControlRecords(Protocol):
    """The content of the pages."""

    def log_lines(self, offset: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """JSON lines of the request log."""

    def state(self) -> Iterator[dict[str, Any]]:
        """Entities as last written."""

    def stats(self) -> dict[str, Any]:
        """Counts."""

    def reset(self) -> None:
        """Forget everything."""

    def revoke(self) -> None:
        """Revoke all tokens."""


async def control(records: ControlRecords, request: web.BaseRequest) -> web.StreamResponse:
    """Answer one request for a control page."""
    pages: dict[tuple[str, str], Callable[[], Iterable[bytes]]] = {
        ("GET", "log"): lambda: records.log_lines(*_range(request)),
        ("GET", "state"): lambda: map(_line, records.state()),
        ("GET", "stats"): lambda: (_line(records.stats()),),
        ("POST", "reset"): lambda: _done(records.reset),
        ("POST", "revoke"): lambda: _done(records.revoke),
    }
    page = pages.get((request.method, request.path.removeprefix(CONTROL)))
    if page is None:
        known = ", ".join(f"{method} {CONTROL}{name}" for method, name in pages)
        return web.Response(status=404, text=f"No such page: there are {known}\n")
    try:
        lines = page()
    except ValueError as error:
        return web.Response(status=400, text=f"{error}\n")
    return await _stream(request, lines)


def _range(request: web.BaseRequest) -> tuple[int, int | None]:
    offset, limit = request.query.get("offset", "0"), request.query.get("limit")
    for text in (offset, limit or "0"):
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"offset and limit are whole numbers, not {text!r}")
    return int(offset), None if limit is None else int(limit)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _done(act: Callable[[], None]) -> tuple[bytes, ...]:
    act()
    return ()


async def _stream(request: web.BaseRequest, lines: Iterable[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    block = bytearray()
    for line in lines:
        block += line + b"\n"
        if len(block) >= _FLUSH_BYTES:
            await response.write(bytes(block))
            block.clear()
    if block:
        await response.write(bytes(block))
    return response
