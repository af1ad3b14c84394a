"""One server of buckets for the tests of this folder; an empty bucket for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.object_server import ObjectServer, Proxy, object_server, proxy_of


@pytest.fixture(scope="session")
def objects() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture
def bucket(objects: ObjectServer) -> str:
    """The name of an empty bucket."""
    return objects.new_bucket()


@pytest.fixture
def proxy(objects: ObjectServer) -> Iterator[Proxy]:
    with proxy_of(objects) as between:
        yield between
