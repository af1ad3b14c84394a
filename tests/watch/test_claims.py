"""Whenever a process is killed, the next one finds a file in one place, and knows how far it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from pipeline.model import RunAborted
from pipeline.watch import Claim, Drops

NOW = datetime(2026, 5, 1, 2, tzinfo=UTC)


@pytest.fixture
def drops(tmp_path: Path) -> Drops:
    numbers = count()
    inputs = tmp_path / "inputs"
    return drops_at(inputs, lambda: f"{next(numbers):04}")


def drops_at(inputs: Path, letters: Callable[[], str] = lambda: "abcd") -> Drops:
    """The drop folder, with its record beside it."""
    return Drops(inputs, inputs.parent / "state", without=(inputs / "samples",), letters=letters)


def dropped(drops: Drops, name: str = "xsolla.coupon/a.csv") -> Path:
    path = drops.inputs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def claimed(drops: Drops, name: str = "xsolla.coupon/a.csv") -> Claim:
    claim = drops.claim(dropped(drops, name), NOW)
    assert claim is not None
    return claim


def lies_at(drops: Drops, claim: Claim) -> Path:
    """The path of a claimed file."""
    return claim.home / ".processing" / claim.name / claim.stored


def tree(drops: Drops) -> set[str]:
    files = (path for path in drops.inputs.rglob("*") if not path.is_dir() or path.is_symlink())
    return {str(path.relative_to(drops.inputs)) for path in files}


CLAIM = "20260501T020000.000000Z-0000"


def test_a_file_is_in_one_place_all_the_way(drops, tmp_path):
    claim = claimed(drops)
    home = "xsolla.coupon/.processing"
    assert tree(drops) == {f"{home}/{CLAIM}/a.csv"}  # what is remembered of it lies elsewhere
    (tmp_path / "reports" / "r-1").mkdir(parents=True)
    place = drops.done(claim, tmp_path / "reports" / "r-1")
    assert place == drops.inputs / f"xsolla.coupon/.done/{CLAIM}/a.csv"
    assert (place.parent / "report").resolve() == tmp_path / "reports" / "r-1"
    assert not drops.unfinished()


def test_what_is_quarantined_has_its_reason_beside_it(drops):
    place = drops.quarantine(claimed(drops), "row 3: too wide")
    assert place.parent.parent.name == ".failed"
    assert (place.parent / "reason.txt").read_text() == "row 3: too wide\n"


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("xsolla.coupon/a.csv", "xsolla.coupon"),
        ("xsolla.coupon/monday/a.csv", "xsolla.coupon"),  # however deep
        ("a.csv", "."),  # a file that says by itself what it is
        ("xsolla.coupon/line\nbreak é.csv", "xsolla.coupon"),
        ("xsolla.coupon/\udcff.csv", "xsolla.coupon"),  # a name that is no UTF-8
    ],
)
def test_a_file_stays_in_its_operations_folder_and_is_known_by_where_it_was(drops, name, home):
    claim = claimed(drops, name)
    assert claim.home == drops.inputs / home
    (left,) = drops.unfinished()
    assert (left.file, left.run, left.is_again) == (drops.inputs / name, "", True)
    drops.give_back(left)
    assert tree(drops) == {name}


def test_a_file_is_not_put_back_over_one_that_came_meanwhile(drops):
    claim = claimed(drops)
    newer = dropped(drops)
    newer.write_text("newer")
    assert not drops.give_back(claim)
    assert newer.read_text() == "newer"
    assert [claim.stored for claim in drops.unfinished()] == ["a.csv"]


def test_of_two_that_want_a_file_one_gets_it(drops):
    file = dropped(drops)
    assert drops.claim(file, NOW) is not None
    assert drops.claim(file, NOW) is None
    assert len(drops.unfinished()) == 1


def test_the_run_is_known_to_the_next_process(drops):
    drops.record_run(claimed(drops), "r-1")
    assert [claim.run for claim in drops.unfinished()] == ["r-1"]


def test_who_asks_for_one_claim_forgets_no_other_that_is_just_being_made(drops):
    claim = drops.record_run(claimed(drops), "r-1")
    begun = drops.inputs.parent / "state" / "20260501T020001.000000Z-abcd"
    begun.mkdir()  # its note follows
    assert drops.recorded(claim).run == "r-1"
    assert begun.exists()


def test_the_folder_that_a_file_was_dropped_in_may_be_gone(drops):
    claim = claimed(drops, "xsolla.coupon/monday/a.csv")
    claim.file.parent.rmdir()
    assert drops.record_run(claim, "r-1").run == "r-1"


def test_a_claim_without_a_file_leaves_nothing(drops):
    claim = claimed(drops)
    lies_at(drops, claim).unlink()
    assert drops.unfinished() == []
    assert not lies_at(drops, claim).parent.exists()
    assert not (drops.inputs.parent / "state" / claim.name).exists()


@pytest.mark.parametrize("note", [None, b"", b"{", b"[]", b'{"file": 3}', b'{"format": 2}'])
def test_a_claim_whose_note_is_torn_is_known_by_its_file(drops, note):
    claim = claimed(drops)
    path = drops.inputs.parent / "state" / claim.name / "claim.json"
    path.unlink()
    if note is not None:
        path.write_bytes(note)
    (left,) = drops.unfinished()
    assert left.file == drops.inputs / "xsolla.coupon/a.csv"
    assert left.is_adopted
    assert drops.read(left).sha256


def test_a_note_that_was_changed_is_not_believed(drops):
    drops.record_run(claimed(drops), "r-1")
    (path,) = (drops.inputs.parent / "state").glob("*/claim.json")
    path.write_text(path.read_text().replace("r-1", "r-2"))
    assert [claim.run for claim in drops.unfinished()] == [""]


def test_claims_are_found_in_the_order_in_which_they_were_made(drops):
    for second, name in enumerate(("b/z.csv", "a/y.csv", "x.csv")):
        drops.claim(dropped(drops, name), NOW + timedelta(seconds=second))
    assert [claim.file.name for claim in drops.unfinished()] == ["z.csv", "y.csv", "x.csv"]


def test_a_marker_leaves_with_its_file(drops):
    marker = dropped(drops, "xsolla.coupon/a.csv.done")
    claim = claimed(drops)
    assert not marker.exists()
    assert [look.path.name for look in drops.files()] == []
    assert f"xsolla.coupon/.processing/{claim.name}/a.csv.done" in tree(drops)


def test_samples_folders_and_other_files_are_left_alone(drops):
    dropped(drops, "samples/xsolla.coupon/s.csv")
    dropped(drops, "xsolla.coupon/notes.txt")
    (drops.inputs / "xsolla.coupon" / "folder.csv").mkdir()
    dropped(drops)
    assert [look.path.name for look in drops.files()] == ["a.csv"]


def test_what_was_done_long_ago_goes_and_what_was_quarantined_stays(drops, tmp_path):
    drops.done(claimed(drops), tmp_path)
    drops.quarantine(claimed(drops, "xsolla.coupon/b.csv"), "no")
    assert drops.prune(NOW + timedelta(days=89), older_than=timedelta(days=90)) == 0
    assert drops.prune(NOW + timedelta(days=91), older_than=timedelta(days=90)) == 1
    assert {path.rpartition("/")[2] for path in tree(drops)} == {"b.csv", "reason.txt"}


def test_when_the_last_file_came(drops, tmp_path):
    assert drops.last_arrival("xsolla.coupon") is None
    drops.done(claimed(drops), tmp_path)
    assert drops.last_arrival("xsolla.coupon") == NOW


def test_a_folder_that_cannot_be_used_is_reported_in_words(tmp_path):
    (tmp_path / "inputs").write_text("a file")
    with pytest.raises(RunAborted, match="the drop folder cannot be used"):
        drops_at(tmp_path / "inputs")
