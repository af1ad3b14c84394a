"""Checks of object storage. What they write are empty objects with hidden names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from pipeline.config import Config
from pipeline.doctor.finding import Finding, Level
from pipeline.model.object_path import ObjectPath
from pipeline.object_storage import Bucket, ObjectStorageError, check_claimable, open_bucket
from pipeline.run.reports_bucket import WRITABLE

_CHECK = "object storage"


def examine_buckets(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check what the configuration names in object storage."""
    for key, path in (("inputs", config.inputs_bucket), ("reports", config.reports_bucket)):
        if path is not None:
            yield _examined(key, path, environ)


def _examined(key: str, path: ObjectPath, environ: Mapping[str, str]) -> Finding:
    try:
        bucket = open_bucket(path, environ)
        can = _claims(bucket, path) if key == "inputs" else _reports(bucket, path)
    except ObjectStorageError as error:
        what = f"{key}: {error.path}: {error.what}"
        return Finding(level=Level.FAULT, check=_CHECK, what=what, fix=error.todo)
    return Finding(level=Level.OK, check=_CHECK, what=f"{key}: {path} can be {can}")


def _claims(bucket: Bucket, path: ObjectPath) -> str:
    list(islice(bucket.below(path), 1))
    check_claimable(bucket, path)
    return "listed, read and written to, and written to only if an object is missing"


def _reports(bucket: Bucket, path: ObjectPath) -> str:
    bucket.put(path / WRITABLE, b"")
    bucket.text(path / WRITABLE)
    return "read and written to"
