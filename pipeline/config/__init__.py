"""Accounts, quotas and paths, from `pipeline.toml` and the environment.

A secret stands there as a reference (`env:`, `file:`, `command:`), which is read when an account is
asked for and not before. Vendors come in as an argument; only their settings' types matter here.
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
