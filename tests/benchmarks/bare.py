"""A bare loop that sends requests from a list: what the pipeline is held to.

    python -m tests.benchmarks.bare REQUESTS URL IN_FLIGHT CA_FILE

REQUESTS is a folder that `contestants.write_requests` made. One aiohttp session, as many workers as
requests in flight, no record; nothing else is imported. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path

import aiohttp
from yarl import URL


async def _send_all(
    requests: list[tuple[str, bytes]], headers: dict[str, str], in_flight: int, ca_file: str
) -> None:
    following = iter(requests)
    is_secure = requests[0][0].startswith("https")
    tls = ssl.create_default_context(cafile=ca_file) if is_secure else True
    connector = aiohttp.TCPConnector(limit=in_flight, ssl=tls)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def worker() -> None:
            for url, body in following:
                async with session.put(URL(url, encoded=True), data=body) as response:
                    await response.read()
                    assert response.status == 204

        await asyncio.gather(*(worker() for _ in range(in_flight)))


def main() -> None:
    """Send them all, as the arguments say."""
    folder, url, in_flight, ca_file = Path(sys.argv[1]), *sys.argv[2:]
    headers = json.loads((folder / "headers.json").read_text())
    with (folder / "lines.jsonl").open() as lines:
        found = [(url + each["path"], each["body"].encode()) for each in map(json.loads, lines)]
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(_send_all(found, headers, int(in_flight), ca_file))
    told = {
        "rows": len(found),
        "send_s": time.perf_counter() - wall,
        "send_cpu_s": time.process_time() - cpu,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
