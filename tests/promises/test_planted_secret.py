"""Secrets are planted wherever one is configured, and the vendor throws them back in every way that
it can go wrong; they turn up nowhere but where they were planted.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from tests.cli.command import ended, environment, start
from tests.http_client.servers import refused_port
from tests.http_client.test_masking import FORMS
from tests.workplace import (
    BILLING,
    COLUMNS,
    CONFIG,
    ENVIRON,
    JOURNEY,
    Simulator,
    configure,
    coupon,
    drop,
    simulator,
)

KEY = "planted/K3y+of=the-shop"
SECRET = "planted/S3cret+of=all-the-others"
TOKEN = "planted-T0ken.that-was.fetched"
GATEWAY = "planted-G4teway-header"
PLANTED = (KEY, SECRET, TOKEN, GATEWAY)
ENV = {
    "SHOP_KEY": KEY,
    "CLIENT_ID": "planted-client",
    "CLIENT_SECRET": SECRET,
    "GATEWAY_KEY": GATEWAY,
}
ROWS = 48  # more than there are forms


USERS = ("44056", "planted-client")


def _forms() -> Iterator[bytes]:
    for secret in PLANTED:
        yield from (form(secret).encode() for form in FORMS.values())
        yield from (f"{user}:{secret}".encode() for user in USERS)
        yield from (base64.b64encode(f"{user}:{secret}".encode()) for user in USERS)
        for before in range(3):  # what tells of it alone, in a longer text
            yield base64.b64encode(bytes(before) + secret.encode())[4:-4]


PLANTED_FORMS = frozenset(b"".join(form.split()) for form in _forms())


def leaked(data: bytes | str) -> set[bytes]:
    """The forms of secrets that stand in it, wherever lines end."""
    raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    raw = b"".join(raw.split())
    return {form for form in PLANTED_FORMS if form in raw}


class _Mirror(BaseHTTPRequestHandler):
    """Shows in each reply what it was sent, and fails in another way each time."""

    protocol_version = "HTTP/1.1"
    turns: Iterator[int]
    seen: set[str]
    statuses = (204, 422, 500, 429, 404, 503, 0, -1, 200, 400, 409)

    def handle_any(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        for value in self.headers.values():
            self.seen.add(value)
        if "token" in self.path:
            self._say(200, json.dumps({"access_token": TOKEN, "expires_in": 900}).encode(), TOKEN)
            return
        sent = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        plain = base64.b64decode(credentials).decode() if scheme == "Basic" else credentials
        key = plain.partition(":")[2] or plain
        turn = next(self.turns)
        form = list(FORMS.values())[turn % len(FORMS)]  # the first thing, for messages are cut
        told = f"{form(key)}\n{form(plain)}\n{self.path}\n{sent}\n{plain}\n{quote(key, safe='')}"
        status = self.statuses[turn % len(self.statuses)]
        if status == 0:
            self.close_connection = True
        elif status == -1:
            self.wfile.write(b"garbage " + form(key).encode() + b"\r\n\r\n")
            self.close_connection = True
        else:
            body = {"errorCode": form(key), "errorMessage": told, "message": told, "title": told}
            packed = json.dumps(body).encode() if turn % 2 else told.encode()
            self._say(status, b"" if status == 204 else packed, key)

    def _say(self, status: int, body: bytes, key: str) -> None:
        self.send_response(status, f"Sent {key}")
        self.send_header("X-Request-Id", key)
        self.send_header("Location", f"/elsewhere?key={quote(key, safe='')}")
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def mirror(*statuses: int) -> Iterator[tuple[str, set[str]]]:
    """Its address, and the header values that it was sent."""
    own: dict[str, object] = {"turns": itertools.count(), "seen": set()}
    if statuses:
        own["statuses"] = statuses
    own |= {f"do_{method}": _Mirror.handle_any for method in ("GET", "PUT", "POST", "PATCH")}
    handler = type("Mirror", (_Mirror,), own)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def configured(folder: Path, url: str) -> None:
    more = 'attempts = 2\ntimeout_s = 5\nheaders = { X-Gateway = "env:GATEWAY_KEY" }'
    text = CONFIG.format(base_url=url, quota='"1000/s"', in_flight=4, more=more)
    text += BILLING.format(url=url, in_flight=2, max_batch=2, more=more)
    text += JOURNEY.format(url=url, in_flight=2, more=more)
    (folder / "pipeline.toml").write_text(text)


def said(folder: Path, *arguments: str, env: Mapping[str, str] = ENV) -> str:
    """What the command says, both streams and any exception, whatever its exit code."""
    with chdir(folder):
        done = CliRunner().invoke(main, arguments, env=environment(**env))
    assert "unknown key" not in done.output or "api_kee" in done.output
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    return done.output + repr(done.exception)


@pytest.fixture
def debug_log(tmp_path: Path) -> Iterator[Path]:
    """Everything that any library logs, down to debug level."""
    root, file = logging.getLogger(), tmp_path / "debug.log"
    handler, level = logging.FileHandler(file), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield file
    root.removeHandler(handler)
    root.setLevel(level)
    handler.close()


def files_that_leak(folder: Path) -> list[str]:
    """Files below it that show a secret, compressed tables unpacked."""
    found = []
    for path in filter(Path.is_file, folder.rglob("*")):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += repr(pl.read_parquet(path, glob=False).to_dicts()).encode()
        if leaked(data):
            found.append(str(path.relative_to(folder)))
    return found


def coupon_without_name(*, bonus: str) -> str:
    """A file of one coupon whose name is left out."""
    header, cells = COLUMNS.split(","), coupon(1).split(",")
    row = dict(zip(header, cells, strict=True)) | {"bonus": bonus}
    del row["name.en-US"]
    return f"{','.join(row)}\n{','.join(row.values())}\n"


def run_ids(folder: Path, env: Mapping[str, str] = ENV) -> list[str]:
    lines = said(folder, "runs", "--json", env=env).splitlines()
    return [json.loads(line)["run"] for line in lines if line.startswith("{")]


def test_the_vendor_throws_secrets_back_and_nothing_shows_them(tmp_path, debug_log):
    heard: list[str] = []
    with mirror() as (url, seen):
        configured(tmp_path, url)
        file = drop(tmp_path, *(coupon(n) for n in range(1, ROWS + 1)))
        kept = tmp_path / "kept.csv"
        kept.write_bytes(file.read_bytes())
        of = ("--operation", "xsolla.coupon", "--account", "shop")
        heard.append(said(tmp_path, "check", "--show", "3", *of, "kept.csv"))
        heard.append(said(tmp_path, "run", "--yes", "--no-fail-fast", *of, "kept.csv"))
        heard.append(said(tmp_path, "doctor"))
        heard.append(said(tmp_path, "doctor", "--json"))
        heard.append(said(tmp_path, "plan", *of, "kept.csv"))
        (run, *_) = run_ids(tmp_path)
        heard += [said(tmp_path, "runs", run), said(tmp_path, "runs", run, "--json")]
        exchanges = [said(tmp_path, "runs", run, "--exchange", str(n)) for n in range(1, ROWS + 1)]
    shown = "".join(exchanges)
    basic = "Basic " + base64.b64encode(f"44056:{KEY}".encode()).decode()
    assert {basic, GATEWAY} <= seen  # they did travel
    assert "***" in shown  # and came back
    assert [leaked(text) for text in (*heard, *exchanges)] == [set()] * (len(heard) + ROWS)
    assert debug_log.stat().st_size
    assert files_that_leak(tmp_path) == []


@pytest.mark.parametrize("statuses", [(401,), (302,)])
def test_an_account_that_is_stopped_shows_none(tmp_path, debug_log, statuses):
    with mirror(*statuses) as (url, _seen):
        configured(tmp_path, url)
        drop(tmp_path, coupon(1))
        heard = [said(tmp_path, "run", "--yes"), said(tmp_path, "doctor")]
    assert list(map(leaked, heard)) == [set(), set()]
    assert files_that_leak(tmp_path) == []


def test_what_an_entity_holds_is_read_as_it_is_though_it_equals_a_secret(tmp_path):
    """It is compared and sent back as it came; where it is shown it is hidden."""
    key = ENVIRON["SHOP_KEY"]
    with simulator() as vendor:
        configure(tmp_path, vendor.base_url, more='[input."xsolla.coupon"]\nmissing = "keep"')
        drop(tmp_path, coupon(1).replace("row 1", key))
        said(tmp_path, "run", "--yes", env=ENVIRON)
        again = drop(tmp_path, coupon(1).replace("row 1", key), name="again.csv")
        unchanged = said(tmp_path, "plan", str(again), env=ENVIRON)
        again.write_text(coupon_without_name(bonus="elven_shield:7"))
        kept = said(tmp_path, "run", "--yes", str(again), env=ENVIRON)
        (state,) = (each for each in vendor.get("state") if "c1" in json.dumps(each))
        again.write_text(f"{COLUMNS}\n{coupon(1)}\n")
        planned = said(tmp_path, "plan", str(again), env=ENVIRON)
        sent = said(tmp_path, "run", "--yes", "--no-fail-fast", str(again), env=ENVIRON)
        (*_, run) = sorted(run_ids(tmp_path, ENVIRON))
        undone = said(tmp_path, "undo", run, "--plan", env=ENVIRON)
    assert "unchanged" in unchanged, unchanged
    assert json.dumps(state).count(key) == 1, kept
    assert '"***" ->' in planned, planned
    assert [key in text for text in (unchanged, kept, planned, sent, undone)] == [False] * 5
    # a report shows the cells of its rows, here the name: pages of plans show what is there
    pages = [page for page in (tmp_path / "reports").rglob("*.html") if page.name != "report.html"]
    assert pages
    assert [path.name for path in pages if key in path.read_text()] == []


def test_what_somebody_else_wrote_is_hidden_where_a_conflict_or_drift_shows_it(tmp_path):
    key = ENVIRON["SHOP_KEY"]
    of = ("--operation", "xsolla.coupon")
    (tmp_path / "a.csv").write_text(f"{COLUMNS}\n{coupon(1)}\n")
    (tmp_path / "b.csv").write_text(f"{COLUMNS}\n{coupon(1).replace('row 1', 'row 2')}\n")
    with simulator() as vendor:
        configure(tmp_path, vendor.base_url)
        said(tmp_path, "run", "--yes", *of, "a.csv", env=ENVIRON)
        said(tmp_path, "plan", *of, "b.csv", "-o", "b.parquet", env=ENVIRON)
        somebody_names(vendor, f"the {key}")
        conflict = said(tmp_path, "run", "--yes", "b.parquet", env=ENVIRON)
        first = min(run_ids(tmp_path, ENVIRON))
        drift = said(tmp_path, "verify", first, env=ENVIRON)
    assert "drifted" in drift, drift
    assert 'found "the ***"' in drift
    reports = tmp_path / "reports"
    errors = repr([pl.read_parquet(path).to_dicts() for path in reports.rglob("errors.parquet")])
    assert 'found "the ***"' in errors, conflict
    assert key not in errors
    assert list(reports.rglob("*drift*.csv"))
    assert key not in conflict + drift
    files = [*reports.rglob("*"), *(tmp_path / ".pipeline").rglob("ledger.db")]
    assert [path for path in files if path.is_file() and key.encode() in path.read_bytes()] == []


def somebody_names(vendor: Simulator, name: str) -> None:
    """Somebody else gives the coupon of row 1 another name."""
    url = f"{vendor.base_url}/v2/project/44056/admin/coupon/c1"
    request = urllib.request.Request(
        url, json.dumps({"name": {"en-US": name}}).encode(), method="PUT"
    )
    request.add_header("Content-Type", "application/json")
    credentials = base64.b64encode(f"44056:{ENVIRON['SHOP_KEY']}".encode()).decode()
    request.add_header("Authorization", f"Basic {credentials}")
    urllib.request.urlopen(request).close()


NOBODY = "http://127.0.0.1:{port}"
FAULTY = {
    "in the configuration itself": ('"env:SHOP_KEY"', f'"{KEY}"'),
    "in a broken line": ('api_key = "env:SHOP_KEY"', f'api_key = "{KEY}'),
    "under a wrong key": ('api_key = "env:SHOP_KEY"', f'api_kee = "{KEY}"'),
    "in the output of a command that fails": (
        '"env:SHOP_KEY"',
        f"\"command:sh -c 'echo {KEY}; echo {KEY} >&2; exit 3'\"",
    ),
    "in a proxy's address": (
        "[accounts.billing]",
        f'proxy = "http://user:{KEY}@proxy:1"\n[accounts.billing]',
    ),
    "in a base_url": ('base_url = "http://', f'base_url = "http://user:{quote(KEY, safe="")}@'),
}


@pytest.mark.parametrize("change", FAULTY.values(), ids=FAULTY.keys())
def test_a_configuration_with_a_secret_in_the_wrong_place_does_not_show_it(tmp_path, change):
    configured(tmp_path, NOBODY.format(port=refused_port()))
    file = tmp_path / "pipeline.toml"
    assert change[0] in file.read_text()
    file.write_text(file.read_text().replace(*change, 1))
    drop(tmp_path, coupon(1))
    heard = [said(tmp_path, *each) for each in (("run", "--yes"), ("check",), ("doctor",))]
    assert list(map(leaked, heard)) == [set()] * 3
    file.unlink()
    assert files_that_leak(tmp_path) == []


def test_the_process_list_and_the_error_stream_show_none(tmp_path):
    with mirror(204, 500, 422) as (url, _seen):
        configured(tmp_path, url)
        drop(tmp_path, *(coupon(n) for n in range(1, 9)))
        process = start(
            tmp_path,
            "run",
            "--yes",
            env=environment(**ENV, PYTHONASYNCIODEBUG="1", PYTHONDEVMODE="1"),
        )
        listed = b""
        while process.poll() is None and len(listed) < 50_000_000:
            listed += _command_lines()
            with suppress(Exception):
                process.wait(timeout=0.1)
        done = ended(process)
    assert b"pipeline" in listed
    assert leaked(listed) == set()
    assert leaked(done.out + done.err) == set()


def _command_lines() -> bytes:
    lines = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines += path.read_bytes()
    return lines
