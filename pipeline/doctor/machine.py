"""Checks without any network: folders, disk, permissions of files."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.config import Config
from pipeline.config.keys import REFERENCE, absolute
from pipeline.doctor.finding import Finding, Level, of_faults
from pipeline.model import ConfigError
from pipeline.run.event_loop import event_loop
from pipeline.store.disk_space import copies_bytes, shortage
from pipeline.store.file_system import network_file_system_of


def examine_machine(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check the ledger, reports, inputs, the configuration file and the event loop."""
    yield from _event_loop(environ)
    if config.database is None:
        yield _file_system(config)
    for name, folder in ((_kept_in(config), config.ledger_folder), ("reports", config.reports)):
        yield _folder(name, folder)
    yield _disk(config)
    yield from _writers(config)


def _kept_in(config: Config) -> str:
    """The key that names the folder with this machine's files."""
    return "ledger" if config.database is None else "scratch"


def _event_loop(environ: Mapping[str, str]) -> Iterator[Finding]:
    try:
        what = f"requests are sent by {event_loop(environ)}"
    except ConfigError as error:
        yield from of_faults(error.faults, "event loop", "Correct the variable, or unset it")
    else:
        yield Finding(level=Level.OK, check="event loop", what=what)


def _file_system(config: Config) -> Finding:
    kind = network_file_system_of(_existing(config.ledger_folder))
    if kind is None:
        what = "the ledger is on a local one"
        return Finding(level=Level.OK, check="file system", what=what)
    return Finding(
        level=Level.FAULT,
        check="file system",
        what=f"the ledger {config.ledger} is on a network file system ({kind})",
        fix="Set `ledger` to a path on a local disk: locks do not hold between machines",
    )


def _folder(name: str, folder: Path) -> Finding:
    there = _existing(folder)
    if not there.is_dir():
        what, fix = f"{name}: {there} is not a folder", f"Remove the file, or set `{name}`"
    elif not os.access(there, os.W_OK | os.X_OK):
        what = f"{name}: no permission to write to {there}"
        fix = f"Give this user the permission, or set `{name}` to a folder of its own"
    else:
        return Finding(level=Level.OK, check="folders", what=f"{name}: {folder} can be written to")
    return Finding(level=Level.FAULT, check="folders", what=what, fix=fix)


def _disk(config: Config) -> Finding:
    """Check the disk space for a run of all files in `inputs`."""
    need_bytes = copies_bytes(sum(_sizes_bytes(config.inputs)))
    free_bytes = shutil.disk_usage(_existing(config.ledger_folder)).free
    if (wrong := shortage(need_bytes, free_bytes)) is None:
        what = f"{free_bytes // 10**6:,} MB are free; enough for the files in inputs"
        return Finding(level=Level.OK, check="disk", what=what)
    what = f"{config.ledger_folder}: {wrong}"
    return Finding(
        level=Level.FAULT,
        check="disk",
        what=what,
        fix=f"Free space, or set `{_kept_in(config)}` elsewhere",
    )


def _sizes_bytes(folder: Path) -> Iterator[int]:
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(above, name).stat().st_size
            except OSError:  # gone meanwhile
                continue


def _writers(config: Config) -> Iterator[Finding]:
    """Check who else may add input files or write the configuration."""
    if not config.inputs.is_dir():
        what, fix = f"there is no folder {config.inputs}", "Create it: pipeline init"
        yield Finding(level=Level.WARNING, check="permissions", what=what, fix=fix)
    elif not os.access(config.inputs, os.R_OK | os.X_OK):
        what = f"no permission to read {config.inputs}"
        fix = "Give this user the permission, or set `inputs` to a folder of its own"
        yield Finding(level=Level.FAULT, check="permissions", what=what, fix=fix)
        return
    for path in (config.inputs, *_subfolders(config.inputs)):
        if _mode(path) & stat.S_IWOTH:
            yield Finding(
                level=Level.WARNING,
                check="permissions",
                what=f"every user of this machine may put files into {path}, and have them sent",
                fix=f"chmod o-w {path}",
            )
    if config.file is not None and _mode(config.file) & stat.S_IWOTH:
        yield Finding(
            level=Level.FAULT,
            check="permissions",
            what=f"every user of this machine may write {config.file}, and so run commands as you",
            fix=f"chmod o-w {config.file}",
        )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def examine_secret_files(config: Config, name: str) -> Iterator[Finding]:
    """Check who else may read the files with an account's secrets and private key."""
    entry = config.accounts[name]
    texts = [*entry.given.values(), *entry.keys.headers.values(), entry.keys.proxy]
    found = [REFERENCE.fullmatch(text) for text in texts if isinstance(text, str)]
    files = [match[2] for match in found if match and match[1] == "file"]
    if entry.keys.client_key is not None:
        files.append(entry.keys.client_key)
    for path in (absolute(config.folder, file) for file in files):
        if _mode(path) & stat.S_IROTH:
            yield Finding(
                level=Level.WARNING,
                check="secrets",
                what=f"every user of this machine may read {path}, which holds a secret",
                fix=f"chmod 600 {path}",
                account=name,
            )


def _mode(path: Path) -> int:
    """The permissions of a path; 0 if it does not exist."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _existing(path: Path) -> Path:
    """The nearest of a path and the folders above it that can be seen."""
    return next(each for each in (path, *path.parents) if os.access(each, os.F_OK))
