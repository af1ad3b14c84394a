"""The emulated vendors: one file or folder each, with its `VENDOR`. The folder is the registry.

Not here: what all vendors share, such as quotas, faults and the log (the folder above).
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from pipeline.simulator.vendor import EmulatedVendor

VENDORS: tuple[EmulatedVendor, ...] = tuple(
    import_module(f"{__name__}.{module.name}").VENDOR for module in iter_modules(__path__)
)
