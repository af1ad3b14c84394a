"""The address of a database: what its URL must hold, and must not."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = ("postgresql", "postgres")
VERIFY = "verify-full"
_SECRET = {"password", "sslpassword", "oauth_client_secret"}
_HIDDEN = {"service", "servicefile", "options"}  # they may change what was checked here
_ELSEWHERE = (
    "Remove it from the URL, and set the environment variable PGPASSWORD or write a password file "
    "(~/.pgpass)"
)


class DatabaseAddress(NamedTuple):
    """A database.

    url      URL without secrets
    label    host and database, for messages
    hosts    its hosts; a path is the folder of a socket, an empty text the default one
    sslmode  how TLS is used, as in the URL; `verify-full` if the URL does not say and a host is not
             this machine
    """

    url: str
    label: str
    hosts: tuple[str, ...]
    sslmode: str

    @property
    def is_local(self) -> bool:
        """True if the database is on this machine."""
        return all(map(_is_local, self.hosts))


def is_database(text: str) -> bool:
    """True if a text of the configuration is the URL of a database and not a path.

    >>> is_database("postgresql://db.example/pipeline"), is_database(".pipeline/ledger.db")
    (True, False)
    """
    return text.partition(":")[0].lower() in SCHEMES


def read_address(url: str, environ: Mapping[str, str]) -> DatabaseAddress:
    """Check a URL of a database.

    environ  its PGHOST, PGHOSTADDR, PGDATABASE and PGSSLMODE count where the URL says nothing

    Raises ValueError with what is wrong, without the URL, which may hold a password.

    >>> read_address("postgresql://pipeline@db.example/offers", {})[1:]
    ('db.example/offers', ('db.example',), 'verify-full')
    """
    parts, given = _parts(url)
    if parts.password is not None or _SECRET & given.keys():
        raise ValueError(f"must hold no password. {_ELSEWHERE}")
    if hidden := sorted(_HIDDEN & given.keys()):
        raise ValueError(f"must not set {hidden[0]}; write host and database into the URL itself")
    named = parts.netloc.rpartition("@")[2]
    hosts = given.get("host") or _names(named) or environ.get("PGHOST", "")
    addresses = given.get("hostaddr") or environ.get("PGHOSTADDR", "")
    all_hosts = tuple(f"{hosts},{addresses}".strip(",").split(","))
    database = given.get("dbname") or parts.path.strip("/") or environ.get("PGDATABASE", "")
    is_local = all(map(_is_local, all_hosts))
    sslmode = given.get("sslmode") or environ.get("PGSSLMODE") or ("prefer" if is_local else VERIFY)
    if not is_local and sslmode != VERIFY:
        raise ValueError(
            f"has sslmode {sslmode}, and the database is on another machine; expected {VERIFY}, "
            "the default: rows and the password pass the network"
        )
    label = f"{hosts or 'the local socket'}/{unquote(database)}".rstrip("/")
    return DatabaseAddress(url, label, all_hosts, sslmode)


class _Parts(NamedTuple):
    netloc: str
    path: str
    password: str | None


def _parts(url: str) -> tuple[_Parts, dict[str, str]]:
    try:
        split = urlsplit(url)
        password = split.password
        given = dict(parse_qsl(split.query, keep_blank_values=True))
    except ValueError:  # its message may show the password
        raise ValueError("is not a URL") from None
    if split.fragment or not url.isprintable() or " " in url:
        raise ValueError("is not a URL: write special characters as %20 and the like")
    if not url.lower().startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise ValueError("is not a URL; expected postgresql://HOST/DATABASE")
    return _Parts(split.netloc, split.path, password), given


def _names(netloc: str) -> str:
    """The hosts of a URL without their ports.

    >>> _names("a.example:5432,[::1]:5433"), _names("%2Frun%2Fpg")
    ('a.example,::1', '/run/pg')
    """
    return ",".join(unquote(_without_port(each)) for each in netloc.split(","))


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_local(host: str) -> bool:
    """True for a socket and for a loopback address.

    >>> [_is_local(host) for host in ("", "/run", "localhost", "::1", "127.0.0.1", "10.0.0.1")]
    [True, True, True, True, True, False]
    """
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
