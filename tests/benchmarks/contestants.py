"""Who is compared: the pipeline, a bare loop, and published tools that send requests from a file.

A contestant gets the same requests, in the form that it reads, and the same number in flight. Each
is a process of its own; a tool that is not installed is skipped with a message.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from pipeline.run.event_loop import ASYNCIO, UVLOOP, VARIABLE
from tests.benchmarks.sides import CONFIG, encoded_requests

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".venv" / "peers" / "bin"
MAX_NEWMAN_ROWS = 1_000
"""It takes 5 ms of CPU for each."""
MAX_LISTED_ROWS = 1_000_000
"""More than this is too much for a tool that holds its list in memory, or for the disk."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a contestant is to send.

    file      the rows, CSV
    requests  the same as requests, in a folder: as `write_requests` writes them
    url       origin of the server
    ca_file   authority of its certificate
    """

    rows: int
    file: Path
    requests: Path
    url: str
    ca_file: Path
    in_flight: int

    @property
    def scheme(self) -> str:
        """The first word of its URL."""
        return self.url.partition(":")[0]

    @property
    def headers(self) -> dict[str, str]:
        """Headers of every request."""
        return dict(json.loads((self.requests / "headers.json").read_text()))


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A program to compare with.

    program   its name on PATH or among the peers; None for ours
    says      what differs from the others, for the table
    command   its words, for a task and an empty folder to work in
    max_rows  more are not sent through it
    module    of Python that it needs; empty for none
    """

    name: str
    program: str | None = None
    says: str = ""
    command: Callable[[Task, Path], Sequence[str]]
    environ: Callable[[Task], dict[str, str]] = field(default=lambda _task: {})
    max_rows: int | None = None
    module: str = ""

    def found(self) -> str | None:
        """Path of its program; None if it is not installed."""
        if self.module and find_spec(self.module) is None:
            return None
        if self.program is None:
            return sys.executable
        return shutil.which(str(PEERS / self.program)) or shutil.which(self.program)

    def version(self) -> str:
        """The first line that it prints of itself."""
        if self.program is None:
            return ""
        asked = {"hey": None, "vegeta": "-version"}.get(self.program, "--version")
        if asked is None:
            return ""  # it has no such option
        done = subprocess.run(
            [str(self.found()), asked], capture_output=True, text=True, check=False
        )
        return next(iter((done.stdout + done.stderr).strip().splitlines()), "")


def write_requests(task: Task) -> None:
    """The requests of a task's file in every form that a contestant reads."""
    folder, url, ca_file = task.requests, task.url, task.ca_file
    folder.mkdir()
    headers, requests = encoded_requests(task.file, url, task.in_flight, folder / "bind")
    (folder / "headers.json").write_text(json.dumps(headers))
    with ExitStack() as stack:
        lines, curl, vegeta, urls, newman = (
            stack.enter_context((folder / name).open("w", encoding="utf-8"))
            for name in ("lines.jsonl", "curl.txt", "vegeta.jsonl", "urls.txt", "newman.json")
        )
        for number, (path, body) in enumerate(requests):
            text = body.decode()
            lines.write(json.dumps({"path": path, "body": text}) + "\n")
            curl.write(
                ("next\n" if number else "") + _curl_entry(url + path, text, headers, ca_file)
            )
            vegeta.write(_vegeta_target(url + path, body, headers))
            urls.write(url + path + "\n")
            if number < MAX_NEWMAN_ROWS:
                newman.write(("," if number else "[") + json.dumps({"path": path, "body": text}))
        newman.write("]")


def _curl_entry(url: str, body: str, headers: dict[str, str], ca_file: Path) -> str:
    lines = [("url", url), ("request", "PUT"), ("data-raw", body), ("output", "/dev/null")]
    lines += [("header", f"{name}: {value}") for name, value in headers.items()]
    lines += [("cacert", str(ca_file))] if url.startswith("https") else []
    return "".join(f"{option} = {_curl_quoted(value)}\n" for option, value in lines)


def _curl_quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _vegeta_target(url: str, body: bytes, headers: dict[str, str]) -> str:
    target = {
        "method": "PUT",
        "url": url,
        "body": base64.b64encode(body).decode(),
        "header": {name: [value] for name, value in headers.items()},
    }
    return json.dumps(target) + "\n"


def first_body(task: Task) -> str:
    """For a tool that sends one body again and again."""
    with (task.requests / "lines.jsonl").open() as lines:
        return str(json.loads(next(lines))["body"])


def write_config(task: Task, folder: Path) -> Path:
    """The pipeline's configuration of a task."""
    text = CONFIG.format(url=task.url, in_flight=task.in_flight)
    if task.scheme == "https":
        text += f'ca_file = "{task.ca_file}"\n'
    file = folder / "pipeline.toml"
    file.write_text(text)
    return file


def _whole(task: Task, folder: Path) -> Sequence[str]:
    config = write_config(task, folder)
    words = [sys.executable, "-m", "pipeline", "--config", str(config), "run", "--yes", "--quiet"]
    return [*words, "--operation", "xsolla.coupon", str(task.file)]


def _side(name: str) -> Callable[[Task, Path], Sequence[str]]:
    def command(task: Task, folder: Path) -> Sequence[str]:
        write_config(task, folder)
        words = [sys.executable, "-m", "tests.benchmarks.sides", name]
        return [*words, str(task.file), task.url, str(task.in_flight), str(folder)]

    return command


def _bare(task: Task, _folder: Path) -> Sequence[str]:
    words = [sys.executable, "-m", "tests.benchmarks.bare", str(task.requests), task.url]
    return [*words, str(task.in_flight), str(task.ca_file)]


