"""Paths of objects in a bucket, such as `s3://bucket/drop/file.csv`."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

SCHEMES = {"s3": "Amazon S3 and servers like it", "gs": "Google Cloud Storage", "az": "Azure Blob"}
"""The storage that each scheme of a URL names. `az://` is followed by the container."""

_URL = re.compile(rf"({'|'.join(SCHEMES)})://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


class ObjectPath(PurePosixPath):
    """The path of an object, or of all objects that begin with it. Made by `object_path`.

    >>> path = object_path("s3://bucket/drop/a.csv")
    >>> str(path), path.bucket, path.key, str(path.parent / "b.csv")
    ('s3://bucket/drop/a.csv', 'bucket', 'drop/a.csv', 's3://bucket/drop/b.csv')
    """

    __slots__ = ()

    def __str__(self) -> str:
        text = super().__str__()
        return text.replace(":/", "://", 1) if self.parts[:1] and self.is_whole else text

    @property
    def is_whole(self) -> bool:
        """False for a part of a path, as `relative_to` returns it."""
        return self.parts[0].removesuffix(":") in SCHEMES and self.parts[0].endswith(":")

    @property
    def scheme(self) -> str:
        """A key of `SCHEMES`."""
        return self.parts[0].removesuffix(":")

    @property
    def bucket(self) -> str:
        """The bucket, or container."""
        return self.parts[1]

    @property
    def key(self) -> str:
        """The key in the bucket; empty for the bucket itself."""
        return "/".join(self.parts[2:])


def is_object(text: str) -> bool:
    """True if a text is the URL of an object or a bucket.

    >>> is_object("s3://bucket/a.csv"), is_object("s3/a.csv")
    (True, False)
    """
    return _URL.match(text) is not None


def object_path(text: str) -> ObjectPath:
    """The path of a URL. Raises ValueError, with a phrase that does not repeat the URL.

    >>> object_path("gs://bucket/").key
    ''
    >>> object_path("s3://user:secret@bucket/a.csv")
    Traceback (most recent call last):
    ValueError: holds credentials; take them from the environment, without them in the URL
    """
    rest = text.partition("://")[2]
    bucket, _, key = rest.partition("/")
    if not is_object(text):
        raise ValueError(f"is not a URL that begins with {', '.join(f'{s}://' for s in SCHEMES)}")
    if "@" in bucket or re.search(r"[?&](X-Amz-|sig=|sv=)", key):
        raise ValueError(
            "holds credentials; take them from the environment, without them in the URL"
        )
    if not _BUCKET.fullmatch(bucket):
        raise ValueError("names no bucket; expected for example s3://bucket/folder/file.parquet")
    parts = key.removesuffix("/").split("/") if key else []
    if not all(part and part not in {".", ".."} for part in parts) or not key.isprintable():
        raise ValueError('has an empty part, "." or "..": such keys cannot be used')
    return ObjectPath(text)


def named_path(text: str | Path | ObjectPath) -> Path | ObjectPath:
    """The path that a text names: of an object if it is a URL, else of a file.

    >>> named_path("s3://bucket/a.csv"), named_path("a.csv")
    (ObjectPath('s3://bucket/a.csv'), PosixPath('a.csv'))
    """
    if isinstance(text, str) and is_object(text):
        return ObjectPath(text)
    return text if isinstance(text, ObjectPath) else Path(text)
