"""Databases that are not used, in words; and what is known about one that is."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import psycopg
import pytest
import trustme

from pipeline.model import RunAborted
from pipeline.store.postgres.address import is_database, read_address
from pipeline.store.postgres.connections import OUTAGE, WAITING, PgConnections
from pipeline.store.postgres.schema import MIGRATIONS
from pipeline.store.postgres.server import ServerFacts, refusal, server_facts
from pipeline.store.postgres.store import PgStore
from tests.postgres import postgres_server
from tests.postgres_tls import tls_in_front

REMOTE = "postgresql://pipeline@db.example/offers"


@pytest.mark.parametrize(
    ("url", "environ", "words"),
    [
        # a password has no place in a URL
        ("postgresql://me:hunter2@db.example/offers", {}, "must hold no password"),
        ("postgresql://me:@db.example/offers", {}, "must hold no password"),
        (f"{REMOTE}?password=hunter2", {}, "must hold no password"),
        (f"{REMOTE}?sslpassword=hunter2", {}, "must hold no password"),
        # TLS to another machine is checked
        (f"{REMOTE}?sslmode=disable", {}, "has sslmode disable"),
        (f"{REMOTE}?sslmode=require", {}, "has sslmode require"),
        (REMOTE, {"PGSSLMODE": "prefer"}, "has sslmode prefer"),
        ("postgresql://localhost,db.example/offers?sslmode=prefer", {}, "has sslmode prefer"),
        ("postgresql://localhost/offers?hostaddr=192.0.2.7&sslmode=prefer", {}, "has sslmode"),
        ("postgresql:///offers?sslmode=allow", {"PGHOST": "db.example"}, "has sslmode allow"),
        ("postgresql:///offers?sslmode=allow", {"PGHOSTADDR": "192.0.2.7"}, "has sslmode allow"),
        # what could change host or TLS behind our back
        ("postgresql:///?service=hunter2", {}, "must not set service"),
        (f"{REMOTE}?options=-cfsync%3Doff", {}, "must not set options"),
        ("postgresql:db", {}, "is not a URL"),
        ("postgresql://me@db example/offers", {}, "is not a URL"),
        ("postgresql://[::1/offers", {}, "is not a URL"),
    ],
)
def test_a_url_is_refused_without_showing_it(url, environ, words):
    with pytest.raises(ValueError, match=words) as caught:
        read_address(url, environ)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "environ", "label", "sslmode"),
    [
        (REMOTE, {}, "db.example/offers", "verify-full"),
        (f"{REMOTE}?sslmode=verify-full", {}, "db.example/offers", "verify-full"),
        ("postgres://a.example:5433,b.example/x", {}, "a.example,b.example/x", "verify-full"),
        ("postgresql://localhost/x", {}, "localhost/x", "prefer"),
        ("postgresql://127.0.0.1:6432/x?sslmode=disable", {}, "127.0.0.1/x", "disable"),
        ("postgresql:///x?host=/run/pg", {}, "/run/pg/x", "prefer"),
        ("postgresql://%2Frun%2Fpg/x", {}, "/run/pg/x", "prefer"),
        (
            "postgresql://",
            {"PGHOST": "db.example", "PGDATABASE": "x"},
            "db.example/x",
            "verify-full",
        ),
    ],
)
def test_a_url_that_is_used(url, environ, label, sslmode):
    found = read_address(url, environ)
    assert (found.label, found.sslmode) == (label, sslmode)
    assert is_database(url)


def test_a_path_is_no_database():
    assert not is_database("ledger.db")
    assert not is_database("/var/lib/postgresql/ledger.db")


FIT = ServerFacts(180_006, True, True, True, False, 0.0, 0.001, False)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (FIT, None),
        (FIT._replace(version=140_000), None),
        (FIT._replace(has_full_pages=False), None),  # right on file systems that copy on write
        (FIT._replace(version=130_014), "13.14, and 14 is the oldest"),
        (FIT._replace(has_fsync=False), "fsync = off"),
        (FIT._replace(is_copy=True), "only follows another"),
    ],
)
def test_which_servers_are_refused(facts, words):
    found = refusal(facts)
    assert found is None if words is None else words in (found or "")


def test_a_server_that_loses_what_it_acknowledged_is_refused():
    with (
        postgres_server({"fsync": "off"}) as server,
        pytest.raises(RunAborted, match="fsync = off"),
    ):
        PgStore(server.url(), environ={})


def test_a_server_that_only_follows_is_refused():
    with postgres_server() as server:
        PgStore(server.url(), environ={}).close()
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        with pytest.raises(RunAborted, match="only follows another"):
            PgStore(server.url(), environ={})


def test_tables_of_a_newer_version_are_refused_and_stay(database):
    PgStore(database, environ={}).close()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("update pipeline.installation set version = version + 1")
        with pytest.raises(RunAborted, match=f"version {len(MIGRATIONS) + 1}.*newer one"):
            PgStore(database, environ={})
        version = connection.execute("select version from pipeline.installation").fetchone()
    assert version == (len(MIGRATIONS) + 1,)


def test_a_schema_of_something_else_is_left_alone(database):
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create schema pipeline")
    with pytest.raises(RunAborted, match="a database of its own"):
        PgStore(database, environ={})


def test_a_user_without_rights_is_refused_in_words(postgres, database):
    postgres.execute("create user poor")
    name = database.partition("///")[2].partition("?")[0]
    with pytest.raises(RunAborted, match=r"permission denied.*schema `pipeline`"):
        PgStore(postgres.url(name, user="poor"), environ={})
    postgres.execute("drop user poor")


def test_two_that_make_the_tables_at_once_make_them_once(database):
    stores: list[PgStore] = []
    threads = [
        threading.Thread(target=lambda: stores.append(PgStore(database, environ={})))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store._installation for store in stores}) == 1
    for store in stores:
        store.close()


def facts_of(url: str) -> ServerFacts:
    address = read_address(url, {})
    connections = PgConnections(address, outage=OUTAGE, silence_s=5.0, waiting=WAITING)
    try:
        return connections.do(server_facts, most_s=0.0)
    finally:
        connections.close()


def test_what_is_known_about_a_server(database):
    facts = facts_of(database)
    assert facts.version >= 140_000
    assert facts.has_fsync
    assert facts.has_full_pages
    assert not facts.is_copy
    assert not facts.has_tls
    assert abs(facts.clock_ahead_s) < 1.0
    assert 0 < facts.trip_s < 5.0


def test_tls_is_verified(tmp_path: Path, postgres, database):
    """To a server with a certificate of an authority that is named, and of one that is not."""
    authority, foreign = trustme.CA(), trustme.CA()
    for name, each in (("authority", authority), ("foreign", foreign)):
        each.cert_pem.write_to_path(tmp_path / name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    name = database.partition("///")[2].partition("?")[0]
    with tls_in_front(database, context) as port:
        url = f"postgresql://pipeline@localhost:{port}/{name}?sslmode=verify-full&sslrootcert="
        assert facts_of(f"{url}{tmp_path / 'authority'}").has_tls
        with pytest.raises(RunAborted, match="certificate verify failed"):
            facts_of(f"{url}{tmp_path / 'foreign'}")
        with pytest.raises(RunAborted, match="does not match host name"):
            facts_of(f"{url}{tmp_path / 'authority'}".replace("localhost", "127.0.0.1"))
