from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.watch.settling import ObservedFile, Settling, is_candidate


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a.csv", True),
        ("a.CSV.GZ", True),
        ("a.parquet", True),
        ("a.xlsx", True),  # set aside, with what to do
        ("a.csv.done", False),  # the marker itself
        ("a.csv.part", False),
        ("a.csv.filepart", False),  # WinSCP
        ("a.csv.crdownload", False),
        ("a.csv~", False),
        (".a.csv.Xy12", False),  # rsync
        (".a.csv", False),
        ("~$a.xlsx", False),  # a spreadsheet that is open
        ("a.txt", False),
        ("csv", False),
    ],
)
def test_what_is_a_file_to_be_sent(name, is_one):
    assert is_candidate(name) is is_one


def look(name: str, version: int, arrived_ns: int = 0, *, is_marked: bool = False) -> ObservedFile:
    return ObservedFile(Path(name), (version,), arrived_ns, is_marked)


def names(looks: list[ObservedFile]) -> list[str]:
    return [each.path.name for each in looks]


def test_a_file_that_grows_is_not_complete():
    settling = Settling(settle_s=2.0)
    for second in range(5):
        assert settling.complete([look("a.csv", second)], float(second)) == []
    assert settling.waiting == 1
    assert names(settling.complete([look("a.csv", 4)], 5.9)) == []
    assert names(settling.complete([look("a.csv", 4)], 6.0)) == ["a.csv"]


def test_a_marker_says_at_once_that_a_file_is_complete():
    settling = Settling(settle_s=60.0)
    assert names(settling.complete([look("a.csv", 1, is_marked=True)], 0.0)) == ["a.csv"]


def test_files_come_in_the_order_of_their_arrival():
    looks = [look("a.csv", 1, 30), look("b.csv", 1, 10), look("c.csv", 1, 10)]
    assert names(Settling(settle_s=0.0).complete(looks, 0.0)) == ["b.csv", "c.csv", "a.csv"]


def test_a_name_that_comes_again_is_another_file():
    settling = Settling(settle_s=1.0)
    settling.complete([look("a.csv", 1)], 0.0)
    settling.complete([], 5.0)
    assert settling.complete([look("a.csv", 1)], 6.0) == []
