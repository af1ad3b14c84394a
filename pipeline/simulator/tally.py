"""Counts of a simulator's requests."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pipeline.simulator.quota import Peak, VendorQuota


class RequestTally:
    """Counts since the start or the last reset.

    `most_arrived` and `most_let_in` are the most requests within any window of each quota, and
    within any second: all that arrived, and those that the quotas accepted.
    """

    def __init__(self, quotas: tuple[VendorQuota, ...]) -> None:
        windows_s = {quota.text: quota.window_s for quota in quotas} | {"any second": 1.0}
        self._arrived = {name: Peak(window_s) for name, window_s in windows_s.items()}
        self._let_in = {name: Peak(window_s) for name, window_s in windows_s.items()}
        self.statuses: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.requests = self.applied = self.refused_by_quota = 0
        self.elsewhere = self.malformed = self.incomplete = self.broken = 0
        self.connections = self.in_flight = self.max_in_flight = 0

    def enter(self) -> None:
        """Count a request in flight."""
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)

    def leave(self) -> None:
        """End a request in flight."""
        self.in_flight = max(0, self.in_flight - 1)  # a reset may have happened meanwhile

    def arrived(self, now_s: float, *, let_in: bool) -> None:
        """Count a request to a vendor; `let_in` is False if a quota refused it."""
        for peak in self._arrived.values():
            peak.count(now_s)
        if not let_in:
            self.refused_by_quota += 1
            return
        for peak in self._let_in.values():
            peak.count(now_s)

    def completed(self, entry: dict[str, Any]) -> None:
        """Count a completed request by its line of the log."""
        self.requests += 1
        self.applied += entry["applied"]
        self.statuses[str(entry["status"] or "none")] += 1
        if entry["fault"]:
            self.faults[entry["fault"]] += 1
        if entry["operation"]:
            self.operations[f"{entry['method']} {entry['operation']}"] += 1

    def as_dict(self) -> dict[str, Any]:
        """All counts, as plain JSON values."""
        return {
            "requests": self.requests,
            "applied": self.applied,
            "statuses": dict(self.statuses),
            "faults": dict(self.faults),
            "operations": dict(self.operations),
            "refused_by_quota": self.refused_by_quota,
            "most_arrived": {name: peak.most for name, peak in self._arrived.items()},
            "most_let_in": {name: peak.most for name, peak in self._let_in.items()},
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "connections": self.connections,
            "elsewhere": self.elsewhere,
            "malformed": self.malformed,
            "incomplete": self.incomplete,
            "broken": self.broken,
        }
