"""Copies the report of a run to object storage, its summary last.

The report is written to a local folder first. Whatever fails here, it stays there whole, and is
copied by the next call.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.config import Config
from pipeline.model.object_path import ObjectPath
from pipeline.object_storage import Bucket, ObjectStorageError, open_bucket
from pipeline.reporter import SUMMARY_NAME, ReportError


def deliver(config: Config, run: str) -> None:
    """Copy the report of a run to object storage, if reports go there.

    Nothing is written if the same report is there. Raises ReportError.
    """
    reports, folder = config.reports_bucket, config.reports / run
    if reports is None or not (folder / SUMMARY_NAME).exists():
        return
    try:
        _deliver(folder, reports / run)
    except ObjectStorageError as error:
        raise ReportError(
            f"the report could not be copied: {error}. It is whole in {folder}, and `pipeline runs "
            f"{run}` copies it once the cause is gone"
        ) from error
    except OSError as error:
        raise ReportError(f"{folder}: the report cannot be read: {error.strerror}") from error


def _deliver(folder: Path, target: ObjectPath) -> None:
    bucket = open_bucket(target, os.environ)
    summary = (folder / SUMMARY_NAME).read_bytes()
    old = _summary(bucket, target)
    if old == summary:
        return
    if old is not None:
        bucket.remove(target / SUMMARY_NAME)  # it would vouch for files that are replaced now
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name != SUMMARY_NAME and not file.name.startswith("."):
            bucket.put(target / file.name, file)
    bucket.put(target / SUMMARY_NAME, summary)


def _summary(bucket: Bucket, target: ObjectPath) -> bytes | None:
    """The summary that is there; None without one."""
    try:
        return bucket.text(target / SUMMARY_NAME)
    except ObjectStorageError as error:
        if error.kind == "missing":
            return None
        raise
