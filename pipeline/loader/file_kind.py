"""Detects the kind of a file from its first bytes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

HEAD_BYTES = 4096

_MAGIC: Mapping[bytes, str] = MappingProxyType(
    {
        b"PAR1": "parquet",
        b"PARE": "encrypted Parquet",
        b"\x1f\x8b": "gzip",
        b"PK\x03\x04": "zip",
        b"PK\x05\x06": "zip",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel workbook (.xls)",
        b"\x28\xb5\x2f\xfd": "zstd",
        b"\xfd7zXZ\x00": "xz",
        b"BZh": "bzip2",
        b"ORC": "ORC",
        b"Obj\x01": "Avro",
        b"%PDF": "PDF",
        b"SQLite format 3\x00": "an SQLite database",
        b"\xff\xfe\x00\x00": "UTF-32LE",
        b"\x00\x00\xfe\xff": "UTF-32BE",
        b"\xff\xfe": "UTF-16LE",
        b"\xfe\xff": "UTF-16BE",
    }
)
_NO_TEXT = bytes(4)
_MARKUP = (b"<!doctype", b"<html", b"<?xml")


def sniff(head: bytes) -> str:
    r"""The format or encoding that the first bytes of a file show, else `"text"`.

    In UTF-16 without a byte order mark every second byte is NUL. Several NUL bytes in a row are not
    text in any encoding: only the bytes before them are considered.

    >>> sniff(b"PK\x03\x04...xl/workbook.xml"), sniff("id,name".encode("utf-16-le"))
    ('an Excel workbook (.xlsx)', 'UTF-16LE')
    >>> sniff(b"id,name"), sniff(b"id,name" + bytes(100)), sniff(bytes(100))
    ('text', 'text', 'NUL bytes')
    """
    found = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if found == "zip":
        is_workbook = b"[Content_Types].xml" in head or b"xl/" in head or b"_rels/" in head
        return "an Excel workbook (.xlsx)" if is_workbook else "zip"
    if found:
        return found
    if head.lstrip().lower().startswith(_MARKUP):
        return "HTML or XML"
    text = head.partition(_NO_TEXT)[0]
    if head and not text:
        return "NUL bytes"
    if text.count(0) * 10 > len(text):  # a header in UTF-16 is mostly ASCII
        odd = text[1::2].count(0)
        return "UTF-16LE" if odd * 2 > text.count(0) else "UTF-16BE"
    return "text"
