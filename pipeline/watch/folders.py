"""Opens folders and files that others may change at any moment, by descriptor and never by a link.

A path is resolved again at every use, so whoever can write to one of its folders decides where it
leads. A descriptor always refers to the file that was opened.
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

MAX_LEVELS = 16
"""Deepest nesting of folders. Each level costs a descriptor."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe does not block


@contextmanager
def opened(name: str | Path, *, at: int | None = None) -> Iterator[int]:
    """Open a folder while the block runs; yield a descriptor.

    at  descriptor of the folder that contains `name`; links are then refused. None: `name` is a
        path chosen by the user, links included

    Raises OSError; NotADirectoryError for a refused link.
    """
    flags = _FOLDER if at is None else _FOLDER | os.O_NOFOLLOW
    folder = os.open(name, flags, dir_fd=at)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def opened_below(top: int, names: Sequence[str]) -> Iterator[int]:
    """Open a folder below `top`, one name after the other; `top` itself if there are no names."""
    with ExitStack() as stack:
        folder = top
        for name in names:
            folder = stack.enter_context(opened(name, at=folder))
        yield folder


@contextmanager
def made(name: str, *, at: int) -> Iterator[int]:
    """Open a folder; create it if it does not exist."""
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=at)
    with opened(name, at=at) as folder:
        yield folder


def names_in(folder: int) -> list[str]:
    """The names in an open folder, sorted. Raises OSError."""
    return sorted(os.listdir(folder))


def stat_of(name: str, *, at: int) -> os.stat_result | None:
    """The status of a name in an open folder, of a link itself; None if it does not exist."""
    try:
        return os.stat(name, dir_fd=at, follow_symlinks=False)
    except OSError:
        return None


def open_file(name: str, *, at: int) -> int:
    """Open a regular file for reading. Raises OSError, also for anything but a regular file."""
    before = os.stat(name, dir_fd=at, follow_symlinks=False)
    if not stat.S_ISREG(before.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", name)
    file = os.open(name, _FILE, dir_fd=at)
    if not stat.S_ISREG(os.fstat(file).st_mode):  # exchanged between the two
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return file


def is_open_for_writing(file: int) -> bool:
    """Return whether some process has this file open for writing, or mapped.

    Linux answers the owner of the file, and root, by a lease. On other systems, on file systems
    without leases and for files of other users the answer is unknown: False.
    """
    if sys.platform != "linux":
        return False
    try:
        # if a process opens the file while the lease lasts, the kernel sends a signal; SIGURG is
        # ignored by default
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def write_new(name: str, data: bytes, *, at: int) -> None:
    """Write a file and replace whatever has its name. Raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=at)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o644, dir_fd=at), "wb") as file:
        file.write(data)


def remove_tree(name: str, *, at: int, levels: int = MAX_LEVELS) -> None:
    """Remove a folder and all that is in it; of a link, the link itself.

    levels  deepest nesting that is removed: each level costs a descriptor, and whoever may write
            there can nest folders without end

    Raises OSError, also if it is nested deeper. Other content is then removed already.
    """
    with opened(name, at=at) as folder:
        for each in names_in(folder):
            found = stat_of(each, at=folder)
            if found is None or not stat.S_ISDIR(found.st_mode):
                os.unlink(each, dir_fd=folder)
            elif levels == 0:
                raise OSError(errno.ELOOP, "nested too deep", each)
            else:
                remove_tree(each, at=folder, levels=levels - 1)
    os.rmdir(name, dir_fd=at)


def move_new(name: str, new: str, *, source: int, target: int) -> bool:
    """Rename a file; return False if the new name is taken. Raises OSError.

    The file gets its second name first and then loses the first one, which never replaces a file.
    If the file system allows no second names, the new name is checked and the file is renamed.
    """
    try:
        os.link(name, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError:
        if stat_of(new, at=target) is not None:
            return False
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
        return True
    os.unlink(name, dir_fd=source)
    return True


def owner_of(facts: os.stat_result) -> str:
    """Owner and mode of a file, for a message.

    >>> owner_of(os.stat("/"))
    'root, mode 755'
    """
    return f"{user_name(facts.st_uid)}, mode {stat.S_IMODE(facts.st_mode):o}"


def user_name(uid: int) -> str:
    """The name of a user, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
