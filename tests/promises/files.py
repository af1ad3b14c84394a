"""Files, accounts and vendors as hypothesis makes them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.promises.shop import Bad, Line, Manner, Terms
from tests.scenarios.vendor import Outage

BAD: Sequence[Bad] = ("500", "500", "503", "slow 500", "silence", "reset", "422")


@dataclass(frozen=True, slots=True)
class Case:
    """A file, and the account that it goes to."""

    terms: Terms
    lines: Sequence[Line]
    seed: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rows that stand together.

    again   of their entities, so many in ten have come before
    shares  so many in ten are bad
    """

    rows: int
    bad: Bad
    shares: int
    again: int
    once: int
    group: str


_STRETCHES = st.lists(
    st.builds(
        _Stretch,
        rows=st.sampled_from([1, 3, 6, 12, 25, 60]),
        bad=st.sampled_from(BAD),
        shares=st.sampled_from([0, 0, 0, 1, 5, 10]),
        again=st.sampled_from([0, 0, 2, 6]),
        once=st.sampled_from([0, 0, 3, 10]),
        group=st.sampled_from(["", "x", "y"]),
    ),
    min_size=1,
    max_size=6,
)


@st.composite
def _outages(draw: st.DrawFn) -> list[Outage]:
    """Short ones, a while apart."""
    outages, from_s = [], 0.0
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        from_s += draw(st.sampled_from([0.5, 2.0, 20.0]))
        until_s = from_s + draw(st.sampled_from([0.3, 2.0, 10.0, 40.0]))
        how = draw(st.sampled_from(["503", "refused", "silence"]))
        outages.append(Outage(from_s=from_s, until_s=until_s, how=how))
        from_s = until_s
    return outages


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any file that goes to a vendor which is healthy but for some rows and short outages."""
    manner: Manner = draw(st.sampled_from(["oracle", "oracle", "xsolla", "adobe"]))
    terms = Terms(
        manner=manner,
        quota=draw(st.sampled_from(["5/s", "20/s", "100/s"])),
        in_flight=draw(st.sampled_from([1, 2, 4, 16])),
        timeout_s=draw(st.sampled_from([2.0, 10.0, 30.0])),
        groups=draw(st.sampled_from([1, 4, 20])),
        replaces=manner == "xsolla" or draw(st.booleans()),
        outages=draw(_outages()),
        reads_on=draw(st.booleans()),
    )
    chance = draw(st.randoms(use_true_random=False, note_method_calls=False))
    lines = [Line("first")]
    entities = ["first"]
    for stretch in draw(_STRETCHES):
        for _ in range(stretch.rows):
            is_again = chance.random() * 10 < stretch.again
            entity = chance.choice(entities) if is_again else f"e{len(entities)}"
            entities.append(entity)
            is_bad = chance.random() * 10 < stretch.shares
            is_once = manner != "xsolla" and chance.random() * 10 < stretch.once
            lines.append(Line(entity, stretch.bad if is_bad else "", is_once, stretch.group))
    return Case(terms, lines, seed=chance.randrange(1000))
