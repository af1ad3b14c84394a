"""A vendor that is only a judge: it stamps each request when its head has arrived, and counts.

    python tests/benchmarks/judge_server.py LOG [--jitter-s J] [--cold-s C] [--cold-requests N]
        [--cold-after-s S]

It knows nothing of the pipeline: the standard library is all that it imports. It prints its port,
answers 204 to everything, and writes a line per request into LOG: when it counted it, in seconds of
the machine's monotonic clock. Before that a request waits up to J seconds, at random; the first N,
and those after S seconds without any, C seconds more: so a way varies, and is cold.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import time
from pathlib import Path

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)


class Judge:
    """Counts what arrives."""

    def __init__(self, given: argparse.Namespace, log: Path) -> None:
        self._given = given
        self._log = log.open("w", buffering=1)
        self._random = random.Random(given.seed)
        self._came = 0
        self._last_s = time.monotonic()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(self._late_s())
                self._log.write(f"{time.monotonic():.6f}\n")
                length = _LENGTH.search(head)
                await reader.readexactly(int(length[1]) if length else 0)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _late_s(self) -> float:
        now_s = time.monotonic()
        is_cold = now_s > self._last_s + self._given.cold_after_s
        is_cold |= self._came < self._given.cold_requests
        self._came += 1
        self._last_s = now_s
        late_s: float = self._random.random() * self._given.jitter_s
        return late_s + (self._given.cold_s if is_cold else 0.0)


async def main() -> None:
    """Serve until killed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("log", type=Path)
    arguments.add_argument("--jitter-s", type=float, default=0.0)
    arguments.add_argument("--cold-s", type=float, default=0.0)
    arguments.add_argument("--cold-requests", type=int, default=1)
    arguments.add_argument("--cold-after-s", type=float, default=4.0)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    judge = Judge(given, given.log)
    server = await asyncio.start_server(judge.serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
