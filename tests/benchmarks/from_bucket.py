"""A large Parquet file from a bucket, reports back to it: killed in the middle, resumed elsewhere.

    .venv/bin/python -m tests.benchmarks.from_bucket --rows 1000000
    .venv/bin/python -m tests.benchmarks.from_bucket --rows 1000000 --postgres

The run is killed (SIGKILL) once half of the rows have arrived, and resumed in another folder. That
has only the ledger: its file, or with --postgres the URL of the database. Prints the costs of both
processes, how often rows arrived, and what the report in the bucket says.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import boto3

from tests.benchmarks.files import write_parquet
from tests.object_server import ObjectServer, object_server
from tests.postgres import postgres_server

BUCKET, KEY = "offers", "drop/coupons.parquet"
CONFIG = """
reports = "s3://offers/reports"
ledger = "{ledger}"
[accounts.shop]
vendor = "xsolla"
base_url = "{url}"
project_id = 44056
api_key = "env:SHOP_KEY"
quota = "1000000/s"
in_flight = 64
"""
REPLY = b"HTTP/1.1 204 No Content\r\n\r\n"
_ROW = re.compile(rb"^PUT \S*/autumn_(\d+)")


class Vendor(asyncio.Protocol):
    """Answers each update with 204 and counts how often each row arrived."""

    counts = bytearray()

    def __init__(self) -> None:
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end]
            at = head.lower().find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
            if len(self._got) < end + 4 + size:
                return
            self._got = self._got[end + 4 + size :]
            self._transport.write(self._answer(head))

    def _answer(self, head: bytes) -> bytes:
        if (found := _ROW.match(head)) is not None:
            self.counts[int(found[1])] += 1
            return REPLY
        body = json.dumps(Counter(self.counts[1:])).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def serve(rows: int) -> None:
    """The vendor as a process; prints its URL."""
    Vendor.counts = bytearray(rows + 1)

    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Vendor, "127.0.0.1", 0)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()

    asyncio.run(main())


@contextmanager
def vendor(rows: int) -> Iterator[str]:
    """The vendor; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.from_bucket", "--serve", str(rows)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def arrived(url: str) -> dict[int, int]:
    """How many rows arrived so often."""
    with urllib.request.urlopen(url) as reply:
        return {int(times): rows for times, rows in json.load(reply).items()}


class Sampled:
    """A process of the command, and its peak anonymous memory."""

    def __init__(self, folder: Path, environ: dict[str, str], *arguments: str) -> None:
        self.began_s = time.monotonic()
        self.peak_mb = 0.0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def _sample(self) -> None:
        status = Path(f"/proc/{self.process.pid}/status")
        while self.process.poll() is None:
            found = re.search(r"RssAnon:\s*(\d+)", status.read_text())
            self.peak_mb = max(self.peak_mb, int(found[1]) / 1024 if found else 0)
            time.sleep(0.05)

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it said."""
        said = self.process.stderr.read()
        self.process.wait()
        self._thread.join()
        return self.process.returncode, said

    def told(self, name: str) -> str:
        """What it cost."""
        return (
            f"{name}: {time.monotonic() - self.began_s:.0f} s, peak RssAnon {self.peak_mb:.0f} MB"
        )


def play(folder: Path, rows: int, ledger: str, objects: ObjectServer, url: str) -> None:
    """Run, kill, resume, judge."""
    os.environ.update(objects.environ())
    storage = boto3.client("s3")
    storage.create_bucket(Bucket=BUCKET)
    write_parquet(folder / "coupons.parquet", rows)
    storage.upload_file(str(folder / "coupons.parquet"), BUCKET, KEY)
    print(f"{rows:,} rows, {(folder / 'coupons.parquet').stat().st_size >> 20} MiB", flush=True)
    environ = {**os.environ, "SHOP_KEY": "k", "PIPELINE_EVENT_LOOP": "asyncio"}
    one, two = folder / "one", folder / "two"
    for each in (one, two):
        each.mkdir()
        (each / "pipeline.toml").write_text(CONFIG.format(ledger=ledger, url=url))
    source = f"s3://{BUCKET}/{KEY}"
    first = Sampled(one, environ, "run", source, "--operation", "xsolla.coupon", "--yes", "-q")
    while first.process.poll() is None and sum(arrived(url).get(n, 0) for n in (1, 2)) < rows // 2:
        time.sleep(0.5)
    first.process.kill()
    print(first.told("killed"), first.ended()[0], arrived(url), flush=True)
    second = Sampled(two, environ, "resume", "--yes", "-q")
    code, said = second.ended()
    print(second.told("resumed"), f"exit code {code}", said, flush=True)
    print("arrived (times: rows)", arrived(url))
    judge(storage, rows)
    third = subprocess.run(
        [sys.executable, "-m", "pipeline", "runs"],
        cwd=two,
        env=environ,
        text=True,
        capture_output=True,
        check=False,
    )
    print(third.stdout)


def judge(storage: object, rows: int) -> None:
    """The report in the bucket agrees with itself."""
    listed = storage.list_objects_v2(Bucket=BUCKET, Prefix="reports/")["Contents"]
    (key,) = (each["Key"] for each in listed if each["Key"].endswith("summary.json"))
    summary = json.load(storage.get_object(Bucket=BUCKET, Key=key)["Body"])
    for each in summary["outputs"].values():
        body = storage.get_object(Bucket=BUCKET, Key=f"{key.rpartition('/')[0]}/{each['name']}")
        digest = hashlib.sha256()
        for chunk in body["Body"].iter_chunks(1 << 20):
            digest.update(chunk)
        assert digest.hexdigest() == each["sha256"], each
        print(f"{each['name']}: {each['rows']:,} rows, {each['bytes']:,} bytes, checksum agrees")
    print({name: n for name, n in summary["statuses"].items() if n}, f"of {rows:,}")


def main() -> None:
    """As the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        objects = stack.enter_context(object_server())
        url = stack.enter_context(vendor(given.rows))
        server = stack.enter_context(postgres_server() if given.postgres else nullcontext())
        ledger = server.new_database() if server else str(folder / "ledger" / "ledger.db")
        play(folder, given.rows, ledger, objects, url)


if __name__ == "__main__":
    main()
