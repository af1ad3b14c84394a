"""Folders and files that others may change at any moment: opened by descriptor, through no link.

A path is looked up anew whenever it is used, so whoever may write to a folder of it decides where
it leads. A descriptor stays with what was opened.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

MOST_LEVELS = 16
"""Folders within folders. Each costs a descriptor while it is looked into."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe makes nobody wait


@contextmanager
def opened(name: str | Path, *, at: int | None = None) -> Iterator[int]:
    """A descriptor of a folder while the block runs.

    at  the folder that `name` stands in, and then `name` is no link; None: `name` is a path that
        its user chose, links and all

    Raises OSError, NotADirectoryError for a link.
    """
    flags = _FOLDER if at is None else _FOLDER | os.O_NOFOLLOW
    folder = os.open(name, flags, dir_fd=at)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def opened_below(top: int, names: Sequence[str]) -> Iterator[int]:
    """The same for a folder in a folder of `top`; `top` itself where there are no names."""
    with ExitStack() as stack:
        folder = top
        for name in names:
            folder = stack.enter_context(opened(name, at=folder))
        yield folder


@contextmanager
def made(name: str, *, at: int) -> Iterator[int]:
    """The same for a folder that is made where there is none."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=at)
    with opened(name, at=at) as folder:
        yield folder


def names_in(folder: int) -> list[str]:
    """What stands in an open folder, sorted. Raises OSError."""
    return sorted(os.listdir(folder))


def seen(name: str, *, at: int) -> os.stat_result | None:
    """What stands under this name, itself if it is a link; None where nothing does."""
    try:
        return os.stat(name, dir_fd=at, follow_symlinks=False)
    except OSError:
        return None


def open_file(name: str, *, at: int) -> int:
    """A descriptor of a regular file, to be read. Raises OSError, for anything else as well."""
    before = os.stat(name, dir_fd=at, follow_symlinks=False)
    if not stat.S_ISREG(before.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)
    file = os.open(name, _FILE, dir_fd=at)
    if not stat.S_ISREG(os.fstat(file).st_mode):  # exchanged between the two
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return file


def is_open_for_writing(file: int) -> bool:
    """Whether some process has this file open for writing, or mapped.

    Linux tells whoever owns the file, or may take leases on any (root). Elsewhere, on file systems
    without leases and for files of other users nothing is known: False.
    """
    if sys.platform != "linux":
        return False
    try:
        # who opens the file in the moment that the lease lasts makes the kernel send a signal;
        # of this one nothing comes
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def write_new(name: str, data: bytes, *, at: int) -> None:
    """Write a file in place of whatever stands under its name. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=at)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o644, dir_fd=at), "wb") as file:
        file.write(data)


def remove_tree(name: str, *, at: int, levels: int = MOST_LEVELS) -> None:
    """Remove a folder and all that is in it; of a link, the link itself.

    levels  so many folders may lie within each other: each costs a descriptor, and whoever may
            write there can nest them without end

    Raises OSError, also if it is nested deeper. What could be removed is gone then.
    """
    with opened(name, at=at) as folder:
        for each in names_in(folder):
            found = seen(each, at=folder)
            if found is None or not stat.S_ISDIR(found.st_mode):
                os.unlink(each, dir_fd=folder)
            elif levels == 0:
                raise OSError(errno.ELOOP, "nested too deep", each)
            else:
                remove_tree(each, at=folder, levels=levels - 1)
    os.rmdir(name, dir_fd=at)


def move_new(name: str, new: str, *, source: int, target: int) -> bool:
    """Rename a file unless something stands under its new name: False. Raises OSError.

    A second name is given and the first taken away, which never replaces a file that comes between.
    Where the file system or its rules allow no second names, it is looked first.
    """
    try:
        os.link(name, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:
        if seen(new, at=target) is not None:
            return False
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
        return True
    os.unlink(name, dir_fd=source)
    return True


def owner_of(facts: os.stat_result) -> str:
    """Whose it is and what others may do, for a message.

    >>> owner_of(os.stat("/"))
    'root, mode 755'
    """
    return f"{user_name(facts.st_uid)}, mode {stat.S_IMODE(facts.st_mode):o}"


def user_name(uid: int) -> str:
    """The name of a user, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
