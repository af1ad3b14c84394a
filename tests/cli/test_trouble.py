"""A vendor that is not there, is somebody else, or answers nonsense: one clear message."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.cli.command import pipeline, typed
from tests.http_client.tls_files import Authority
from tests.workplace import configure, coupon, drop


def statuses(folder: Path) -> dict[str, int]:
    (path,) = folder.glob("reports/2*/summary.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return {status: rows for status, rows in found["statuses"].items() if rows}


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port that takes connections, speaks TLS if asked to, and hangs up."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    if context is None:
                        connection.sendall(b"220 mail.example ESMTP\r\n")
                    else:
                        context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_server_that_is_down_stops_the_run_at_once(tmp_path):
    port = free_port()
    configure(tmp_path, f"http://127.0.0.1:{port}", more="attempts = 2")
    drop(tmp_path, *map(coupon, range(1, 101)))
    began_s = time.monotonic()
    ended = pipeline(tmp_path, "run", "--yes")
    assert time.monotonic() - began_s < 60
    assert ended.code == 3
    assert f"cannot connect to 127.0.0.1:{port}: Connection refused" in ended.words
    assert statuses(tmp_path) == {"not_attempted": 100}


def test_a_certificate_that_nobody_vouches_for_gets_no_credentials(tmp_path):
    authority = Authority.made_in(tmp_path / "tls")
    with listening(authority.server()) as port:
        configure(tmp_path, f"https://127.0.0.1:{port}")
        drop(tmp_path, *map(coupon, range(1, 11)))
        ended = typed(tmp_path, "run", "--yes")
    assert ended.code == 3
    assert "certificate" in ended.words
    assert "ca_file" in ended.words
    assert statuses(tmp_path) == {"not_attempted": 10}


def test_a_server_that_speaks_no_tls_is_told_as_such(tmp_path):
    with listening() as port:
        configure(tmp_path, f"https://127.0.0.1:{port}", more="attempts = 2")
        drop(tmp_path, coupon(1))
        ended = typed(tmp_path, "run", "--yes")
    assert ended.code == 3
    assert "TLS" in ended.words
    assert statuses(tmp_path) == {"not_attempted": 1}


@pytest.mark.parametrize(
    ("external_id", "code", "status", "words"),
    [
        # a login page in the vendor's place: nobody knows what became of the row
        ("html", 1, {"updated": 2, "unknown": 1}, "the reply is HTML or XML"),
        # a 200 is no confirmation of Xsolla's, whatever its body; that is not waited for
        ("endless", 1, {"updated": 2, "unknown": 1}, "not_confirmed"),
        # credentials travel to no other address; where others are accepted it is about the row
        ("redirected", 1, {"updated": 2, "unknown": 1}, "/elsewhere"),
        # nobody shortens the pause, and nobody waits an hour
        ("later", 3, {"updated": 1, "not_attempted": 2}, "max_wait_s"),
    ],
)
def test_a_strange_answer_is_told_in_words(  # noqa: PLR0917 - a table
    shop, vendor, external_id, code, status, words
):
    configure(shop, vendor.base_url, in_flight=1, more="attempts = 2\ntimeout_s = 30")
    drop(shop, coupon(1), coupon(2, external_id), coupon(3))
    ended = typed(shop, "run", "--yes")
    assert ended.code == code, ended.err
    assert statuses(shop) == status
    assert words in ended.words
    assert not any("/elsewhere" in entry["raw_path"] for entry in vendor.get("log"))


def test_a_wrong_key_stops_after_four_rows_were_asked(shop, vendor):
    drop(shop, *map(coupon, range(1, 31)))
    ended = pipeline(shop, "run", "--yes", SHOP_KEY="wrong-key")
    assert ended.code == 3
    assert "Authentication" in ended.words
    assert "check api_key" in ended.words
    assert "wrong-key" not in ended.err
    assert vendor.stats()["requests"] == 4
    assert statuses(shop) == {"not_attempted": 30}


def test_a_configuration_that_is_wrong_names_every_fault(shop):
    file = shop / "pipeline.toml"
    file.write_text(
        file.read_text().replace('"env:SHOP_KEY"', '"plain-secret"') + 'qouta = "20/s"\n'
    )
    drop(shop, coupon(1))
    ended = typed(shop, "run", "--yes")
    assert ended.code == 2
    for words in ("api_key", "env:", "qouta", "quota"):
        assert words in ended.words
    assert "plain-secret" not in ended.err


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_sent(shop, vendor):
    drop(shop, coupon(1))
    (shop / ".pipeline").write_text("in the way")
    ended = typed(shop, "run", "--yes")
    assert ended.code in {2, 3}
    assert ".pipeline" in ended.words
    assert vendor.stats()["requests"] == 0


@pytest.mark.parametrize("columns", ["0", "1"])
def test_a_terminal_of_no_width_is_taken_for_one_of_the_usual(tmp_path, columns):
    configure(tmp_path, "http://127.0.0.1:9")
    assert typed(tmp_path, "runs", COLUMNS=columns).out == "No runs yet.\n"


@pytest.mark.parametrize("command", ["runs", "resume", "check"])
def test_a_file_that_cannot_even_be_looked_for_is_named(tmp_path, command):
    """As in a folder of somebody else, which the user that runs tests may enter."""
    configure(tmp_path, "https://vendor.example")
    drop(tmp_path, coupon(1))
    config = tmp_path / "pipeline.toml"
    config.write_text(f'ledger = "{"x" * 300}/ledger.db"\n{config.read_text()}')
    ended = typed(tmp_path, command)
    assert ended.code == 3
    assert "xxx" in ended.words
    assert "File name too long" in ended.words
