"""The keys of the configuration and the values that they accept."""

from __future__ import annotations

import ipaddress
import re
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.model.quota import MAX_SHARES, UNITS_S, Quota, parse_quota
from pipeline.model.wire import header_fault

AUTO = "auto"
"""In place of a quota: the rate is learned from the vendor's replies."""

DEFAULT_SCRATCH = ".pipeline"

MAX_WINDOW = 1_000_000  # the limiter keeps that many send times per quota: 8 MB
MAX_DAYS = 36_500  # dates can be computed that far back
_PEER = re.compile(r"(.*@)?(\[[^\[\]]+\]|[^\[\]:]+)(:\d*)?")  # a host, or [IPv6]
REFERENCE = re.compile(r"\s*(env|file|command):\s*(\S.*?)\s*", re.DOTALL)


def _quotas(given: object) -> tuple[Quota, ...] | None:
    if given is None:
        return None
    if given == AUTO:
        return ()
    texts: list[Any] = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError('should be a text such as "20/s", a list of such texts, or "auto"')
    if AUTO in texts:
        raise ValueError('"auto" cannot be combined with other quotas')
    quotas = tuple(parse_quota(text) for text in texts)
    for quota in quotas:
        if quota.limit > MAX_WINDOW:
            raise ValueError(
                f"{quota} counts more than {MAX_WINDOW} requests in one window; "
                "state it per shorter time"
            )
    return quotas


def _day_starts(given: object) -> object:
    """Parse the start of a day, such as "00:00+02:00", to seconds after midnight UTC.

    >>> _day_starts("00:00+02:00"), _day_starts("08:30Z")
    (79200.0, 30600.0)
    """
    if given is None:
        return None
    try:
        start = given if isinstance(given, time) else time.fromisoformat(str(given))
    except ValueError:
        start = time()
    offset = start.utcoffset()
    if offset is None:  # a TOML time never has one
        raise ValueError('should be a time with its offset, such as "00:00+00:00"')
    since_midnight_s = 3600 * start.hour + 60 * start.minute + start.second
    return (since_midnight_s - offset.total_seconds()) % UNITS_S["day"]


def known_zone(name: str) -> str:
    """Return the name of a time zone. Raises ValueError if there is none of that name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            'is not a known time zone; expected a name such as "Europe/Berlin"'
        ) from None
    return name


def _headers(given: dict[str, str]) -> dict[str, str]:
    if faults := [wrong for each in given.items() if (wrong := header_fault(*each))]:
        raise ValueError("; ".join(faults))
    return given


def _proxy(given: str) -> str:
    if REFERENCE.fullmatch(given):
        return given
    if wrong := proxy_fault(given):
        raise ValueError(wrong)
    return given


def url_fault(url: str, *, allow_http: bool = False) -> str | None:
    """The fault of a base URL, without the URL itself; None if it is valid.

    >>> url_fault("https://api.example/v2"), url_fault("http://127.0.0.1:8080")
    (None, None)
    """
    parts, wrong = _parts(url)
    if parts is None:
        return wrong
    if "@" in parts.netloc:
        return "should contain no user and no password"
    is_http_allowed = allow_http or _is_loopback(parts.hostname or "")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_http_allowed):
        return "should start with https:// (http:// needs allow_http = true and shows credentials)"
    return None


def proxy_fault(url: str, *, may_name_user: bool = False) -> str | None:
    """The fault of a proxy's URL, without the URL itself, which may hold a password.

    >>> proxy_fault("http://proxy.example:3128")
    >>> proxy_fault("https://proxy.example:3128")
    'should start with http:// (TLS to the vendor passes through it)'
    """
    parts, wrong = _parts(url)
    if parts is None:
        return wrong
    if "@" in parts.netloc and not may_name_user:
        return 'should contain no user and no password; a proxy that needs them is "env:NAME"'
    if parts.scheme != "http":
        return "should start with http:// (TLS to the vendor passes through it)"
    return None


def _parts(url: str) -> tuple[SplitResult, None] | tuple[None, str]:
    """Split a URL, or return why that is impossible."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:  # its message shows the text in place of the port, perhaps a password
        return None, "is not a URL: its host or its port cannot be read"
    is_plain = all("!" <= char <= "~" and char not in "?#\\" for char in url)
    if not host or not is_plain or not _PEER.fullmatch(parts.netloc):
        return None, "should be scheme, host and path, for example https://api.example.com/v2"
    return parts, None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _tls(given: object) -> object:
    return str(given) if isinstance(given, float) else given  # 1.2 without quotes means "1.2"


