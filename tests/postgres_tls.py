"""TLS in front of a test's database, as a server built with it speaks it."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@contextmanager
def tls_in_front(database: str, context: ssl.SSLContext, host: str = "127.0.0.1") -> Iterator[int]:
    """A port of this host that speaks TLS and passes on to the socket of a database's URL."""
    given = parse_qs(urlsplit(database).query)
    path = Path(given["host"][0]) / f".s.PGSQL.{given['port'][0]}"
    is_over = threading.Event()
    threads: list[threading.Thread] = []

    def start(target: object, *arguments: object) -> None:
        threads.append(threading.Thread(target=target, args=arguments))  # type: ignore[arg-type]
        threads[-1].start()

    with socket.create_server((host, 0)) as listener:

        def serve() -> None:
            while not is_over.is_set():
                if select.select([listener], [], [], 0.05)[0]:
                    start(_pass_on, listener.accept()[0], str(path), context, is_over)

        start(serve)
        try:
            yield listener.getsockname()[1]
        finally:
            is_over.set()
            for each in threads:
                each.join()


def _pass_on(
    plain: socket.socket, path: str, context: ssl.SSLContext, is_over: threading.Event
) -> None:
    with plain, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
        plain.settimeout(10.0)
        if len(plain.recv(8)) != 8:  # "may we speak TLS?"
            return
        plain.sendall(b"S")
        with context.wrap_socket(plain, server_side=True) as client:
            server.connect(path)
            while not is_over.is_set():
                ready = [client] if client.pending() else []
                for source in ready or select.select([client, server], [], [], 0.1)[0]:
                    if not (data := source.recv(1 << 16)):
                        return
                    (server if source is client else client).sendall(data)
