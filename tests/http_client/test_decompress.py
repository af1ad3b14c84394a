"""A packed body brings no more than is asked for, whatever it holds."""

from __future__ import annotations

import gzip

import pytest

from pipeline.http_client.decompress import DecompressionError, decompressed, packing_of


@pytest.fixture(scope="module")
def bomb():
    return gzip.compress(b"z" * 20_000_000, mtime=0)


@pytest.mark.parametrize("most", [1, 1_000, 1_048_577])
def test_no_more_is_decompressed_than_the_limit(bomb, most):
    body, is_cut = decompressed(bomb, "gzip", most)
    assert (len(body), is_cut) == (most + 1, True)


def test_a_second_member_does_not_exceed_the_bound():
    twice = gzip.compress(b"abc", mtime=0) * 2
    assert decompressed(twice, "gzip", 4) == (b"abcab", True)
    assert decompressed(twice, "gzip", 6) == (b"abcabc", False)


def test_an_incomplete_body_is_an_error_unless_it_is_known_to_be_cut():
    cut = gzip.compress(b"abc", mtime=0)[:-1]
    with pytest.raises(DecompressionError):
        decompressed(cut, "gzip", 100)
    assert decompressed(cut, "gzip", 100, is_cut=True) == (b"abc", True)


def test_several_packings_are_named_as_they_stand():
    assert packing_of("GZIP, br") == "gzip, br"
