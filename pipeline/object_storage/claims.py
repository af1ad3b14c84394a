"""Conditional writes for claims: they fail if an object is there already, or another one."""

from __future__ import annotations

from pipeline.model.object_path import ObjectPath
from pipeline.object_storage.bucket import Bucket
from pipeline.object_storage.failures import ObjectStorageError

PROBE = ".claimable"
_OTHER = {"e_tag": '"0"', "version": "1"}
"""No version of that object."""


def check_claimable(bucket: Bucket, folder: ObjectPath) -> None:
    """Raise ObjectStorageError unless two writers cannot both write an object that was missing.

    An empty object `PROBE` is left in the folder.
    """
    probe = folder / PROBE
    try:
        bucket.put_new(probe, b"")
        bucket.put_new(probe, b"")  # a server that ignores the condition writes it again
    except ObjectStorageError as error:
        if error.kind == "exists":
            bucket.text(probe)
            return
        if error.kind != "unable":
            raise
    what = "its server ignores conditions of writes, so two watchers could send one object"
    todo = "Use a server that knows If-None-Match, or copy the objects to a local drop folder"
    raise ObjectStorageError(folder, "unable", what, todo)


def can_replace(bucket: Bucket, folder: ObjectPath) -> bool:
    """True if a write in place of one version fails once there is another.

    `check_claimable` MUST have left its empty object in the folder.
    """
    probe = folder / PROBE
    _, version = bucket.versioned_text(probe)
    try:
        bucket.replace(probe, {name: _OTHER[name] for name in version}, b"")
    except ObjectStorageError as error:
        if error.kind in {"changed", "unable"}:
            return error.kind == "changed"
        raise
    return False
