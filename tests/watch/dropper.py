"""Somebody who may drop files and nothing else: another user of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DROPPER = 65_534
"""`nobody`."""

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may start the dropper as another user"
)


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A new folder that other users reach; those of pytest are private."""
    folder = Path(tempfile.mkdtemp(prefix="drops-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def give(folder: Path) -> Path:
    """Make a folder that is the dropper's own."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, DROPPER, DROPPER)
    return folder


def as_dropper(script: str, cwd: Path, **environ: object) -> subprocess.CompletedProcess[str]:
    """Run commands in the dropper's shell, until the first failure; return the exit code."""
    return subprocess.run(
        ["sh", "-e", "-c", script],
        user=DROPPER,
        group=DROPPER,
        extra_groups=[],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **{name: str(value) for name, value in environ.items()}},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def begin_as_dropper(script: str, cwd: Path) -> subprocess.Popen[str]:
    """The same, while the test goes on; reads and writes by pipes."""
    return subprocess.Popen(
        ["sh", "-c", script],
        user=DROPPER,
        group=DROPPER,
        extra_groups=[],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def picture(folder: Path) -> dict[str, bytes | str]:
    """The contents of a folder: content of files, targets of links."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "folder" if path.is_dir() else path.read_bytes()
    return found
