"""Adopts files in `.processing` that belong to no known claim: an earlier version kept notes there.

Whoever may drop files may write such notes too. So a file there counts as dropped, and its note is
a hint that counts only as far as the registry of runs confirms it.
"""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import suppress
from pathlib import PurePath

from pipeline.model.file_names import is_hidden
from pipeline.watch.folders import names_in, open_file, opened, stat_of
from pipeline.watch.settling import MARKER, is_candidate

_NOTE = "claim.json"
_LEFTOVERS = (_NOTE, f"{_NOTE}.new", "reason.txt", "report")
_NOTE_BYTES = 65_536
_RUN = re.compile(r"[A-Za-z0-9_-]{1,255}")


def adoptable(processing: int, known: set[str]) -> list[tuple[str, str]]:
    """Return folder and name of the files in an open `.processing`, without `known` folders.

    Raises OSError if it cannot be read.
    """
    found = []
    for folder in names_in(processing):
        if folder in known:
            continue
        with suppress(OSError), opened(folder, at=processing) as inside:
            for name in names_in(inside):
                facts = stat_of(name, at=inside)
                is_file = facts is not None and not stat.S_ISDIR(facts.st_mode)
                if is_file and is_candidate(name):
                    found.append((folder, name))
    return found


def noted_by_earlier_version(folder: int) -> tuple[PurePath | None, str]:
    """Return the file that an earlier version's note names, below the drop folder, and the run.

    None and empty if there is no valid note. Both are hints of unknown origin.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        file = open_file(_NOTE, at=folder)
        try:
            noted = json.loads(os.read(file, _NOTE_BYTES))
        finally:
            os.close(file)
        run = str(noted["run"])
        run = run if _RUN.fullmatch(run) else ""
        path = PurePath(noted["file"])
        return (path if _is_valid(path) else None), run
    return None, ""


def _is_valid(path: PurePath) -> bool:
    r"""Return whether a dropped file may have this path below the drop folder.

    >>> [_is_valid(PurePath(each)) for each in ("op/a.csv", "../a.csv", "/a.csv", "\0/b", "\ud800")]
    [True, False, False, False, False]
    """
    if not path.parts or path.is_absolute() or "\0" in str(path):
        return False
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return not any(part == ".." or is_hidden(part) for part in path.parts)


def remove_leftovers(processing: int, folder: str) -> None:
    """Remove the earlier version's files beside an adopted file, then the folder.

    Raises OSError if the folder holds anything else.
    """
    with opened(folder, at=processing) as inside:
        markers = [name for name in names_in(inside) if name.endswith(MARKER)]
        for name in (*_LEFTOVERS, *markers):
            with suppress(OSError):
                os.unlink(name, dir_fd=inside)
    os.rmdir(folder, dir_fd=processing)
