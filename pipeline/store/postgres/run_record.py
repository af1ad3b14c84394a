"""A run as it is stored: JSON with a checksum."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from typing import Any
from zlib import crc32

from pipeline.model import Status
from pipeline.store.run_entry import Run

_FIELDS = [field.name for field in fields(Run) if field.name != "sequence"]


def record_of(run: Run) -> str:
    """The run without its sequence."""
    return json.dumps({name: _plain(getattr(run, name)) for name in _FIELDS})


def checksum_of(sequence: int, record: str) -> int:
    """Checksum of the run with this sequence."""
    return crc32(record.encode(), sequence & 0xFFFF_FFFF)


def run_of(sequence: int, record: str) -> Run:
    """The run that `record_of` was given, with its sequence; it may lack later fields.

    >>> run = Run(name="monday", source="a.csv", sha256="", rows=1, started=datetime(2026, 5, 1))
    >>> run_of(0, record_of(run)) == run
    True
    """
    values: dict[str, Any] = json.loads(record)
    ended = values["ended"]
    values["started"] = datetime.fromisoformat(values["started"])
    values["ended"] = None if ended is None else datetime.fromisoformat(ended)
    values["counts"] = {Status(status): count for status, count in values["counts"].items()}
    return Run(sequence=sequence, **values)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if hasattr(value, "keys") else value
