"""Metrics of runs, for Prometheus: over HTTP, or as a file for batch jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, write_to_textfile

from pipeline.reporter import Summary

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ENDED = "last_run_ended_timestamp_seconds"
_WELL = "last_success_timestamp_seconds"
SINGLE = {
    _ENDED: "When the last run ended",
    _WELL: "When a run last ended with exit code 0",
    "last_run_exit_code": "Exit code of the last run",
    "last_run_duration_seconds": "Duration of the last run",
    "last_run_unusual": "1 if unusually many rows of the last run failed",
    "last_loop_timestamp_seconds": "When the drop folder was last searched",
}
"""Metrics without labels, present once their value is known."""


class Metrics:
    """Metrics of the last runs, in a registry of their own.

    Unknown values are left out: a 0 would mean a run that ended in 1970. Times are UTC seconds
    since 1970.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._single: dict[str, Gauge] = {}

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"offer_pipeline_{name}", words, labels, registry=self._registry)

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"offer_pipeline_{name}", words, labels, registry=self._registry)

        self._rows = gauge(
            "last_run_rows",
            "Rows of the last run by account, operation and status",
            *("account", "operation", "status"),
        )
        self._requests = gauge(
            "last_run_requests", "Requests of the last run by account", "account"
        )
        self._retries = gauge("last_run_retries", "Retries of the last run by account", "account")
        self._stopped = gauge("last_run_stopped", "1 if the account stopped", "account")
        self._runs = counter("runs_total", "Runs since the start by exit_code", "exit_code")
        self._not_sent = counter("files_not_sent_total", "Files not or not completely sent")
        self._quarantined = counter(
            "files_quarantined_total", "Dropped files that were quarantined"
        )
        self._nothing = counter("nothing_arrived_total", "Expected files that did not come")

    def known(self, *, ended_s: float | None = None, well_s: float | None = None) -> None:
        """When the last run on record ended, and the last with exit code 0; None: none did."""
        if ended_s is not None:
            self._set(_ENDED, ended_s)
        if well_s is not None:
            self._set(_WELL, well_s)

    def _set(self, name: str, value: float) -> None:
        if name not in self._single:
            full = f"offer_pipeline_{name}"
            self._single[name] = Gauge(full, SINGLE[name], registry=self._registry)
        self._single[name].set(value)

    def ended(self, summary: Summary, now_s: float) -> None:
        """Set the metrics of the last run."""
        for each in (self._rows, self._requests, self._retries, self._stopped):
            each.clear()
        for account, counts, operation in _outcomes(summary):
            for status, count in counts.items():
                self._rows.labels(account, operation, status).set(count)
        for name, one in summary.accounts.items():
            self._requests.labels(name).set(one.requests)
            self._retries.labels(name).set(one.retries)
            self._stopped.labels(name).set(one.stopped is not None)
        self.known(ended_s=now_s, well_s=now_s if summary.exit_code == 0 else None)
        self._set("last_run_exit_code", summary.exit_code)
        self._set("last_run_duration_seconds", summary.seconds)
        self._set("last_run_unusual", bool(summary.unusual))
        self._runs.labels(str(summary.exit_code)).inc()

    def not_sent(self) -> None:
        """A file was not sent, or its run failed without a summary."""
        self._not_sent.inc()

    def quarantined(self) -> None:
        """A dropped file was quarantined."""
        self._quarantined.inc()

    def nothing_arrived(self) -> None:
        """An expected file did not arrive."""
        self._nothing.inc()

    def beat(self, now_s: float) -> None:
        """The drop folder was searched."""
        self._set("last_loop_timestamp_seconds", now_s)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def write(self, path: Path) -> None:
        """Write all metrics to a file atomically. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(path), self._registry)


def _outcomes(summary: Summary) -> Sequence[tuple[str, Mapping[str, int], str]]:
    """Account, rows per status, and the operation where there is only one."""
    operations = [name for name in summary.operations if name]
    operation = operations[0] if len(operations) == 1 else ""
    found: list[tuple[str, Mapping[str, int], str]] = [
        (name, {s.value: n for s, n in account.statuses.items()}, operation)
        for name, account in summary.accounts.items()
    ]
    if any(summary.without_account.values()) or not found:
        found.append(("", {s.value: n for s, n in summary.without_account.items()}, ""))
    return found
