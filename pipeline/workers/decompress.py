"""Decompresses a reply body as it arrives, up to a limit. Pure."""

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


class Decompressor:
    """Decompresses one body.

    packing  one of `PACKINGS`

    >>> unpacker = Decompressor("gzip")
    >>> unpacker.feed(zlib.compress(b"x" * 1000, wbits=31), most=3)
    b'xxx'
    """

    def __init__(self, packing: str) -> None:
        self._is_gzip = packing != "deflate"
        self._unpacker: zlib._Decompress | None = None
        self._is_whole = True

    def feed(self, data: bytes, most: int) -> bytes:
        """Decompress `data` to at most `most` bytes; feed no more once that many are returned.

        raises  DecompressionError
        """
        found = b""
        while data and len(found) < most:
            if self._unpacker is None:
                self._unpacker = zlib.decompressobj(_GZIP if self._is_gzip else _wbits(data))
            try:
                found += self._unpacker.decompress(data, most - len(found))
            except zlib.error as error:
                raise DecompressionError from error
            self._is_whole = self._unpacker.eof
            data = self._unpacker.unused_data
            if data and not self._is_gzip:
                raise DecompressionError
            if data:  # RFC 1952, section 2.2: one member after the other
                self._unpacker = None
        return found

    def end(self) -> None:
        """End the body; an empty body is complete.

        raises  DecompressionError if the body is incomplete
        """
        if not self._is_whole:
            raise DecompressionError


def _wbits(data: bytes) -> int:
    """Return the window bits for deflate: some servers omit the header of RFC 9110, 8.4.1.2.

    >>> _wbits(zlib.compress(b"a")) > 0, _wbits(b"K") > 0
    (True, False)
    """
    return zlib.MAX_WBITS if data[0] & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS
