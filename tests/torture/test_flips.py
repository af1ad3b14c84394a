"""Whatever is damaged among all that is kept is noticed, or has no effect."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.torture.flips import (
    Base,
    Damage,
    Outcome,
    cut,
    faults,
    flipped,
    gone,
    wrong_in,
    zeroed,
)

SEED = 20261128
FLIPS = 29  # one of each file; `make flips` does 2,000
OTHERS = 15


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    return Base(tmp_path_factory.mktemp("flips"))


def test_the_sound_workplace_has_all_there_is(base: Base) -> None:
    look, resume, again = base.sound
    assert not look.error + resume.error + again.error
    assert resume.sent.total() > 10
    assert {row["_status"] for row in resume.seen} == {"updated", "invalid"}
    assert {row["_status"] for row in again.seen} == {"superseded", "updated"}
    kinds = {Path(path).name for path in base.files}
    assert kinds >= {"run.json", "jobs-shop.parquet", "snapshot.parquet", "ledger.db"}
    assert kinds >= {"ledger.db", "ledger.db-wal", "ledger.db-mark"}


def test_a_flipped_bit_is_noticed_or_has_no_effect(base: Base) -> None:
    wrong, counts = anyio.run(wrong_in, base, base.flips(FLIPS, random.Random(SEED)))
    assert not wrong
    assert counts["noticed"] > FLIPS / 3
    assert counts.total() == FLIPS


def test_a_lost_block_or_another_file_is_noticed_or_has_no_effect(base: Base) -> None:
    chance = random.Random(SEED)
    damages = list(base.others(chance))
    wrong, counts = anyio.run(wrong_in, base, chance.sample(damages, OTHERS))
    assert not wrong
    assert counts["noticed"] > OTHERS / 3


def said(**values: object) -> list[Outcome]:
    sound = Outcome(sent=Counter("ab"), seen=[1])
    return [sound, Outcome(**{"sent": Counter("ab"), "seen": [1], **values}), sound]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, ""),
        ({"error": "damaged", "sent": Counter(), "seen": None}, ""),
        ({"error": "damaged", "sent": Counter("a")}, "resume: 1 requests, then damaged"),
        ({"seen": [2]}, "resume: another outcome, and no word of it: 1 became 2"),
        ({"sent": Counter("a"), "seen": [2], "said": ["run x cannot be read"]}, ""),
        ({"sent": Counter("a")}, "resume: another outcome, and no word of it: 2 requests, now 1"),
        ({"sent": Counter("abb"), "said": ["run x cannot be read"]}, "resume: sent ['b'] that"),
    ],
)
def test_the_judge_finds_what_must_not_be(values: dict[str, object], found: str) -> None:
    sound = Outcome(sent=Counter("ab"), seen=[1])
    words = list(faults([sound] * 3, said(**values)))
    assert [each[: len(found)] for each in words] == ([found] if found else [])


def test_damage_is_done(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def after(damage: Damage) -> bytes:
        path.write_bytes(b"\xff" * 5000)
        damage.do(path)
        return path.read_bytes() if path.exists() else b""

    assert after(flipped("file", 8 * 7 + 1))[6:9] == b"\xff\xfd\xff"
    assert after(cut("file", 9)) == b"\xff" * 9
    assert after(zeroed("file", 1)) == b"\xff" * 4096 + bytes(904)
    assert after(gone("file")) == b""
