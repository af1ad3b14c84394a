"""Checks that the reports of a run can be written to object storage, before it sends."""

from __future__ import annotations

import os

from pipeline.config import Config
from pipeline.model import RunAborted
from pipeline.object_storage import ObjectStorageError, open_bucket

WRITABLE = ".writable"
"""An empty object beside the reports: a run checks that it can be written before it sends."""


def check_deliverable(config: Config) -> None:
    """Raise RunAborted if reports go to object storage and cannot be written there."""
    reports = config.reports_bucket
    if reports is None:
        return
    try:
        open_bucket(reports, os.environ).put(reports / WRITABLE, b"")
    except ObjectStorageError as error:
        raise RunAborted(f"reports cannot be written: {error}. Nothing was sent") from error
