"""Accounts, quotas and paths, from `pipeline.toml` and the environment.

A secret is written there as a reference (`env:`, `file:`, `command:`), which is read only if its
account is opened. Vendors come in as an argument; only the types of their settings matter here.

Not here: options of one run (`runs/options.py`) and what a vendor's settings mean (`vendors`).
"""

from pipeline.config.accounts import SAMPLE_PREFIX, AccountEntry, public_settings
from pipeline.config.configuration import DEFAULT_FILE, Config, load_config

__all__ = [
    "DEFAULT_FILE",
    "SAMPLE_PREFIX",
    "AccountEntry",
    "Config",
    "load_config",
    "public_settings",
]
