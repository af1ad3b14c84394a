"""Broken set-ups: doctor reports each fault with its remedy."""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.doctor import Finding, Level, examine, machine
from pipeline.simulator import SimulatorOptions, serve
from pipeline.vendors import load_vendors
from tests.cli.command import typed
from tests.http_client.servers import answering, refused_port, reply, serving
from tests.http_client.tls_files import Authority
from tests.workplace import BILLING, CONFIG, ENVIRON, JOURNEY

JSON = "Content-Type: application/json"
GOOD = reply(200, JSON, body=b'{"items": []}')


async def examined(folder: Path, environ=ENVIRON, *accounts: str) -> list[Finding]:
    vendors = load_vendors()
    found = examine(None, accounts, environ=environ, vendors=vendors, cwd=folder)
    return [finding async for finding in found]


def write(folder: Path, base_url: str, more: str = "") -> None:
    text = CONFIG.format(base_url=base_url, quota='"9/s"', in_flight=2, more=more)
    (folder / "pipeline.toml").write_text(text)
    (folder / "inputs").mkdir(exist_ok=True)


def faults(found: list[Finding], level: Level = Level.FAULT) -> list[tuple[str, str, str]]:
    return [(each.check, each.what, each.fix) for each in found if each.level is level]


@dataclass(frozen=True)
class Broken:
    """What breaks a set-up that works, and what doctor must say.

    replies   of the vendor
    change    is done to the folder before
    """

    check: str
    what: str
    fix: str
    level: Level = Level.FAULT
    replies: tuple[bytes, ...] = (GOOD,)
    change: Callable[[Path], object] = lambda _folder: None
    more: str = ""
    base_url: str | None = None


def _rewrite(old: str, new: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        file = folder / "pipeline.toml"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return change


def _secret_for_all(folder: Path) -> None:
    (folder / "key").write_text("simulator-key\n")
    (folder / "key").chmod(0o644)
    _rewrite("env:SHOP_KEY", "file:key")(folder)


def _tomorrow() -> str:
    return time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 86_400))


