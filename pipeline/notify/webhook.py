"""Sends messages to a webhook from a thread, so that a slow receiver delays no run."""

from __future__ import annotations

import http.client
import queue
import ssl
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

ATTEMPTS = 2
MAX_WAITING = 100
"""If more messages are waiting, new ones are dropped with a warning."""

_OK = range(200, 300)


class Webhook:
    """Sends bodies one after the other. The URL is a secret and never part of a warning.

    timeout_s  for one attempt
    warn       called in the thread for a message that did not arrive
    """

    def __init__(self, url: str, timeout_s: float, warn: Callable[[str], None]) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._warn = warn
        self._waiting: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def send(self, body: bytes) -> None:
        """Queue a body; returns at once."""
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            self._warn("the webhook is too slow: a message was dropped")

    def close(self) -> None:
        """Send waiting messages, for at most the time that one message may take."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(ATTEMPTS * self._timeout_s + 1.0)
        if self._thread.is_alive():
            self._warn("the webhook is too slow: messages may not have arrived")

    def _work(self) -> None:
        while (body := self._waiting.get()) is not None:
            why = ""
            for _ in range(ATTEMPTS):
                why = self._attempt(body)
                if not why:
                    break
            if why:
                self._warn(f"the webhook message was not delivered: {why}")

    def _attempt(self, body: bytes) -> str:
        """Send once; return why it failed, empty on success. Redirects are not followed."""
        ends_s = time.monotonic() + self._timeout_s
        try:
            connection, path = self._connection()
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                if connection.sock is not None:
                    connection.sock.settimeout(max(0.01, ends_s - time.monotonic()))
                status = connection.getresponse().status
            finally:
                connection.close()
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except (OSError, http.client.HTTPException, ValueError) as error:
            return type(error).__name__  # its message may contain the URL
        return "" if status in _OK else f"it answered {status}"

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        parts = urlsplit(self._url)
        host, port, timeout_s = parts.hostname or "", parts.port, self._timeout_s
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout_s), path
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context), path
