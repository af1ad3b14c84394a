"""Safe names for dropped files. Pure."""

from __future__ import annotations

import hashlib

from pipeline.watch.settling import KINDS, REFUSED_KINDS

MAX_BYTES = 200
"""Less than the limit of file systems (255), so that the suffix of a marker still fits."""

_DIGEST_CHARS = 8


def safe_name(name: str) -> str:
    r"""Return a name that every program can handle.

    name  as the operating system returns it; bytes that are not UTF-8 as lone surrogates

    Characters that cannot be printed, and a dash at the start, are percent-encoded. In a name that
    is too long a digest replaces the end of the stem. The suffix stays.

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
    return seen if len(seen.encode()) <= MAX_BYTES else _shortened(seen, name)


def _is_plain(character: str) -> bool:
    return character.isprintable() and character not in "/\\"


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogateescape"))


def _shortened(seen: str, name: str) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_DIGEST_CHARS]
    lower = seen.lower()
    endings = (each for each in KINDS + REFUSED_KINDS if lower.endswith(each))
    rest = f"~{digest}{next(endings, '')}"
    kept = seen.encode()[: MAX_BYTES - len(rest)]
    return kept.decode(errors="ignore") + rest
