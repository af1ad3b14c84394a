"""Which kinds of answers that were no success came last. Pure, and bounded."""

from __future__ import annotations

from pipeline.model import Answer, RecentError, Verdict

MOST_KINDS = 100
"""A vendor may give each answer a code of its own."""

SHOWN = 5
SHORT_CHARS = 200


class RecentErrors:
    """Counts answers by their code.

    >>> from pipeline.model import Effect
    >>> recent_errors = RecentErrors()
    >>> for code in ("http_503", "0401-9505", "http_503"):
    ...     recent_errors.add(Answer(Verdict.TRANSIENT, Effect.NONE, code=code, message="no"))
    >>> [(each.code, each.times) for each in recent_errors.latest()]
    [('http_503', 2), ('0401-9505', 1)]
    """

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds: dict[str, RecentError] = {}  # the newest last

    def add(self, answer: Answer) -> None:
        """Count an answer, unless all is well."""
        if answer.verdict is Verdict.OK:
            return
        before = self._kinds.pop(answer.code, None)
        if before is None and len(self._kinds) >= MOST_KINDS:
            del self._kinds[next(iter(self._kinds))]
        times = 1 if before is None else before.times + 1
        self._kinds[answer.code] = RecentError(answer.code, answer.message[:SHORT_CHARS], times)

    def latest(self, most: int = SHOWN) -> tuple[RecentError, ...]:
        """The last kinds, newest first."""
        return tuple(list(self._kinds.values())[: -most - 1 : -1])
