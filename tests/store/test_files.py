"""A file appears whole or not at all, for its owner only, and after a loss of power too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.store.files import aside, atomic_write, publish, sync_file, sync_folder

WRITES_MORE_THAN_IT_MAY = """
import resource, signal, sys
from pathlib import Path
from pipeline.store.files import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write(Path(sys.argv[1]), b"n" * 5000)
except OSError as error:
    print(error.strerror)
"""


def test_a_file_is_replaced_and_no_other_is_left(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old, and longer than what comes")
    atomic_write(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("before", ["nothing", "left by a process that was killed"])
def test_only_its_owner_may_read_it(tmp_path, before):
    path = tmp_path / "a.json"
    if before != "nothing":
        for each in (path, aside(path)):
            each.write_text("old")
            each.chmod(0o644)
    mask = os.umask(0)
    try:
        atomic_write(path, b"new")
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_open_old_file_can_still_be_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        atomic_write(path, b"new")
        assert reader.read() == b"old"


def test_a_link_at_the_temporary_name_is_not_followed(tmp_path):
    path, victim = tmp_path / "a.json", tmp_path / "victim"
    victim.write_text("precious")
    aside(path).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        atomic_write(path, b"new")
    assert victim.read_text() == "precious"
    assert not path.exists()


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_disk_that_takes_half_of_it_leaves_the_file_as_it_was(tmp_path, before):
    path = tmp_path / "a.json"
    if before is not None:
        path.write_bytes(before)
    command = [sys.executable, "-c", WRITES_MORE_THAN_IT_MAY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert (path.read_bytes() if path.exists() else None) == before
    assert list(tmp_path.iterdir()) == ([] if before is None else [path])


def test_a_name_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "a.json"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        atomic_write(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_is_an_error_of_the_operating_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "gone" / "a.json", b"new")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "gone")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        sync_folder(tmp_path / "file")


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """What is asked of the operating system, in order; each call is carried out as well."""
    made: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        made.append(f"sync {name}, {os.fstat(descriptor).st_size if '.' in name else 'folder'}")
        fsync(descriptor)

    def noted_replace(old: Path, new: Path) -> None:
        made.append(f"rename {Path(old).name} to {Path(new).name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return made


def test_the_content_is_on_the_disk_before_the_name_and_the_name_in_the_end(tmp_path, calls):
    folder = tmp_path / "run"
    folder.mkdir()
    atomic_write(folder / "a.json", b"12345")
    assert calls == ["sync .a.json.part, 5", "rename .a.json.part to a.json", "sync run, folder"]


def test_writers_may_have_their_own_temporary_names(tmp_path, calls):
    folder = tmp_path / "run"
    folder.mkdir()
    atomic_write(folder / "a.json", b"", part=folder / "a.json.7")
    assert calls == ["sync a.json.7, 0", "rename a.json.7 to a.json", "sync run, folder"]


def test_files_are_published_in_order_and_their_folder_is_synced_once(tmp_path, calls):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("b", "a"):
        (folder / f"{name}.part").touch()
    publish({folder / f"{name}.part": folder / name for name in ("b", "a")})
    assert calls == ["rename b.part to b", "rename a.part to a", "sync run, folder"]


def test_what_is_buffered_is_synced_too(tmp_path, calls):
    with (tmp_path / "a.bin").open("wb") as file:
        file.write(b"123")
        sync_file(file)
    assert calls == ["sync a.bin, 3"]
