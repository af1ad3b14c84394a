"""Decompresses a reply body, up to a limit. Pure."""

from __future__ import annotations

import zlib

PACKINGS = frozenset({"gzip", "x-gzip", "deflate"})
"""Supported encodings. br and zstd would need a further library."""

_GZIP = 16 + zlib.MAX_WBITS


class DecompressionError(Exception):
    """The bytes are not encoded as their header says, or end too early."""


def packing_of(content_encoding: str) -> str:
    """Return the encoding that a Content-Encoding header names; empty for none.

    source  RFC 9110, section 8.4

    >>> packing_of(" GZIP"), packing_of("identity"), packing_of("gzip, br")
    ('gzip', '', 'gzip, br')
    """
    names = (name.strip().lower() for name in content_encoding.split(","))
    return ", ".join(name for name in names if name not in {"", "identity"})


def decompressed(
    body: bytes, packing: str, limit_bytes: int, *, is_cut: bool = False
) -> tuple[bytes, bool]:
    """Return the decompressed body, up to a byte beyond the limit, and True if it is cut.

    packing  one of `PACKINGS`
    is_cut   `body` is not the whole
    raises   DecompressionError

    >>> decompressed(zlib.compress(b"x" * 1000, wbits=31), "gzip", 2)
    (b'xxx', True)
    """
    found, is_whole, is_gzip = b"", True, packing != "deflate"
    while body and len(found) <= limit_bytes:
        unpacker = zlib.decompressobj(_GZIP if is_gzip else _wbits(body))
        try:
            found += unpacker.decompress(body, limit_bytes + 1 - len(found))
        except zlib.error as error:
            raise DecompressionError from error
        is_whole, body = unpacker.eof, unpacker.unused_data
        if body and not is_gzip:  # RFC 1952, section 2.2: only gzip has one member after the other
            raise DecompressionError
    is_cut = is_cut or len(found) > limit_bytes
    if not (is_whole or is_cut):
        raise DecompressionError
    return found, is_cut


def _wbits(data: bytes) -> int:
    """Return the window bits for deflate: some servers omit the header of RFC 9110, 8.4.1.2.

    >>> _wbits(zlib.compress(b"a")) > 0, _wbits(b"K") > 0
    (True, False)
    """
    return zlib.MAX_WBITS if data[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS
