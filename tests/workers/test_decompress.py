"""A packed body brings no more than is asked for, whatever it holds."""

from __future__ import annotations

import gzip

import pytest

from pipeline.workers.decompress import DecompressionError, Decompressor, packing_of


@pytest.fixture(scope="module")
def bomb():
    return gzip.compress(b"z" * 20_000_000, mtime=0)


@pytest.mark.parametrize("most", [1, 1_000, 1_048_577])
def test_no_more_is_decompressed_than_the_limit(bomb, most):
    assert len(Decompressor("gzip").feed(bomb, most)) == most


def test_a_second_member_does_not_exceed_the_bound():
    twice = gzip.compress(b"abc", mtime=0) * 2
    assert Decompressor("gzip").feed(twice, 4) == b"abca"


def test_an_incomplete_body_is_an_error_at_the_end():
    unpacker = Decompressor("gzip")
    unpacker.feed(gzip.compress(b"abc", mtime=0)[:-1], 100)
    with pytest.raises(DecompressionError):
        unpacker.end()


def test_several_packings_are_named_as_they_stand():
    assert packing_of("GZIP, br") == "gzip, br"
