"""Inputs in object storage: copied once to a local file, which is then read as any file is."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from pipeline.model import Fault, InputError
from pipeline.model.object_path import ObjectPath
from pipeline.object_storage import (
    Bucket,
    ObjectFacts,
    ObjectStorageError,
    fetch,
    open_bucket,
    refused,
)
from pipeline.runs.origin import Origin, origin_of, origin_of_object
from pipeline.store.disk_space import check_room

FETCHED = "input"
"""Stem of the local copy of an object."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """An input that can be read.

    path    the file, or the local copy of an object
    origin  what it was when it was read; None if unknown
    sha256  of an object that was copied; None: not computed yet
    """

    path: Path
    origin: Origin | None
    sha256: str | None = None

    @property
    def is_copy(self) -> bool:
        """True if `path` is a copy of an object, made for this run."""
        return self.sha256 is not None


def input_file(path: Path | ObjectPath, folder: Path) -> InputFile:
    """The input at a path; an object is copied into `folder` first.

    Raises InputError if the object cannot be sent, ObjectStorageError if its storage fails,
    RunAborted if the disk has no room for it, OSError if the copy cannot be written.
    """
    if isinstance(path, Path):
        return InputFile(path, origin_of(path))
    copy = folder / f"{FETCHED}{_ending(path)}"
    bucket, facts = _found(path)
    check_room(folder, facts.size_bytes)
    fetched = fetch(bucket, facts, copy)
    return InputFile(copy, origin_of_object(path, facts.size_bytes, facts.etag), fetched.sha256)


def object_origin(path: ObjectPath) -> Origin:
    """The object at a path now. Raises as `input_file`."""
    facts = _found(path)[1]
    return origin_of_object(path, facts.size_bytes, facts.etag)


def object_sha256(path: ObjectPath) -> str:
    """The digest of an object, which is read once. Raises as `input_file`."""
    return fetch(*_found(path), None).sha256


def _found(path: ObjectPath) -> tuple[Bucket, ObjectFacts]:
    bucket = open_bucket(path, os.environ)
    try:
        return bucket, bucket.facts(path)
    except ObjectStorageError as error:
        if error.kind in {"missing", "denied"}:
            raise refused(error) from None
        raise


def _ending(path: PurePath) -> str:
    """All suffixes of a name: they say of what kind the input is.

    >>> _ending(PurePath("2026.05/offers.csv.gz")), _ending(PurePath("offers"))
    ('.csv.gz', '')
    """
    return "".join(path.suffixes[-2:]) if path.suffix.lower() == ".gz" else path.suffix


@contextmanager
def faults_shown_as(shown: PurePath | None, path: Path) -> Iterator[None]:
    """Name the input in faults as people know it, where they name its local copy.

    shown  None: as it is
    """
    try:
        yield
    except InputError as error:
        if shown is None:
            raise
        raise InputError(_renamed(each, path, shown) for each in error.faults) from error


def _renamed(fault: Fault, copy: Path, shown: PurePath) -> Fault:
    """The fault with the path that people know in place of the copy's.

    A command to convert an object is about a copy of it, which is still to be made.
    """

    def renamed(text: str) -> str:
        return text.replace(str(copy), str(shown)).replace(str(copy.parent), str(shown.parent))

    def as_copied(text: str) -> str:
        stem = shown.name.removesuffix(_ending(shown))
        text = text.replace(str(copy), shlex.quote(shown.name))
        return text.replace(
            str(copy.with_name(FETCHED)), stem if shlex.quote(stem) == stem else FETCHED
        )

    advise = as_copied if isinstance(shown, ObjectPath) else renamed
    return replace(
        fault,
        what=renamed(fault.what),
        file=fault.file and renamed(fault.file),
        todo=fault.todo and advise(fault.todo),
    )