BROKEN = {
    "a key that there is not": Broken(
        "configuration", "in_flihgt", "in_flight", change=_rewrite("in_flight", "in_flihgt")
    ),
    "a secret that is not set": Broken(
        "secrets", "NO_SUCH is not set", "Put the secret", change=_rewrite("SHOP_KEY", "NO_SUCH")
    ),
    "a secret that all may read": Broken(
        "secrets", "may read", "chmod 600", level=Level.WARNING, change=_secret_for_all
    ),
    "inputs that all may write to": Broken(
        "permissions",
        "may put files into",
        "chmod o-w",
        level=Level.WARNING,
        change=lambda folder: (folder / "inputs").chmod(0o777),
    ),
    "a configuration that all may write to": Broken(
        "permissions",
        "run commands as you",
        "chmod o-w",
        change=lambda folder: (folder / "pipeline.toml").chmod(0o666),
    ),
    "reports that are a file": Broken(
        "folders",
        "is not a folder",
        "set `reports`",
        change=lambda folder: (folder / "reports").write_text(""),
    ),
    "inputs that do not fit the disk": Broken(
        "disk",
        "are free",
        "Free space",
        change=lambda folder: os.truncate(
            os.open(folder / "inputs" / "huge.csv", os.O_CREAT | os.O_WRONLY), 1 << 43
        ),
    ),
    "nobody who listens": Broken(
        "reachability", "Connection refused", "firewall", base_url="http://127.0.0.1:{refused}"
    ),
    "a key that is refused": Broken(
        "credentials", "HTTP 401", "Check key", replies=(reply(401, JSON, body=b"{}"),)
    ),
    "a right that is missing": Broken(
        "credentials", "HTTP 403", "administrator", replies=(reply(403, JSON, body=b"{}"),)
    ),
    "version 2 that is gone": Broken(
        "vendor", "version 2 of the API does not answer", "base_url", replies=(reply(410),)
    ),
    "version 2 that will go": Broken(
        "vendor",
        "announces its end: Sunset: Fri, 01 Jan 2027",
        "until when",
        level=Level.WARNING,
        replies=(reply(200, JSON, "Sunset: Fri, 01 Jan 2027 00:00:00 GMT", body=b'{"a": []}'),),
    ),
    "a page that is no API": Broken(
        "vendor",
        "its reply is not a JSON object",
        "base_url",
        replies=(reply(200, "Content-Type: text/html", body=b"<html>hello</html>"),),
    ),
    "a vendor that is down": Broken(
        "vendor", "HTTP 503", "later", level=Level.WARNING, replies=(reply(503),)
    ),
    "a clock that is a day off": Broken(
        "clock", "behind that of the vendor", "timedatectl",
        replies=(reply(200, JSON, _tomorrow(), body=b'{"a": []}'),),
    ),
    "a file of authorities that is none": Broken(
        "tls", "ca_file cannot be used", "Correct the file",
        change=lambda folder: (folder / "ca.pem").write_text("no PEM"),
        more='ca_file = "ca.pem"',
        base_url="https://127.0.0.1:{port}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_set_up_is_reported_with_its_remedy(tmp_path, broken):
    tmp_path.chmod(0o755)
    async with serving(answering(*broken.replies)) as server:
        url = broken.base_url or server.url
        write(tmp_path, url.format(port=server.port, refused=refused_port()), broken.more)
        broken.change(tmp_path)
        found = await examined(tmp_path)
    told = faults(found, broken.level)
    assert len(told) == 1, found
    check, what, fix = told[0]
    assert check == broken.check
    assert broken.what in what
    assert broken.fix in fix
    if broken.level is not Level.FAULT:
        assert faults(found) == []
    assert "simulator-key" not in repr(found)


async def test_an_authority_that_is_not_trusted_and_a_certificate_that_ends(tmp_path):
    authority = Authority.made_in(tmp_path / "tls")
    async with serving(answering(GOOD), tls=authority.server()) as server:
        write(tmp_path, server.url)
        (told,) = faults(await examined(tmp_path))
        assert told[0] == "tls"
        assert "is not trusted" in told[1]
        assert "Set ca_file" in told[1]
        write(tmp_path, server.url, f'ca_file = "{authority.ca_file}"')
        assert faults(await examined(tmp_path)) == []
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=3)
    context = authority.server()
    issued = authority.ca.issue_cert("127.0.0.1", not_after=soon)
    issued.configure_cert(context)
    async with serving(answering(GOOD), tls=context) as server:
        write(tmp_path, server.url, f'ca_file = "{authority.ca_file}"')
        found = await examined(tmp_path)
    ((check, what, fix),) = faults(found, Level.WARNING)
    assert (check, "ends in 3 days" in what, "renew" in fix) == ("tls", True, True)


def test_a_ledger_on_a_network_file_system(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 0:1 / {tmp_path.resolve()} rw shared:1 - nfs4 host:/export rw\n")
    monkeypatch.setattr("pipeline.store.file_system.MOUNTS", mounts)
    write(tmp_path, "http://127.0.0.1:9")
    told = list(machine.examine_machine(_config(tmp_path), {}))
    ((check, what, fix),) = faults(told)
    assert (check, "nfs4" in what, "local disk" in fix) == ("file system", True, True)


def _config(folder: Path):
    return load_config(None, environ=ENVIRON, vendors=load_vendors(), cwd=folder)


async def test_all_vendors_are_fine_and_nothing_is_changed(tmp_path):
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(serve(SimulatorOptions(strict_ids=False)))
        url = "/".join(simulator.base_urls["xsolla"].split("/")[:3])
        write(tmp_path, simulator.base_urls["xsolla"])
        with (tmp_path / "pipeline.toml").open("a") as file:
            file.write(JOURNEY.format(url=url, in_flight=2, more=""))
            file.write(BILLING.format(url=url, in_flight=2, max_batch=2, more=""))
        before = sorted(tmp_path.rglob("*"))
        found = await examined(tmp_path)
        only = await examined(tmp_path, ENVIRON, "journey")
        wrong = await examined(tmp_path, {**ENVIRON, "CLIENT_SECRET": "not-this-one"}, "billing")
    assert faults(found) == []
    assert faults(found, Level.WARNING) == [
        (
            "vendor",
            "xcore has ended: Adobe supported it until 2024-03-27",
            'Move to api = "dps": its columns and pointers have other names',
        )
    ]
    assert {each.account for each in found} == {None, "shop", "journey", "billing"}
    assert {each.account for each in only} == {None, "journey"}
    ((check, what, _),) = faults(wrong)
    assert (check, "401" in what or "400" in what) == ("credentials", True)
    assert "not-this-one" not in repr(wrong)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_tells_people_and_programs(tmp_path):
    write(tmp_path, f"http://127.0.0.1:{refused_port()}")
    told = typed(tmp_path, "doctor")
    assert told.code == 2
    assert "fault   shop reachability: cannot connect to 127.0.0.1:" in told.out
    assert "-> Check base_url" in told.out
    assert "Faults: 1. Warnings: 0." in told.out
    as_json = typed(tmp_path, "doctor", "--json", "shop")
    lines = [json.loads(line) for line in as_json.out.splitlines()]
    assert as_json.code == 2
    assert [line["check"] for line in lines if line["level"] == "fault"] == ["reachability"]
    unknown = typed(tmp_path, "doctor", "shpo")
    assert (unknown.code, "shop" in unknown.out) == (2, True)
