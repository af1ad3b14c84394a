"""The server that all sides of the benchmark talk to, over http and https: nginx if installed."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  keepalive_requests 100000000; client_body_buffer_size 64k;
  ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
  server {{
    listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl;
    location / {{ return 204; }}
    location = /arrived {{ stub_status; }}
  }}
}}
"""
REPLY = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass
class Server:
    """A running server, in a process of its own.

    kind     name and version
    urls     "http" and "https" -> origin
    ca_file  authority of its certificate
    pid      its first process
    """

    kind: str
    urls: Mapping[str, str]
    ca_file: Path
    pid: int
    _asked: int = 0

    def arrived(self) -> int:
        """Requests that it has answered since its start, these questions left out."""
        with urllib.request.urlopen(f"{self.urls['http']}/arrived") as reply:
            text = reply.read().decode()
        requests = int(re.findall(r"\d+", text)[3])
        self._asked += 1
        return requests - self._asked


class _Answer204(asyncio.Protocol):
    """Reads requests with a Content-Length and answers each with 204; counts as nginx does."""

    requests = 0

    def __init__(self) -> None:
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 : head.find(b"\r\n", at) % (end + 1)]) if at >= 0 else 0
            if len(self._got) < end + 4 + size:
                return
            self._got = self._got[end + 4 + size :]
            _Answer204.requests += 1
            self._transport.write(_status() if head.startswith(b"get /arrived ") else REPLY)  # type: ignore[attr-defined]


def _status() -> bytes:
    body = f"Active connections: 1\nserver 0 0 {_Answer204.requests}\n".encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def _serve(http: int, https: int, folder: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(folder / "server.pem", folder / "server.key")
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(_Answer204, "127.0.0.1", http)
    secure = await loop.create_server(_Answer204, "127.0.0.1", https, ssl=tls)
    await asyncio.gather(plain.serve_forever(), secure.serve_forever())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """Start the server; stop it when the block ends."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "server.key")
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(folder / "server.pem", append=number > 0)
    ports = {"http": _free_port(), "https": _free_port()}
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx:
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, **ports))
        command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        command += ["-e", str(folder / "error.log")]
        said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
        kind = said.strip().partition(": ")[2]
    else:
        print("nginx is not installed: all sides talk to a small asyncio server instead")
        command = [sys.executable, "-m", "tests.benchmarks.servers", *map(str, ports.values())]
        command.append(str(folder))
        kind = "a small asyncio server"
    process = subprocess.Popen(command)
    try:
        for port in ports.values():
            _wait_for(port)
        urls = {scheme: f"{scheme}://127.0.0.1:{port}" for scheme, port in ports.items()}
        yield Server(kind, urls, folder / "ca.pem", process.pid)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_for(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"no server on port {port}")


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
