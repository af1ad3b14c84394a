"""What is fed: each target takes bytes, and lets out nothing but what users may see."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.cli.operations import csv_template
from pipeline.config import Config, load_config
from pipeline.http_client.transport import Transport
from pipeline.jobs import read_jobs
from pipeline.model import Link, NoReply, PipelineError, Reply, Request, UpdateJob
from pipeline.run import discard, prepare
from pipeline.runs import RunOptions
from pipeline.vendors import Operation, TokenCall, load_vendors
from pipeline.vendors.kit.classify import classify_read
from tests.workplace import BILLING, CONFIG, ENVIRON, JOURNEY

ROOT = Path(__file__).parent.parent.parent
URL = "http://127.0.0.1:9"
_DPS = re.sub(r'api = "xcore"\ncontainer_id = .*', 'api = "dps"', JOURNEY)  # as the templates are
TABLES = "".join(
    [
        CONFIG.format(base_url=URL, quota='"9/s"', in_flight=2, more=""),
        _DPS.format(url=URL, in_flight=2, more=""),
        BILLING.format(url=URL, in_flight=2, max_batch=20, more=""),
    ]
)
BODIES = tuple(
    line.encode()
    for line in r"""
{}
{"errorCode": 1102, "statusCode": 422, "errorMessage": "[0401-1102]: x", "errorMessageExtended": []}
{"items": [{"external_id": "a", "name": {"en": "A"}, "redeem_total_limit": {"total": 5}}]}
{"external_id": "a", "name": {"en": "A"}, "bonus": [{"sku": "s", "quantity": 1}]}
{"results": [{"id": "a", "etag": 3, "name": "n"}], "total": 1, "_links": {"next": {"href": "/o?x"}}}
{"instanceId": "a", "_instance": {"xdm:name": "x"}, "repo:etag": 2}
{"access_token": "a.b.c", "token_type": "bearer", "expires_in": 86399}
{"type": "x", "title": "t", "status": 400, "report": {"detailed-message": "m"}}
<html><body>503</body></html>
""".strip().splitlines()
)
HEADS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
    b'HTTP/1.1 422 No\r\nContent-Length: %d\r\nETag: "3"\r\n\r\n',
    b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: %d\r\n\r\n",
    b"HTTP/1.1 503 No\r\nRetry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\nX: %d\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
)


@dataclass(frozen=True)
class Target:
    """What takes bytes, and the good ones that bad ones are made of.

    longest_s  so long one example may take, in seconds
    every      it is fed in one turn of so many
    """

    name: str
    corpus: Sequence[bytes]
    feed: Callable[[bytes], None]
    longest_s: float = 10.0
    every: int = 1


def configuration_target(folder: Path) -> Target:
    """Text of pipeline.toml."""
    file, vendors = folder / "any.toml", load_vendors()
    corpus = [TABLES.encode()]
    for page in sorted((ROOT / "docs").glob("*.md")):
        corpus += [
            text.encode()
            for text in re.findall(r"```toml[^\n]*\n(.*?)```", page.read_text(), re.DOTALL)
        ]

    def feed(data: bytes) -> None:
        file.write_bytes(data)
        try:
            load_config(file, environ={}, vendors=vendors, cwd=folder)
        except PipelineError as error:
            str(error)  # it can be told

    return Target("configuration", corpus, feed)


def files_target(folder: Path, config: Config) -> Target:
    """Input files: CSV, gzip and Parquet, told apart by their first bytes."""
    tables = [path.read_bytes() for path in sorted((ROOT / "inputs").rglob("*.csv"))]
    tables += [table for _, table in _templates(config)]
    parquet = io.BytesIO()
    pl.DataFrame(
        {"external_id": ["a", "b"], "n": [1, None], "when": ["2026-12-01", ""], "l": [[1], []]}
    ).write_parquet(parquet)
    corpus = [*tables, *(gzip.compress(each, mtime=0) for each in tables[:4]), parquet.getvalue()]
    operations = [op.name for vendor in config.vendors.values() for op in vendor.operations]

    def feed(data: bytes) -> None:
        ending = ".csv.gz" if data[:1] == b"\x1f" else ".parquet" if data[:1] == b"P" else ".csv"
        file = folder / f"any{ending}"
        file.write_bytes(data)
        operation = operations[len(data) % len(operations)]
        try:
            discard(prepare(file, config, RunOptions(operation=operation)))
        except PipelineError as error:
            str(error)  # it can be told

    return Target("files", corpus, feed)


def _templates(config: Config) -> Iterator[tuple[Operation[Any, Any], bytes]]:
    for vendor in config.vendors.values():
        for op in vendor.operations:
            yield op, csv_template(vendor, op).encode()


def _jobs(folder: Path, config: Config) -> dict[str, UpdateJob]:
    """A job of each operation."""
    jobs = {}
    for op, table in _templates(config):
        file = folder / "template.csv"
        file.write_bytes(table)
        prepared = prepare(file, config, RunOptions(operation=op.name, allow_irreversible=True))
        (bound,) = prepared.bound.jobs.values()
        row = next(iter(next(iter(read_jobs(bound.path)))))
        jobs[op.name] = op.job_type.model_validate_json(row.text)
        discard(prepared)
    return jobs


@contextmanager
def replies_target(folder: Path, config: Config) -> Iterator[Target]:
    """What a vendor's server says, from its first byte: on the wire, then to all who read it."""
    jobs = _jobs(folder, config)
    said = [b""]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said[0])
        writer.close()

    async def ask(port: int) -> Reply | NoReply:
        link = Link(base_url=f"http://127.0.0.1:{port}", timeout_s=5.0)
        async with Transport(link, authorization="Bearer secret-token", in_flight=1) as transport:
            return await transport.send(Request("GET", "/any"))

    with asyncio.Runner() as runner:
        server = runner.run(asyncio.start_server(talk, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]

        def feed(data: bytes) -> None:
            said[0] = data
            _read_by_all(config, jobs, runner.run(ask(port)))

        corpus = [
            (head % len(body)) + body + (b"\r\n0\r\n\r\n" if b"chunked" in head else b"")
            for head in HEADS
            for body in BODIES
        ]
        yield Target("replies", corpus, feed)
        server.close()


def _read_by_all(config: Config, jobs: dict[str, UpdateJob], reply: Reply | NoReply) -> None:
    classify_read(reply)
    for entry in config.accounts.values():
        settings = entry.settings
        for op in entry.vendor.operations:
            (answer,) = op.decode(settings, [jobs[op.name]], reply)
            assert len(answer.message) < 10_000
            if isinstance(reply, NoReply) or op.reading is None:
                continue
            op.reading.state(settings, jobs[op.name], reply)
            if listing := op.reading.listing(settings):
                listing.page(settings, reply, "")
        if isinstance(reply, Reply):
            if entry.vendor.probe:
                entry.vendor.probe.judge(settings, reply)
            signs = entry.vendor.authenticate(settings)
            if isinstance(signs, TokenCall):
                signs.read(reply)


@contextmanager
def targets(folder: Path) -> Iterator[tuple[Target, ...]]:
    """All of them, working in `folder`."""
    (folder / "pipeline.toml").write_text(TABLES)
    config = load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)
    with replies_target(folder, config) as replies:
        yield files_target(folder, config), configuration_target(folder), replies
