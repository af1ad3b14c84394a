from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from pipeline.model import RunAborted
from pipeline.store import RunLedger, file_system
from pipeline.store.file_system import network_file_system
from pipeline.store.on_files.registry_file import RegistryFile

MACHINE = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:22 / /proc rw,relatime shared:2 - proc proc rw
31 22 0:40 / /volumes/share rw,relatime shared:9 master:3 - nfs4 host:/export rw,vers=4.2
32 22 0:41 / /volumes/team\040drive rw - cifs //host/team rw
33 31 254:1 / /volumes/share/local rw - xfs /dev/vdb rw
34 22 0:42 / /people/me/remote rw - fuse.sshfs me@host: rw
35 22 0:43 / /people/me/crypt rw - fuse.gocryptfs /people/me/.crypt rw
36 22 0:44 / /volumes/c rw - 9p C:\134 rw,aname=drvfs
37 22 0:45 / /srv rw - nfs host:/srv rw
38 37 0:46 / /srv rw - tmpfs tmpfs rw
39 22 0:47 / /run/automount rw - autofs systemd-1 rw
40 22 0:48 / /with\011tab rw - nfs host:/tab rw
a line that makes no sense
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/pipeline", None),
        ("/volumes/share/runs", "nfs4"),
        ("/volumes/share", "nfs4"),  # the mount point itself
        ("/volumes/shared/runs", None),  # begins alike, is another folder
        ("/volumes/share/local/runs", None),  # a local disk below a network one
        ("/volumes/team drive/runs", "cifs"),  # the blank is \040 in the table
        ("/with\ttab", "nfs"),
        ("/people/me/remote/x", "fuse.sshfs"),
        ("/people/me/crypt/x", None),  # FUSE alone is no network
        ("/volumes/c/Users", "9p"),  # Windows' own disk, seen from WSL
        ("/srv/x", None),  # mounted over: the later one shows
        ("/run/automount", None),
    ],
)
def test_a_network_file_system_is_known_by_its_mount(path, kind):
    assert network_file_system(MACHINE, PurePosixPath(path)) == kind


def test_an_empty_mount_table_decides_nothing():
    assert network_file_system("", PurePosixPath("/srv")) is None


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the machine calls NFS, reached through a link."""
    folder = tmp_path / "export"
    folder.mkdir()
    link = tmp_path / "link"
    link.symlink_to(folder)
    table = tmp_path / "mountinfo"
    table.write_text(f"31 22 0:40 / {folder.resolve()} rw - nfs4 host:/export rw\n")
    monkeypatch.setattr(file_system, "MOUNTS", table)
    return link


def opened_registry(path):
    with RegistryFile(path).opened():
        pass


@pytest.mark.parametrize("opened", [RunLedger.create, opened_registry])
def test_a_ledger_on_a_network_file_system_is_refused(on_nfs, opened):
    with pytest.raises(RunAborted, match=r"network file system \(nfs4\).* Set `ledger` to a place"):
        opened(on_nfs / "ledger.db")


def test_a_machine_without_the_table_decides_nothing(on_nfs, tmp_path, monkeypatch):
    monkeypatch.setattr(file_system, "MOUNTS", tmp_path / "nowhere")
    RunLedger.create(on_nfs / "ledger.db").close()
