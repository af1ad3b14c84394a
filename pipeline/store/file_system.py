"""Detects network file systems, on which locks and shared memory of a ledger do not work."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path, PurePosixPath

MOUNTS = Path("/proc/self/mountinfo")

_NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs"),
        *("beegfs", "glusterfs", "pvfs2", "orangefs", "davfs", "9p"),  # 9p: /volumes/c under WSL
        *("sshfs", "s3fs", "gcsfuse", "rclone", "goofys", "mount-s3", "blobfuse", "blobfuse2"),
        *("smbnetfs", "cephfs", "curlftpfs", "juicefs", "davfs2", "gvfsd-fuse", "vmhgfs-fuse"),
    }
)
_ESCAPE = re.compile(r"\\([0-7]{3})")


def network_file_system(mountinfo: str, path: PurePosixPath) -> str | None:
    """The type of the network file system that holds `path`; None if it is local.

    mountinfo  text of /proc/self/mountinfo; blanks in its paths are octal escapes (see proc(5))
    path       absolute, without links

    >>> line = "31 23 0:28 / /volumes/share rw,relatime shared:1 - nfs4 host:/export rw"
    >>> network_file_system(line, PurePosixPath("/volumes/share/runs"))
    'nfs4'
    >>> network_file_system(line, PurePosixPath("/volumes/shared"))
    """
    holds, kind = -1, ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if len(fields) < 5 or not source:  # noqa: PLR2004 - the fifth is the mount point
            continue
        point = PurePosixPath(_ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4]))
        depth = len(point.parts)
        if (
            path.is_relative_to(point) and depth >= holds
        ):  # the last mount at a point hides the others
            holds, kind = depth, source.split(" ")[0]
    return kind if kind.removeprefix("fuse.") in _NETWORK else None


def network_file_system_of(folder: Path) -> str | None:
    """The type of the network file system of a folder; None if it is local or unknown.

    It is looked up once per folder and file system.
    """
    device = folder.stat().st_dev if os.access(folder, os.F_OK) else None
    return _kind_of(folder.resolve(), device)


@lru_cache(maxsize=64)
def _kind_of(folder: Path, _device: int | None) -> str | None:
    try:
        mountinfo = MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return None
    return network_file_system(mountinfo, PurePosixPath(folder))
