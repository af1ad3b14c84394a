"""Servers that speak bytes: a test says what happens on each connection, and reads what came."""

from __future__ import annotations

import asyncio
import atexit
import os
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True)
class Seen:
    """One request as it stood on the wire. Header names in lower case."""

    connection: int
    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {
            name.lower(): value.strip() for name, value in (x.split(":", 1) for x in lines if x)
        }


@dataclass
class Wire:
    """One connection, from the server's end."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: list[Seen]

    async def request(self) -> Seen:
        """The next request, read whole. Raises IncompleteReadError where none comes."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        request = Seen(self.number, head, b"")
        body = await self.reader.readexactly(int(request.headers.get("content-length", "0")))
        request = Seen(self.number, head, body)
        self.seen.append(request)
        return request

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def hang(self) -> None:
        """Say nothing more until the client has gone."""
        while await self.reader.read(65_536):
            pass


@dataclass
class Server:
    port: int
    scheme: str
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    closed: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


Talk = Callable[[Wire], Awaitable[None]]

_TURNS_TO_ACCEPT = 5  # of the loop: to accept a connection, and to begin to serve it


@asynccontextmanager
async def serving(talk: Talk, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server on a free port of 127.0.0.1 that holds `talk` on every connection."""
    state = Server(port=0, scheme="https" if tls else "http")
    under_way: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        state.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                await talk(Wire(state.connections, reader, writer, state.seen))
        finally:
            under_way.discard(task)
            state.closed += 1
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        # asyncio leaves a connection open that it was accepting when its server closed
        for _ in range(_TURNS_TO_ACCEPT):
            await asyncio.sleep(0)
        server.close()
        for task in list(under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if tls is not None:  # whoever hung up amid or right after a handshake is noticed by then
            await asyncio.sleep(0.1)


@contextmanager
def refusing_handshakes(tls: ssl.SSLContext) -> Iterator[str]:
    """The URL of a server that says why it refuses a handshake: asyncio's hangs up unsaid."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            plain, _ = listener.accept()
            with tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as line:
                with suppress(ssl.SSLError):
                    line.do_handshake()
                plain_end = socket.socket(fileno=os.dup(line.fileno()))
                with plain_end:
                    plain_end.shutdown(socket.SHUT_WR)
                    while plain_end.recv(65_536):  # unread bytes would reset the connection
                        pass

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(timeout=5)


def answering(*replies: bytes) -> Talk:
    """Answers each request of a connection with the next of `replies`, the last for ever."""

    async def talk(wire: Wire) -> None:
        for number in range(1_000_000):
            await wire.request()
            await wire.say(replies[min(number, len(replies) - 1)])

    return talk


def reply(status: int, *headers: str, body: bytes = b"") -> bytes:
    """A reply with its Content-Length."""
    lines = [f"HTTP/1.1 {status} Whatever", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


@cache
def _taken() -> socket.socket:
    taken = socket.socket()
    atexit.register(taken.close)
    taken.bind(("127.0.0.1", 0))
    return taken


def refused_port() -> int:
    """A port where nobody listens, nor can: it is taken until this process ends."""
    return int(_taken().getsockname()[1])


def proxying(upstream_port: int) -> Talk:
    """An HTTP proxy that connects everybody to `upstream_port`, whatever host they name."""

    async def talk(wire: Wire) -> None:
        first = await wire.request()
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream_port)
        try:
            if first.line.startswith("CONNECT "):
                await wire.say(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                writer.write(first.head + first.body)
            await asyncio.gather(_pump(wire.reader, writer), _pump(reader, wire.writer))
        finally:
            writer.close()

    return talk


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
