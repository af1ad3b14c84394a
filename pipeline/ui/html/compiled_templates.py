"""Compiled templates beside the templates, as Python keeps its byte code beside the modules."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from hashlib import sha1
from importlib.metadata import version
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class CompiledTemplates(BytecodeCache):
    """Keeps what jinja compiles, which takes longer than to render the page of a small run.

    A template is compiled anew if its text, the module `made_by` that sets jinja up, jinja or
    Python has changed. With `PYTHONDONTWRITEBYTECODE`, or if the folder cannot be written,
    nothing is kept.
    """

    def __init__(self, folder: Path, made_by: Path) -> None:
        self._folder = folder
        self._set_up = f"{version('jinja2')} {sys.version} {made_by.stat().st_mtime_ns}"

    def get_source_checksum(self, source: str) -> str:
        """A digest of all that the compiled template depends on."""
        return sha1(f"{self._set_up}\n{source}".encode(), usedforsecurity=False).hexdigest()

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load the template if it was kept; a damaged file counts as none."""
        with suppress(Exception), self._path(bucket).open("rb") as file:
            bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the template: the whole file or none, as other processes may read it."""
        if sys.dont_write_bytecode:
            return
        path = self._path(bucket)
        part = path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            part.write_bytes(bucket.bytecode_to_string())
            part.replace(path)

    def _path(self, bucket: Bucket) -> Path:
        return self._folder / f"{bucket.key}.jinja"
