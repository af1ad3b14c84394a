"""Which files a command means by a folder or a glob."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import pytest

from pipeline.cli.setup import expand
from tests.cli.command import typed
from tests.workplace import configure

FILES = ("a.csv", "_b.csv", ".c.csv", "_temporary/0/d.csv", "day=1/e.csv", "day=1/_SUCCESS.csv")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("out", ["a.csv", "day=1/e.csv"]),
        ("out/*.csv", ["a.csv"]),
        ("out/**/*.csv", ["a.csv", "day=1/e.csv"]),
        ("out/_*.csv", ["_b.csv"]),  # asked for by that name
        ("out/_temporary/0", ["_temporary/0/d.csv"]),
        ("out/_temporary/*/*.csv", ["_temporary/0/d.csv"]),
        ("out/_b.csv", ["_b.csv"]),
    ],
)
def test_what_a_job_writes_beside_its_data_is_meant_only_by_its_name(tmp_path, given, meant):
    for name in FILES:
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    config = configure(tmp_path, "http://127.0.0.1:9/api")
    with chdir(tmp_path):
        assert expand([given], config) == [Path("out", name) for name in meant]


def test_what_a_link_in_the_drop_folder_leads_to_is_not_simulated(tmp_path):
    """Nor is it sent: who may drop files may not choose others."""
    (tmp_path / "inputs" / "xsolla.coupon").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.csv").write_text("x")
    own = tmp_path / "inputs" / "xsolla.coupon" / "own.csv"
    own.write_text("x")
    own.with_name("file.csv").symlink_to(tmp_path / "elsewhere" / "secret.csv")
    own.with_name("folder").symlink_to(tmp_path / "elsewhere")
    config = configure(tmp_path, "http://127.0.0.1:9/api")
    assert expand([], config) == [own]


def test_a_link_to_itself_is_an_error_in_words(tmp_path):
    configure(tmp_path, "http://127.0.0.1:9/api")
    (tmp_path / "a.csv").symlink_to("a.csv")
    refused = typed(tmp_path, "check", "--operation", "xsolla.coupon", "a.csv")
    assert refused.code == 2
    assert "a.csv: cannot be opened" in refused.words
