"""The content of a claimed file: read by descriptor, copied to a private folder, compared."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pipeline.model import Fault, InputError
from pipeline.model.formatting import is_utf8
from pipeline.store.disk_space import check_room
from pipeline.watch.folders import is_open_for_writing, open_file, stat_of
from pipeline.watch.notes import Claim, FileIdentity, record_errors

CHUNK_BYTES = 1 << 20
_WHOLE = "Drop it again once it is complete"


@contextmanager
def opened_claim(folder: int, claim: Claim) -> Iterator[int]:
    """Open the file in its claim's folder; yield a descriptor. Raises InputError if not allowed."""
    found = stat_of(claim.stored, at=folder)
    if found is None:
        raise refused(claim, "it was taken away after it was claimed")
    if reason := refusal_of(claim.file.name, found):
        raise refused(claim, reason)
    try:
        file = open_file(claim.stored, at=folder)
    except OSError as error:
        raise refused(claim, f"it cannot be read: {error.strerror}") from error
    try:
        yield file
    finally:
        os.close(file)


def refusal_of(name: str, found: os.stat_result) -> str:
    """Why a file must not be read; empty if it may be.

    >>> import os
    >>> refusal_of("a.csv", os.stat("/"))
    'it is not a regular file. Drop a file'
    """
    if not is_utf8(name):
        return "its name is not UTF-8. Rename it and drop it again"
    if stat.S_ISLNK(found.st_mode):
        return "it is a link, whose target may change or be anywhere. Drop the file itself"
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file. Drop a file"
    if found.st_nlink != 1:
        return "it has a second name (a hard link), through which it may change. Drop a copy"
    return ""


def refused(claim: Claim, what: str) -> InputError:
    """An error that names the file as it was dropped."""
    return InputError([Fault(what=what, file=str(claim.file))])


def digest(file: int, claim: Claim) -> str:
    """The SHA-256 of an open file, hexadecimal. Raises InputError if it cannot be read."""
    return _read_whole(file, claim, None)


def copy_to(target: Path, file: int, claim: Claim) -> Claim:
    """Copy an open file; return the claim with the digest and identity of what was read.

    Raises InputError if the file differs from what `claim` recorded or changes while it is read,
    and RunAborted if the copy cannot be written.
    """
    before = FileIdentity.of(os.fstat(file))
    check_room(target.parent, before.size_bytes)
    with record_errors(target):
        target.unlink(missing_ok=True)
        copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            sha256 = _read_whole(file, claim, copy)
        finally:
            os.close(copy)
    is_other = bool(claim.sha256) and claim.sha256 != sha256
    if is_other or FileIdentity.of(os.fstat(file)) != before:
        raise _changed(claim)
    return replace(claim, sha256=sha256, read=before)


def _changed(claim: Claim) -> InputError:
    what = "the file changed while it was read, and nothing of it was sent"
    return InputError([Fault(what=what, file=str(claim.file), todo=_WHOLE)])


def _read_whole(file: int, claim: Claim, copy: int | None) -> str:
    found = hashlib.sha256()
    offset = 0
    while True:
        try:
            chunk = os.pread(file, CHUNK_BYTES, offset)
        except OSError as error:
            raise refused(claim, f"it cannot be read: {error.strerror}") from error
        if not chunk:
            return found.hexdigest()
        found.update(chunk)
        offset += len(chunk)
        while copy is not None and chunk:
            chunk = chunk[os.write(copy, chunk) :]


def compared(folder: int, claim: Claim) -> str:
    """How the file in this folder differs from what was read; empty if it does not.

    A file that an earlier version read without recording its identity is not compared.
    """
    if claim.read is None:
        return ""
    found = stat_of(claim.stored, at=folder)
    if found is None:
        return "it is gone"
    try:
        file = open_file(claim.stored, at=folder)
    except OSError:
        return "it is another file now"
    try:
        sha256 = digest(file, claim)
        facts = FileIdentity.of(os.fstat(file))
        if is_open_for_writing(file):
            return "another process has it open for writing"
    except InputError:
        return "it can no longer be read"
    finally:
        os.close(file)
    return difference(claim.read, facts, is_same_content=sha256 == claim.sha256)


def difference(read: FileIdentity, now: FileIdentity, *, is_same_content: bool) -> str:
    """The difference of a file from what was read, in words; empty if there is none.

    >>> read = FileIdentity(1, 2, size_bytes=100, modified_ns=5, changed_ns=5)
    >>> difference(read, FileIdentity(1, 2, 200, 7, 7), is_same_content=False)
    'it is longer now'
    >>> difference(read, FileIdentity(1, 2, 100, 5, 9), is_same_content=True)
    ''
    """
    if now.size_bytes > read.size_bytes:
        return "it is longer now"
    if now.size_bytes < read.size_bytes:
        return "it is shorter now"
    if not is_same_content:
        return "its content is different now"
    if (now.device, now.inode) != (read.device, read.inode):
        return "it is another file now"
    return "" if now.modified_ns == read.modified_ns else "it was written to again"
