"""The one exception of the simulator."""

from __future__ import annotations


class SimulatorError(ValueError):
    """An option or script that the simulator cannot use; the message says which, where and why."""
