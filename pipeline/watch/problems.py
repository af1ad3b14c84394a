"""Errors that concern one dropped file, in words."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from pipeline.model import PipelineError
from pipeline.watch.folders import owner_of, user_name

_NO_FOLDER = {errno.ENOTDIR, errno.ELOOP, errno.EEXIST}


class DropError(PipelineError):
    """A dropped file cannot be claimed or moved. Other files are not affected."""


@contextmanager
def dropped(file: PurePath) -> Iterator[None]:
    """Turn errors of the operating system into DropError."""
    try:
        yield
    except OSError as error:
        raise DropError(f"{file} cannot be moved: {in_words(error)}") from error


def why_not_taken(
    file: PurePath, home: PurePath, error: OSError, folder: os.stat_result | None
) -> str:
    """Why a file cannot be claimed.

    folder  status of the folder that contains it; None if unknown
    """
    why = f"{file} cannot be claimed: "
    if error.errno == errno.EXDEV:
        return why + (
            f"its folder is on another file system than {home}. Drop files in {home} itself, or "
            "mount that file system there"
        )
    if error.errno in {errno.EACCES, errno.EPERM} and folder is not None:
        return why + (
            f"{error.strerror}. Its folder belongs to {owner_of(folder)}, and "
            f"{user_name(os.geteuid())} may not move files out of it, or into {home}"
        )
    return why + in_words(error)


def in_words(error: OSError) -> str:
    """The message of an operating system error, and the name that it concerns."""
    if error.errno in _NO_FOLDER and error.filename is not None:
        return f"{error.filename} is a link, or not a folder. Remove it"
    return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
