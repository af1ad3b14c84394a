"""Copies an object to a file, in parts."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.model import Fault, InputError
from pipeline.object_storage.bucket import Bucket, ObjectFacts
from pipeline.object_storage.failures import ObjectStorageError

PART_BYTES = 16 << 20
"""A part of an object in memory. A part that fails is read again, not what came before it."""
PART_ATTEMPTS = 4
_WAIT_S = 1.0

_OF_THE_OBJECT = {"missing", "changed", "denied"}


@dataclass(frozen=True, slots=True)
class FetchedObject:
    """An object that was copied whole, with the digest of its bytes (SHA-256, hexadecimal)."""

    facts: ObjectFacts
    sha256: str


def fetch(
    bucket: Bucket,
    facts: ObjectFacts,
    target: Path | None,
    *,
    part_bytes: int = PART_BYTES,
    sleep: Callable[[float], None] = time.sleep,
) -> FetchedObject:
    """Copy an object to a new file.

    target  None: only compute the digest
    sleep   waits that many seconds before a part is read again

    Raises InputError if the object is empty, gone, not allowed, or changed while it was read,
    ObjectStorageError if the storage fails, OSError if the file cannot be written. The file may be
    left.
    """
    if not facts.etag:
        what = "the storage gives no etag, so a change while it is read would stay unseen"
        raise InputError(Fault(what=what, file=str(facts.path), todo="Copy it to a local file"))
    if not facts.size_bytes:
        what = "is empty: zero bytes"
        todo = "Was the export cut off? Not even a header is there"
        raise InputError(Fault(what=what, file=str(facts.path), todo=todo))
    digest = hashlib.sha256()
    with nullcontext() if target is None else _new_file(target) as file:
        for start in range(0, facts.size_bytes, part_bytes):
            end = min(start + part_bytes, facts.size_bytes)
            part = _part(bucket, facts, start, end, sleep)
            digest.update(part)
            if file is not None:
                file.write(part)
    return FetchedObject(facts, digest.hexdigest())


def _new_file(target: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(target, flags, 0o600), "wb")


def _part(
    bucket: Bucket, facts: ObjectFacts, start: int, end: int, sleep: Callable[[float], None]
) -> bytes:
    """The bytes of a part. Raises as `fetch`."""
    for attempt in range(1, PART_ATTEMPTS + 1):
        try:
            found = bucket.read(facts, start, end)
        except ObjectStorageError as error:
            if error.kind in _OF_THE_OBJECT:
                raise refused(error) from None
            if error.kind != "away" or attempt == PART_ATTEMPTS:
                raise
        else:
            if len(found) == end - start:
                return found
            if attempt == PART_ATTEMPTS:
                what = f"bytes {start} to {end} came cut to {len(found)} bytes"
                raise ObjectStorageError(facts.path, "away", what, "Try again")
        sleep(_WAIT_S * attempt)
    raise AssertionError("the last attempt returns or raises")


def refused(error: ObjectStorageError) -> InputError:
    """An error of the storage as one of the input."""
    what = "the object changed while it was read" if error.kind == "changed" else error.what
    if error.kind == "changed":
        what += ", and nothing of it was sent"
    return InputError(Fault(what=what, file=str(error.path), todo=error.todo or None))
