"""Emulated vendors that ship with the product: strict, with quotas, latency, faults and a log.

Not here: anything of the rest of `pipeline`. A vendor's rules are read twice, so that one
misreading does not hide the other.
"""

from __future__ import annotations

from pipeline.simulator.errors import SimulatorError
from pipeline.simulator.faults import FAULTS, Rule, default_script, load_script
from pipeline.simulator.options import SimulatorOptions
from pipeline.simulator.quota import parse_quota
from pipeline.simulator.server import Running, run_forever, serve

__all__ = [
    "FAULTS",
    "Rule",
    "Running",
    "SimulatorError",
    "SimulatorOptions",
    "default_script",
    "load_script",
    "parse_quota",
    "run_forever",
    "serve",
]
