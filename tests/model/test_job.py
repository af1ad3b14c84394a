from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline.model import Fault, InputError, UpdateJob
from pipeline.model.errors import shorten


class Price(UpdateJob):
    sku: str
    cents: int | None = None
    tags: list[str] = []  # noqa: RUF012 - pydantic copies it


@pytest.mark.parametrize(
    "given",
    [
        {"sku": "a"},  # absent fields stay absent
        {"sku": "a", "cents": None},  # null is a value
        {"sku": 'é"\\\n', "cents": 2**62, "tags": ["x", ""]},
    ],
)
def test_a_job_and_its_text_are_the_same(given):
    job = Price.model_validate(given)
    back = Price.trusted(job.canonical_json())
    assert back == job
    assert back.given() == given
    assert back.canonical_json() == job.canonical_json()
    assert (back.sku, back.cents, back.tags) == (job.sku, job.cents, job.tags)


def test_an_absent_field_is_not_null():
    assert Price(sku="a").canonical_json() == '{"sku":"a"}'
    assert Price(sku="a", cents=None).canonical_json() == '{"sku":"a","cents":null}'


@pytest.mark.parametrize("given", [{"sku": 7}, {"sku": "a", "cents": "7"}, {"sku": "a", "x": 1}])
def test_nothing_is_guessed(given):
    with pytest.raises(ValidationError):
        Price.model_validate(given)


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (Fault(what="empty"), "empty"),
        (Fault(what="cut", file="a.csv", line=9), "a.csv, line 9: cut"),
        (Fault(what="bad", file="a.csv", row=2, column="x"), "a.csv, row 2, column x: bad"),
        (
            Fault(what="bad", row=2, line=4, value="'v'", expected="a number", todo="Mend it"),
            "row 2 (line 4): bad: 'v'; expected a number. Mend it",
        ),
    ],
)
def test_a_fault_has_position_message_and_advice(fault, line):
    assert str(fault) == line


def test_an_error_lists_all_faults():
    error = InputError([Fault(what="one"), Fault(what="two")])
    assert str(error) == "one\ntwo"


def test_a_long_value_is_shortened():
    assert len(shorten("x" * 1000)) == 60
