"""What another terminal asks of a run that sends: slower quotas, in a file beside the run's lock.

The file names the process that it is for, so that none obeys what another one was asked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pipeline.model import RunAborted
from pipeline.model.quota import Quota, parse_quota
from pipeline.store import Holder
from pipeline.store.files import atomic_write

FILE = "quotas.json"
FORMAT = 1


def ask(folder: Path, holder: Holder, account: str, quota: Quota | None) -> None:
    """Let the process that works on a run send no faster than `quota`; None takes that back.

    folder  of the run. Raises RunAborted where the disk refuses
    """
    quotas = dict(read(folder, holder))
    quotas.pop(account, None)
    if quota is not None:
        quotas[account] = quota
    texts = {name: str(each) for name, each in quotas.items()}
    text = json.dumps({"format": FORMAT, **_who(holder), "quotas": texts})
    try:
        atomic_write(folder / FILE, text.encode(), part=folder / f"{FILE}.{os.getpid()}")
    except OSError as error:
        raise RunAborted(f"{folder / FILE} cannot be written: {error.strerror}") from error


def read(folder: Path, holder: Holder | None) -> Mapping[str, Quota]:
    """By account, what `holder` is asked for; nothing where the file is for another process."""
    try:
        found = json.loads((folder / FILE).read_bytes())
        if holder is None or {key: found[key] for key in _who(holder)} != _who(holder):
            return {}
        return {name: parse_quota(text) for name, text in found["quotas"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _who(holder: Holder) -> dict[str, str | int]:
    return {"pid": holder.pid, "since": holder.since.isoformat()}