class AccountKeys(BaseModel):
    """Keys that every account may have, whatever its vendor; None: the vendor's default applies.

    quota       empty if the rate is learned
    day_starts  seconds after midnight UTC; None: any 24 hours are a day
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, defer_build=True, allow_inf_nan=False
    )

    vendor: str = Field(description="The vendor: adobe, oracle or xsolla.")
    quota: Annotated[tuple[Quota, ...] | None, BeforeValidator(_quotas)] = Field(
        default=None,
        description=(
            'Requests per time, spread evenly: "20/s", "1000/min", "12/6s", "5000/h", '
            '"50000/day". All quotas of a list apply at once. "1000/min burst" is used as fast as '
            'possible. "auto" learns it.'
        ),
    )
    pacing: Literal["even", "strict"] = Field(
        default="even",
        description=(
            "strict counts a request from its reply on: the quota is kept whatever the network "
            "does, but runs are slower."
        ),
    )
    day_starts: Annotated[float | None, BeforeValidator(_day_starts)] = Field(
        default=None,
        description=(
            "When the vendor's day begins. Without it, a quota per day applies to any 24 hours."
        ),
    )
    in_flight: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Most concurrent requests."
    )
    shares: Annotated[int, Field(ge=1, le=MAX_SHARES)] = Field(
        default=1,
        description=(
            "Parts of the account's entities that are sent apart, each with its part of every "
            "quota and of in_flight. Needs a stated quota. Change it while no run of the account "
            "is unfinished."
        ),
    )
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None, description="For a whole attempt, connecting included."
    )
    connect_timeout_s: Annotated[float, Field(gt=0, le=86_400)] | None = Field(
        default=None, description="For connecting; 10 if not given."
    )
    attempts: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description="Most attempts to send a row; 5 if not given."
    )
    max_wait_s: Annotated[float, Field(ge=0)] = Field(
        default=900.0, description="A longer pause that the vendor asks for stops the account."
    )
    max_outage_s: Annotated[float, Field(ge=0)] = Field(
        default=900.0, description="A longer outage stops the account."
    )
    ca_file: str | None = Field(
        default=None, description="A certificate authority to trust instead of the system's, PEM."
    )
    client_cert: str | None = Field(default=None, description="A client certificate, PEM.")
    client_key: str | None = Field(default=None, description="Its key, PEM; needs client_cert.")
    proxy: Annotated[str, AfterValidator(_proxy)] | None = Field(
        default=None,
        repr=False,
        description=(
            "An http:// URL; TLS still reaches the vendor. With a password it must be a "
            "reference. Proxies of the environment are not used."
        ),
    )
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(
        default={},
        repr=False,
        description=(
            "Additional headers; a value may be a reference. Not Host, Authorization, Content-... "
            "and others that the request or the account sets."
        ),
    )
    allow_http: bool = Field(
        default=False,
        description=(
            "Allow an http:// base_url beyond this machine. Credentials can be read on the way."
        ),
    )
    tls: Annotated[Literal["1.2", "legacy"], BeforeValidator(_tls)] = Field(
        default="1.2",
        description=(
            "The oldest version accepted. legacy allows the weak encryption of old servers, with "
            "a warning in every report."
        ),
    )


class TopLevel(BaseModel):
    """The file as a whole. Its tables are validated separately."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    inputs: str = Field(
        default="inputs",
        description="The drop folder, used if a run names no file; or s3://, gs://, az://.",
    )
    reports: str = Field(
        default="reports",
        description="Where reports go; not below inputs. Or s3://, gs://, az://: from ./reports.",
    )
    ledger: str = Field(
        default=f"{DEFAULT_SCRATCH}/ledger.db",
        description=(
            "The file that runs share, not below reports or inputs; or postgresql://HOST/DATABASE, "
            "for runs of several machines, without a password."
        ),
    )
    ledger_password: str | None = Field(
        default=None,
        repr=False,
        description=(
            "Of the database: a reference. Without it, PGPASSWORD or ~/.pgpass has the password."
        ),
    )
    scratch: str | None = Field(
        default=None,
        description=(
            f"With a database, the folder of this machine's own files; {DEFAULT_SCRATCH} if not "
            "given. Nothing in it is needed on another machine."
        ),
    )
    keep_days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = Field(
        default=90, description="Days after which finished runs may be removed."
    )
    timezone: Annotated[str, AfterValidator(known_zone)] | None = Field(
        default=None, description="Of dates without an offset. Without it they are errors."
    )
    accounts: dict[str, dict[str, Any]] = {}
    input: dict[str, dict[str, Any]] = {}
    log: dict[str, Any] = {}
    notify: dict[str, Any] = {}
    metrics: dict[str, Any] = {}


def absolute(folder: Path, text: str) -> Path:
    """A path of the configuration; a relative one starts from `folder`."""
    return folder / Path(text).expanduser()
