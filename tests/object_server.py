"""A real server of buckets for tests, in a process of its own, and a proxy that makes faults."""

from __future__ import annotations

import http.client
import logging
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, cast
from urllib.parse import quote

KEY, SECRET = "planted-key-id", "planted-secret-key"
SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
DENIED = (
    b"<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>planted-key-id</AWSAccessKeyId>"
    b"<StringToSign>planted-secret-key</StringToSign></Error>"
)
NOT_THERE = b"<Error><Code>NotImplemented</Code></Error>"
_SIGNED = (
    f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=0"
)
_numbers = count(1)


@dataclass(frozen=True)
class ObjectServer:
    """One that runs elsewhere; `url` is its endpoint."""

    url: str

    def new_bucket(self) -> str:
        """The name of an empty bucket."""
        name = f"bucket-{next(_numbers)}"
        self.request("PUT", f"/{name}")
        return name

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """One request, which must succeed."""
        request = urllib.request.Request(
            f"{self.url}{quote(path, safe='/?=&')}",
            method=method,
            data=body,
            headers={"Content-Type": "application/octet-stream", "Authorization": _SIGNED},
        )
        with urllib.request.urlopen(request) as reply:
            return bytes(reply.read())

    def put(self, bucket: str, key: str, body: bytes | str) -> str:
        """Write an object; returns its URL."""
        content = body.encode() if isinstance(body, str) else body
        self.request("PUT", f"/{bucket}/{key}", content)
        return f"s3://{bucket}/{key}"

    def get(self, bucket: str, key: str) -> bytes:
        """The content of an object."""
        return self.request("GET", f"/{bucket}/{key}")

    def keys(self, bucket: str) -> list[str]:
        """All keys of a bucket, sorted."""
        text = self.request("GET", f"/{bucket}?list-type=2").decode()
        return sorted(part.partition("</Key>")[0] for part in text.split("<Key>")[1:])

    def environ(self, endpoint: str = "") -> dict[str, str]:
        """What a user of this server sets."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    """A server on a free port of the loopback address."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.object_server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield ObjectServer(cast("Any", process.stdout).readline().strip())
    finally:
        process.communicate()  # the end of its input ends it


@dataclass
class Fault:
    """What happens to requests.

    does    gets the handler and the number of the request; True if it answered
    times   how often; then requests pass
    """

    method: str
    part: str
    does: Callable[[ProxyHandler], bool]
    times: int = 1_000_000


@dataclass
class Proxy:
    """Passes requests on, but for its faults."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def add(
        self, method: str, part: str, does: Callable[[ProxyHandler], bool], times: int = 1_000_000
    ) -> None:
        """Do this to the next requests with that method and that in their path."""
        self.faults.append(Fault(method, part, does, times))


class ProxyHandler(BaseHTTPRequestHandler):
    """One connection to the proxy."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy
    upstream: str

    def _pass(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.proxy.seen.append(f"{self.command} {self.path}")
        for fault in self.proxy.faults:
            if fault.times and fault.method == self.command and fault.part in self.path:
                fault.times -= 1
                if fault.does(self):
                    return
        self.answer(*self.forward())

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass  # noqa: N815

    def forward(self) -> tuple[int, list[tuple[str, str]], bytes]:
        """The server's reply."""
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        headers = dict(self.headers.items())
        connection.request(self.command, self.path, body=self.body, headers=headers)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, reply.getheaders(), content

    def answer(
        self,
        status: int,
        headers: list[tuple[str, str]],
        content: bytes,
        *,
        sent: int | None = None,
    ) -> None:
        """Reply; of the content, only `sent` bytes before the connection closes."""
        self.send_response_only(status)
        is_head = self.command == "HEAD"
        for name, value in headers:
            if name.lower() not in {"transfer-encoding", "connection", "content-length"} or (
                is_head and name.lower() == "content-length"
            ):
                self.send_header(name, value)
        if not is_head:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not is_head:
            self.wfile.write(content[:sent])
        self.close_connection = self.close_connection or sent is not None

    def log_message(self, *_given: object) -> None:
        """Say nothing."""


def replies(status: int, content: bytes = b"") -> Callable[[ProxyHandler], bool]:
    """Reply with that."""

    def does(handler: ProxyHandler) -> bool:
        handler.answer(status, [("Content-Type", "application/xml")], content)
        return True

    return does


def cuts(handler: ProxyHandler) -> bool:
    """Cut the reply in the middle."""
    status, headers, content = handler.forward()
    handler.answer(status, headers, content, sent=len(content) // 2)
    return True


def hangs_up(handler: ProxyHandler) -> bool:
    """Close the connection without a reply."""
    handler.close_connection = True
    return True


def delays(seconds: float) -> Callable[[ProxyHandler], bool]:
    """Wait, then pass on."""

    def does(_handler: ProxyHandler) -> bool:
        time.sleep(seconds)
        return False

    return does


def after(act: Callable[[], object]) -> Callable[[ProxyHandler], bool]:
    """Pass on, and do something before the reply is given."""

    def does(handler: ProxyHandler) -> bool:
        reply = handler.forward()
        act()
        handler.answer(*reply)
        return True

    return does


@contextmanager
def proxy_of(server: ObjectServer) -> Iterator[Proxy]:
    """A proxy on a free port."""
    proxy = Proxy("")

    class Handler(ProxyHandler):
        upstream = server.url.partition("//")[2]

    Handler.proxy = proxy
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def main() -> None:
    """Serve until the input ends; print the URL."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - only this process has it

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(f"http://{host}:{port}", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