def _header_words(task: Task, option: str) -> Iterator[str]:
    for name, value in task.headers.items():
        yield from (option, f"{name}: {value}")


def _curl(task: Task, _folder: Path) -> Sequence[str]:
    words = ["curl", "--parallel", "--parallel-max", str(task.in_flight), "--no-progress-meter"]
    return [*words, "-K", str(task.requests / "curl.txt")]


def _reqstorm(task: Task, folder: Path) -> Sequence[str]:
    program = shutil.which(str(PEERS / "reqstorm")) or "reqstorm"
    words = [program, str(task.requests / "urls.txt"), "-X", "PUT", *_header_words(task, "-H")]
    words += ["--json", first_body(task), "-c", str(task.in_flight), "--quiet"]
    return [*words, "-o", str(folder / "results.jsonl")]


def _benthos(task: Task, folder: Path) -> Sequence[str]:
    headers = "".join(
        f"      {name}: {json.dumps(value)}\n" for name, value in task.headers.items()
    )
    tls = f"    tls: {{enabled: true, root_cas_file: {task.ca_file}}}\n"
    (folder / "benthos.yaml").write_text(
        f"""\
http: {{enabled: false}}
logger: {{level: ERROR}}
input:
  file: {{paths: [{task.requests / "lines.jsonl"}], scanner: {{lines: {{}}}}}}
pipeline:
  processors:
    - mapping: |
        meta path = this.path
        root = this.body
output:
  http_client:
    url: {task.url}${{! meta("path") }}
    verb: PUT
    max_in_flight: {task.in_flight}
    headers:
{headers}{tls if task.scheme == "https" else ""}"""
    )
    return ["benthos", "-c", str(folder / "benthos.yaml")]


def _vegeta(task: Task, folder: Path) -> Sequence[str]:
    workers = str(task.in_flight)
    words = ["vegeta", "attack", "-format=json", "-lazy", "-rate=0"]
    words += ["-targets", str(task.requests / "vegeta.jsonl"), "-workers", workers]
    words += ["-max-workers", workers, "-output", str(folder / "results.bin")]
    return [*words, *(["-root-certs", str(task.ca_file)] if task.scheme == "https" else [])]


def _hey(task: Task, _folder: Path) -> Sequence[str]:
    with (task.requests / "urls.txt").open() as urls:
        url = next(urls).strip()
    words = ["hey", "-n", str(task.rows), "-c", str(task.in_flight), "-m", "PUT"]
    return [*words, *_header_words(task, "-H"), "-d", first_body(task), url]


def _newman(task: Task, folder: Path) -> Sequence[str]:
    request = {
        "method": "PUT",
        "url": task.url + "{{path}}",
        "header": [{"key": name, "value": value} for name, value in task.headers.items()],
        "body": {"mode": "raw", "raw": "{{body}}"},
    }
    schema = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
    collection = {"info": {"name": "rows", "schema": schema}, "item": [{"request": request}]}
    (folder / "collection.json").write_text(json.dumps(collection))
    words = ["newman", "run", str(folder / "collection.json"), "--silent"]
    words += ["-d", str(task.requests / "newman.json")]
    return [
        *words,
        *(["--ssl-extra-ca-certs", str(task.ca_file)] if task.scheme == "https" else []),
    ]


def _on(event_loop: str) -> Callable[[Task], dict[str, str]]:
    return lambda _task: {VARIABLE: event_loop}


CHECKSUMS = Contestant(name="checksums", command=_side("checksums"))
"""The pipeline, which tells what part of its CPU time goes into checksums."""

CONTESTANTS = (
    Contestant(
        name="pipeline, whole run",
        says="file to report, record on disk",
        command=_whole,
        environ=_on(ASYNCIO),
    ),
    Contestant(
        name="pipeline, whole run with uvloop",
        command=_whole,
        environ=_on(UVLOOP),
        module="uvloop",
    ),
    Contestant(
        name="pipeline, sending",
        says="record on disk",
        command=_side("pipeline"),
        environ=_on(ASYNCIO),
    ),
    Contestant(
        name="pipeline, sending with uvloop",
        command=_side("pipeline"),
        environ=_on(UVLOOP),
        module="uvloop",
    ),
    Contestant(
        name="pipeline, record in memory",
        says="forgotten at its end",
        command=_side("memory"),
        environ=_on(ASYNCIO),
    ),
    Contestant(name="bare aiohttp loop", says="no record", command=_bare),
    Contestant(
        name="curl --parallel",
        program="curl",
        says="no record",
        command=_curl,
        max_rows=MAX_LISTED_ROWS,
    ),
    Contestant(
        name="reqstorm",
        program="reqstorm",
        says="one body for all, results as JSON lines",
        command=_reqstorm,
        environ=lambda task: {"SSL_CERT_FILE": str(task.ca_file)},
        max_rows=MAX_LISTED_ROWS,
    ),
    Contestant(name="Benthos", program="benthos", says="no record", command=_benthos),
    Contestant(
        name="vegeta",
        program="vegeta",
        says="a load generator",
        command=_vegeta,
        max_rows=MAX_LISTED_ROWS,
    ),
    Contestant(
        name="hey",
        program="hey",
        says="a load generator: one URL and body, no check of certificates",
        command=_hey,
        max_rows=MAX_LISTED_ROWS,
    ),
    Contestant(
        name="newman",
        program="newman",
        says=f"{MAX_NEWMAN_ROWS:,} rows at most, one at a time",
        command=_newman,
    ),
)
