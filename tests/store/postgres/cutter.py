"""A way to a database that can be cut at a chosen moment."""

from __future__ import annotations

import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

REQUEST, ANSWER = "request", "answer"


class Cutter:
    """Passes bytes between clients and a server, until it is told to cut.

    url  leads to the same database through it
    """

    def __init__(self, url: str, folder: Path) -> None:
        given = parse_qs(urlsplit(url).query)
        name = f".s.PGSQL.{given['port'][0]}"
        self._server = str(Path(given["host"][0]) / name)
        self.url = url.replace(given["host"][0], str(folder))
        self.cuts = 0
        self._next: str | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / name))
        self._listener.listen()
        self._is_closed = False
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def lose(self, what: str) -> None:
        """Lose the next request before it arrives, or the next answer after it was given, and cut
        that connection.
        """
        self._next = what

    def _accept(self) -> None:
        while not self._is_closed:
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            client, _ = self._listener.accept()
            self._threads.append(threading.Thread(target=self._pass, args=(client,)))
            self._threads[-1].start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(self._server)
            ways = {client: (server, REQUEST), server: (client, ANSWER)}
            while not self._is_closed:
                for source in select.select(ways, [], [], 0.05)[0]:
                    target, what = ways[source]
                    data = source.recv(1 << 16)
                    if self._next == what:
                        self._next = None
                        self.cuts += 1
                        return
                    if not data:
                        return
                    target.sendall(data)

    def close(self) -> None:
        """Cut all connections and accept nothing more."""
        self._is_closed = True
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextmanager
def cutter(url: str) -> Iterator[Cutter]:
    """A way to the database of a URL."""
    folder = Path(tempfile.mkdtemp(prefix="cut-", dir="/tmp"))  # a socket's path is short
    each = Cutter(url, folder)
    try:
        yield each
    finally:
        each.close()
        shutil.rmtree(folder)
