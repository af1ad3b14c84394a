"""The server that both sides of the benchmark talk to: nginx where there is one."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  keepalive_requests 100000000; client_body_buffer_size 64k;
  server {{ listen 127.0.0.1:{port}; location / {{ return 204; }} }}
}}
"""
REPLY = b"HTTP/1.1 204 No Content\r\n\r\n"


class _Answer204(asyncio.Protocol):
    """Reads requests with a Content-Length and answers each with 204."""

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
            self._transport.write(REPLY)  # type: ignore[attr-defined]


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Answer204, "127.0.0.1", port)
    await server.serve_forever()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, str]]:
    """(name of the server, its URL); it runs in a process of its own."""
    port = _free_port()
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx:
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        command = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
        command += ["-e", str(folder / "error.log")]
    else:
        print("nginx is not installed: both sides talk to a small asyncio server instead")
        command = [sys.executable, "-m", "tests.benchmarks.servers", str(port)]
    process = subprocess.Popen(command)
    try:
        _wait_for(port)
        yield ("nginx" if nginx else "asyncio server"), f"http://127.0.0.1:{port}"
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
    asyncio.run(_serve(int(sys.argv[1])))
