"""One file or folder per vendor: job types, encoding, decoding. Pure. This folder is the registry.

Not here: I/O, clocks, retries and pacing. `kit` has what vendors are made with.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from pipeline.vendors.kit.account import Account
from pipeline.vendors.kit.contract import (
    MISSING,
    NAMES_OF_CREDENTIALS,
    Authentication,
    Basic,
    Bearer,
    Defaults,
    Difference,
    EntityRead,
    Guard,
    Operation,
    RequestHead,
    State,
    Token,
    TokenCall,
    Vendor,
    VendorSettings,
)

__all__ = [
    "MISSING",
    "NAMES_OF_CREDENTIALS",
    "Account",
    "Authentication",
    "Basic",
    "Bearer",
    "Defaults",
    "Difference",
    "EntityRead",
    "Guard",
    "Operation",
    "RequestHead",
    "State",
    "Token",
    "TokenCall",
    "Vendor",
    "VendorSettings",
    "load_vendors",
]


def load_vendors() -> dict[str, Vendor[Any]]:
    """Import every vendor of this folder; return them by name, sorted.

    Raises AttributeError if one has no `VENDOR`: it does not belong here.
    """
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "kit")
    found = [importlib.import_module(f"{__name__}.{name}").VENDOR for name in names]
    return {vendor.name: vendor for vendor in found}
