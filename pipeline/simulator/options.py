"""Options of a simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pipeline.simulator.errors import SimulatorError
from pipeline.simulator.faults import Rule, check_chances
from pipeline.simulator.quota import RateLimit, RetryAfter, WindowKind, parse_quota

OracleAuth = Literal["bearer", "basic", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """Settings of one simulator. The defaults emulate vendors without quota, latency or faults.

    port              0: any free port
    quotas            such as ("20/s", "1000/min"); all apply at once, separately for each vendor
    window            "sliding" (any period of that length) or "fixed" (consecutive periods)
    retry_after       header of a 429 by quota: "none", "seconds" or "date"
    rate_limit        headers with the remaining quota in every reply: "none", "draft" (RateLimit
                      and RateLimit-Policy as drafted by the IETF) or "x" (X-RateLimit-*)
    latency_s         round trip; half passes before the request counts as arrived, half after
    latency_jitter_s  the round trip is uniform in latency_s plus or minus this, at least 0
    faults            name of FAULTS -> chance, drawn once per request in order of arrival
    retry_after_s     wait that the faults 429-seconds and 429-date ask for
    slow_s            delay of the fault slow
    seed              of faults and jitter
    script            rules; a request that matches a rule has no fault by chance
    strict_ids        True: only the ids of the vendor's samples and `known_ids` exist; else any id
    unknown_skus      SKUs that are not in the vendor's catalogue
    api_key           of Xsolla
    merchant_id       the only number that is accepted in place of a project's; None: any number
    client_id         of the token calls of Adobe and Oracle; also Adobe's x-api-key
    client_secret     of the token calls
    token_lifetime_s  lifetime of tokens; None: the vendor's own
    oracle_auth       authentication at Oracle: "bearer", "basic" or "none" (anything is accepted)
    oracle_user       of "basic"
    oracle_password   of "basic"
    log_path          file of the request log; None: an unnamed temporary file
    log_bodies        False: request bodies are not logged
    max_log_bytes     size of the log; further lines are counted and dropped
    keepalive_s       seconds after which an idle connection is closed

    Raises SimulatorError for a value that it cannot use.
    """

    host: str = "127.0.0.1"
    port: int = 0
    quotas: tuple[str, ...] = ()
    window: WindowKind = "sliding"
    retry_after: RetryAfter = "none"
    rate_limit: RateLimit = "none"
    latency_s: float = 0.0
    latency_jitter_s: float = 0.0
    faults: Mapping[str, float] = field(default_factory=dict)
    retry_after_s: float = 1.0
    slow_s: float = 2.0
    seed: int = 0
    script: tuple[Rule, ...] = ()
    strict_ids: bool = False
    known_ids: frozenset[str] = frozenset()
    unknown_skus: frozenset[str] = frozenset({"no_such_sku"})
    api_key: str = "simulator-key"
    merchant_id: str | None = "7001"
    client_id: str = "simulator-client"
    client_secret: str = "simulator-secret"  # noqa: S105 - opens nothing but the simulator
    token_lifetime_s: float | None = None
    oracle_auth: OracleAuth = "bearer"
    oracle_user: str = "simulator-user"
    oracle_password: str = "simulator-password"  # noqa: S105 - as above
    log_path: Path | None = None
    log_bodies: bool = True
    max_log_bytes: int = 2 * 1024**3
    keepalive_s: float = 75.0

    def __post_init__(self) -> None:
        for text in self.quotas:
            parse_quota(text)
        check_chances(self.faults)
        _one_of("window", self.window, get_args(WindowKind))
        _one_of("retry_after", self.retry_after, get_args(RetryAfter))
        _one_of("rate_limit", self.rate_limit, get_args(RateLimit))
        _one_of("oracle_auth", self.oracle_auth, get_args(OracleAuth))
        if self.token_lifetime_s is not None and not 0 < self.token_lifetime_s < float("inf"):
            raise SimulatorError(
                f"token_lifetime_s = {self.token_lifetime_s!r}: expected seconds, more than 0"
            )
        for name in ("latency_s", "latency_jitter_s", "retry_after_s", "slow_s", "keepalive_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise SimulatorError(
                    f"{name} = {getattr(self, name)!r}: expected seconds, 0 or more"
                )


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SimulatorError(f"{name} = {value!r}: expected {' or '.join(known)}")
