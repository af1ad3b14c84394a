"""Under which name a dropped file is put away. Pure."""

from __future__ import annotations

import hashlib

from pipeline.watch.settling import KINDS, REFUSED_KINDS

MOST_BYTES = 200
"""Shorter than what a file system takes (255), so that a marker's ending fits behind it."""

_DIGEST_CHARS = 8


def safe_name(name: str) -> str:
    r"""A name that any program can handle, for a file that its dropper named.

    name  as the operating system gives it; bytes that are not UTF-8 as lone surrogates

    What cannot be seen, and a dash at the start, is written as in URLs; what is too long is cut in
    the middle, with a digest of the whole name in place of the rest. The ending stays.

    >>> safe_name("a.csv"), safe_name("line\nbreak.csv"), safe_name("-rf.csv")
    ('a.csv', 'line%0Abreak.csv', '%2Drf.csv')
    >>> safe_name("\udcff.csv")
    '%FF.csv'
    >>> len(safe_name("n" * 250 + ".csv"))
    200
    """
    seen = "".join(each if _is_plain(each) else _escaped(each) for each in name)
    if seen.startswith("-"):
        seen = _escaped("-") + seen[1:]
    return seen if len(seen.encode()) <= MOST_BYTES else _shortened(seen, name)


def _is_plain(character: str) -> bool:
    return character.isprintable() and character not in "/\\"


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogateescape"))


def _shortened(seen: str, name: str) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_DIGEST_CHARS]
    lower = seen.lower()
    endings = (each for each in KINDS + REFUSED_KINDS if lower.endswith(each))
    rest = f"~{digest}{next(endings, '')}"
    kept = seen.encode()[: MOST_BYTES - len(rest)]
    return kept.decode(errors="ignore") + rest
