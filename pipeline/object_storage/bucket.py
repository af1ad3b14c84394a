"""One bucket: the only file that uses the library for object storage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.model.object_path import ObjectPath
from pipeline.object_storage.failures import Raised, failure_of, no_credentials, not_installed

UPLOAD_PART_BYTES = 8 << 20
"""A part of an upload. Of S3, 10,000 make an object: 80 GB."""
_AT_ONCE = 2  # parts of an upload in flight: each is in memory

_RETRIES = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=200),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}
_TIMES = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=20),
    "timeout": timedelta(seconds=180),
}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """An object as the storage describes it.

    etag  changes with the content
    """

    path: ObjectPath
    size_bytes: int
    etag: str
    modified: datetime

    @property
    def modified_ns(self) -> int:
        """Time of the last change by the storage's clock, since 1970."""
        return int(self.modified.timestamp()) * 10**9 + self.modified.microsecond * 1000


ObjectVersion = Mapping[str, str]
"""Tells versions of an object apart when it is replaced; opaque."""


class Bucket:
    """A bucket, by the library's store for it. Calls may come from any thread.

    All paths are of this bucket. Every call raises ObjectStorageError.
    """

    def __init__(self, library: Any, store: Any, path: ObjectPath, host: str = "") -> None:
        self._library = library
        self._store = store
        self._host = host
        self.path = path

    def facts(self, path: ObjectPath) -> ObjectFacts:
        """The object as it is now."""
        with self._errors(path, "look up"):
            try:
                return _facts(path, self._library.head(self._store, path.key))
            except FileNotFoundError:  # the reply to HEAD does not tell object and bucket apart
                found = self._library.get(self._store, path.key)
                return _facts(path, found.meta)

    def read(self, facts: ObjectFacts, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`, if the object is still that of `facts`."""
        options = {"if_match": facts.etag, "range": (start, end)}
        with self._errors(facts.path, "read"):
            return bytes(self._library.get(self._store, facts.path.key, options=options).bytes())

    def text(self, path: ObjectPath) -> bytes:
        """The content of a small object."""
        with self._errors(path, "read"):
            return bytes(self._library.get(self._store, path.key).bytes())

    def put(self, path: ObjectPath, content: bytes | Path) -> None:
        """Write an object, in parts if it is large. It replaces another one when it is whole."""
        with self._errors(path, "write"):
            self._library.put(
                self._store,
                path.key,
                content,
                chunk_size=UPLOAD_PART_BYTES,
                max_concurrency=_AT_ONCE,
            )

    def put_new(self, path: ObjectPath, content: bytes) -> None:
        """Write a small object; of kind `exists` if there is one, whoever wrote it."""
        with self._errors(path, "write if there is none"):
            self._library.put(self._store, path.key, content, mode="create")

    def versioned_text(self, path: ObjectPath) -> tuple[bytes, ObjectVersion]:
        """The content of a small object, and which version of it that is."""
        with self._errors(path, "read"):
            found = self._library.get(self._store, path.key)
            return bytes(found.bytes()), _version(found.meta)

    def replace(self, path: ObjectPath, version: ObjectVersion, content: bytes) -> None:
        """Write a small object in place of that version; of kind `changed` if it is another."""
        with self._errors(path, "replace"):
            self._library.put(self._store, path.key, content, mode=dict(version))

    def copy(self, path: ObjectPath, target: ObjectPath) -> None:
        """Copy an object within the bucket, at the server."""
        with self._errors(path, f"copy to {target.key}"):
            self._library.copy(self._store, path.key, target.key)

    def remove(self, path: ObjectPath) -> None:
        """Remove an object, if there is one."""
        with self._errors(path, "delete"):
            try:
                self._library.delete(self._store, path.key)
            except FileNotFoundError:
                return

    def below(self, folder: ObjectPath) -> Iterator[ObjectFacts]:
        """Yield all objects below a path, at any depth."""
        with self._errors(folder, "list"):
            for some in self._library.list(self._store, folder.key or None):
                yield from (_facts(self.path / each["path"], each) for each in some)

    def folder(self, folder: ObjectPath) -> tuple[list[ObjectPath], list[ObjectFacts]]:
        """The paths of the folders, and the objects, directly in a folder."""
        with self._errors(folder, "list"):
            found = self._library.list_with_delimiter(self._store, folder.key or None)
        folders = [self.path / each for each in found["common_prefixes"]]
        return folders, [_facts(self.path / each["path"], each) for each in found["objects"]]

    @contextmanager
    def _errors(self, path: ObjectPath, action: str) -> Iterator[None]:
        library = self._library.exceptions
        try:
            yield
        except (library.BaseError, FileNotFoundError, NotImplementedError, ValueError) as error:
            raised = Raised(type(error).__name__, str(error), action, self._host)
            raise failure_of(path, raised) from None  # the cause may quote credentials


def open_bucket(path: ObjectPath, environ: Mapping[str, str] | None = None) -> Bucket:
    """The bucket of a path, with the credentials that its vendor's tools would find.

    environ  None: that of this process

    Nothing is sent yet. Raises ObjectStorageError if the extra `cloud` is not installed, or there
    are no credentials.
    """
    environ = os.environ if environ is None else environ
    top = ObjectPath(f"{path.scheme}://{path.bucket}")
    try:
        library = import_module("obstore")
        stores = import_module("obstore.store")
        import_module("obstore.exceptions")
    except ImportError:
        raise not_installed(path) from None
    endpoint = next(filter(None, map(environ.get, _ENDPOINTS)), "") if path.scheme == "s3" else ""
    client = _TIMES | ({"allow_http": True} if endpoint.startswith("http://") else {})
    try:
        store = stores.from_url(
            str(top),
            client_options=client,
            retry_config=_RETRIES,
            credential_provider=_provider(path, environ),
        )
    except library.exceptions.BaseError as error:
        raised = Raised(type(error).__name__, str(error), "open")
        raise failure_of(path, raised) from None
    return Bucket(library, store, top, urlsplit(endpoint).netloc.rpartition("@")[2])


def _provider(path: ObjectPath, environ: Mapping[str, str]) -> Callable[[], Any] | None:
    """Where credentials of S3 come from, unless the library finds them in the environment itself.

    Profiles, single sign-on and roles are those of the AWS tools.
    """
    is_given = environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_SKIP_SIGNATURE")
    if path.scheme != "s3" or is_given:
        return None
    try:
        provider = import_module("obstore.auth.boto3")
    except ImportError:
        return None  # the library's own chain: environment and role
    try:
        found: Callable[[], Any] = provider.Boto3CredentialProvider()
    except Exception as error:
        raise no_credentials(path) from error
    return found


def _version(found: Mapping[str, Any]) -> ObjectVersion:
    return {name: found[name] for name in ("e_tag", "version") if found[name]}


def _facts(path: ObjectPath, found: Mapping[str, Any]) -> ObjectFacts:
    modified: datetime = found["last_modified"]
    return ObjectFacts(path, found["size"], found["e_tag"] or "", modified.astimezone(UTC))
