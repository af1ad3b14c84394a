"""Marks of claimed objects, and where claimed objects go. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass

from pipeline.model.object_path import ObjectPath

PROCESSING, DONE, FAILED = ".processing", ".done", ".failed"
FORMAT = 1

_CLAIM = re.compile(r"[0-9TZ.]{1,40}-[a-z]{1,16}")
_RUN = re.compile(r"[A-Za-z0-9_-]{0,255}")


@dataclass(frozen=True, slots=True)
class Mark:
    """Says that an object is claimed: an object of its own, written only if there is none.

    claim   name of the claim
    host    the machine and the process of the claim
    pid     see `host`
    run     the run that was prepared for the object; empty before
    sha256  digest of the object's content; empty before
    """

    claim: str
    host: str
    pid: int
    run: str = ""
    sha256: str = ""

    def text(self) -> bytes:
        """What is stored."""
        return json.dumps({"format": FORMAT, **asdict(self)}).encode("ascii")

    @classmethod
    def of(cls, text: bytes) -> Mark | None:
        """The mark in a stored text; None if it is none, or of a newer version.

        >>> mark = Mark("20260501T020000.000000Z-abcd", "ship", 7)
        >>> Mark.of(mark.text()) == mark, Mark.of(b"{}")
        (True, None)
        """
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                return None
            mark = cls(**values)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        texts = (mark.claim, mark.host, mark.run, mark.sha256)
        if not all(isinstance(each, str) for each in texts):
            return None
        is_safe = _CLAIM.fullmatch(mark.claim) and _RUN.fullmatch(mark.run)  # parts of paths
        return mark if is_safe else None


def mark_path(home: ObjectPath, file: ObjectPath, etag: str) -> ObjectPath:
    """The mark of one version of an object: another version is another object.

    >>> home = ObjectPath("s3://bucket/drop/xsolla.coupon")
    >>> str(mark_path(home, home / "new/a.csv", '"1"'))
    's3://bucket/drop/xsolla.coupon/.processing/new/a.csv.6b86b273ff34fce1'
    """
    version = hashlib.sha256(etag.strip('"').encode()).hexdigest()[:16]
    below = file.relative_to(home)
    return home / PROCESSING / below.parent / f"{below.name}.{version}"
