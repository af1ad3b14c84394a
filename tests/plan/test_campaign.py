"""Somebody else at work, gates that close, canaries, kills: what a campaign meets."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pytest

from pipeline.model import InputError, Status, UsageError
from pipeline.plan import MadePlan
from pipeline.run import carry_out, reopen
from pipeline.run.failed_rows import prepare_failed
from pipeline.simulator.vendors import xsolla
from tests.plan.bench import (
    COUPON,
    OFFER,
    PROJECT,
    STATUS,
    bench,
    counts,
    kinds,
    limits,
    of_status,
)

# what the simulator holds of every coupon that nobody has written to
BEFORE = {
    "name": {"de-DE": "Gutscheintitel", "en-US": "Coupon title"},
    "bonus": [{"sku": "elven_shield", "quantity": 1}],
    "date_start": "2020-04-15T18:16:00+05:00",
    "date_end": "2020-04-15T18:16:00+05:00",
    "redeem_total_limit": 10,
    "redeem_user_limit": 10,
    "redeem_code_limit": 10,
}


def ids(count: int) -> list[str]:
    return [f"c{n}" for n in range(1, count + 1)]


async def test_what_a_third_party_changed_ends_in_conflict_with_both_values(tmp_path):
    """Between plan and run, and again between run and undo: exactly those, and nothing is lost."""
    async with bench(tmp_path, missing="keep") as work:
        made = await work.plan(work.file("a.csv", limits(ids(300), 5)), COUPON)
        theirs = [f"c{n}" for n in range(30, 301, 30)]
        for each in theirs:
            await work.put(COUPON, each, {**BEFORE, "redeem_user_limit": 77})
        sent = await work.run(made.path)
        assert counts(sent) == {"updated": 290, "conflict": 10}
        report = work.report(sent)
        assert of_status(report, Status.CONFLICT) == list(range(30, 301, 30))
        error = report.filter(pl.col("_status") == "conflict")["_error"][0]
        assert "redeem_user_limit: expected 10, found 77" in error
        assert all(work.held()[COUPON, each]["redeem_user_limit"] == 77 for each in theirs)

        others = [f"c{n}" for n in range(7, 300, 30)]
        for each in others:
            await work.put(
                COUPON, each, {**BEFORE, "redeem_user_limit": 5, "redeem_total_limit": 88}
            )
        undone, summary = await work.undo(sent.run)
        assert kinds(undone) == {"changes": 280, "conflict": 10}
        assert counts(summary) == {"updated": 280, "conflict": 10}
        conflicts = pl.read_parquet(undone.path).filter(pl.col("kind") == "conflict")
        both = json.loads(conflicts["changes"][0])
        assert {"field": "redeem_total_limit", "old": 10, "new": 88} in both
        assert all(work.held()[COUPON, each]["redeem_total_limit"] == 88 for each in others)


async def test_between_the_plan_of_an_undo_and_its_run_nothing_is_lost_either(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        sent = await work.run(work.file("a.csv", limits(ids(3), 5)), COUPON)
        made = await work.undo_plan(sent.run)
        await work.put(COUPON, "c2", {**BEFORE, "redeem_user_limit": 44})
        assert counts(await work.run(made.path)) == {"updated": 2, "conflict": 1}
        assert work.held()[COUPON, "c2"]["redeem_user_limit"] == 44


async def test_an_offer_that_changes_within_the_last_round_trip_is_not_overwritten(tmp_path):
    """If-Match carries the etag that was just read: what comes between is a conflict, too."""
    async with bench(tmp_path) as work:
        rows = [{"instance_id": f"o{n}", "status": "approved"} for n in range(1, 4)]
        made = await work.plan(work.file("offers.csv", rows), OFFER)
        assert made.planned.gaps == {}
        await work.run(made.path)
        patches = work.updates()
        assert [entry["headers"]["if-match"] for entry in patches] == ['"1"'] * 3


async def test_rows_that_change_nothing_are_read_and_not_sent(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        rows = [*limits(ids(90), 10), *limits([f"x{n}" for n in range(10)], 5)]
        path = work.file("a.csv", rows)
        made = await work.plan(path, COUPON)
        assert kinds(made) == {"unchanged": 90, "changes": 10}
        assert made.planned.requests == work.reads() == 100 + 1  # is a list shorter? it is empty
        summary = await work.run(path, COUPON, skip_unchanged=True)
        assert counts(summary) == {"unchanged": 90, "updated": 10}
        assert len(work.updates()) == 10
        assert work.reads() == 201


async def test_entities_that_do_not_exist_are_reported_and_not_sent(tmp_path):
    async with bench(tmp_path, missing="keep", strict_ids=True) as work:
        path = work.file("a.csv", limits(["coupon_44056_1", "nobody"], 5))
        made = await work.plan(path, COUPON)
        assert kinds(made) == {"changes": 1, "missing": 1}
        summary = await work.run(made.path)
        assert counts(summary) == {"updated": 1, "rejected": 1}
        assert [entry["id"] for entry in work.updates()] == ["coupon_44056_1"]
        direct = await work.run(path, COUPON)
        assert counts(direct) == {"unchanged": 1, "rejected": 1}
        assert direct.kept == ("xsolla.coupon",)


async def test_a_full_replace_tells_what_it_would_clear(tmp_path):
    async with bench(tmp_path, missing="clear") as work:
        row = {"external_id": "c1", "name.en-US": "New", **dict.fromkeys(LIMITS, "10")}
        made = await work.plan(work.file("a.csv", [row]), COUPON)
        cleared = {field.name for field in made.page.cleared}
        assert cleared == {"name.de-DE", "bonus", "date_start", "date_end"}


LIMITS = ("redeem_total_limit", "redeem_user_limit", "redeem_code_limit")


async def test_what_was_not_kept_cannot_be_undone_and_that_is_said(tmp_path):
    whole = {"name.en-US": "A", **dict.fromkeys(LIMITS, "3"), **dict.fromkeys(OTHERS, "omit")}
    rows = [{"external_id": each, **whole} for each in ids(3)]
    async with bench(tmp_path) as work:
        blind = await work.run(work.file("a.csv", rows), COUPON)
        made = await work.undo_plan(blind.run)
        assert kinds(made) == {"final": 3}
        (_, _, why), *_ = made.page.notes["final"]
        assert "--record-previous" in why
        kept = await work.run(work.file("b.csv", rows), COUPON, record_previous=True)
        assert counts(kept) == {"updated": 3}
        assert kinds(await work.undo_plan(kept.run)) == {"unchanged": 3}


OTHERS = ("bonus", "date_start", "date_end", "attribute_conditions")


async def test_parts_that_failed_are_still_parts_when_they_are_sent_again(tmp_path):
    """A part must never travel as if it were the whole: that would clear the rest."""
    async with bench(tmp_path, missing="keep", unknown_skus=frozenset({"sold_out"})) as work:
        rows = [{"external_id": "c1", "name.en-US": "New", "bonus": "sold_out"}]
        first = await work.run(work.file("a.csv", rows), COUPON)
        assert counts(first) == {"rejected": 1}
        vendor = work.running._simulator
        vendor.options = replace(vendor.options, unknown_skus=frozenset())
        again = prepare_failed(first.run, work.config)
        assert again is not None
        assert counts(await carry_out(again, work.way)) == {"updated": 1}
        held = work.held()[COUPON, "c1"]
        assert held["redeem_user_limit"] == 10, "what the row left out is gone"
        assert held["name"] == {"de-DE": "Gutscheintitel", "en-US": "New"}
        undone, _ = await work.undo(again.run)
        assert kinds(undone) == {"changes": 1}


async def test_an_older_part_is_not_taken_for_done_by_a_newer_one_about_something_else(tmp_path):
    async with bench(tmp_path, missing="keep", unknown_skus=frozenset({"sold_out"})) as work:
        rows = [
            {"external_id": "c1", "bonus": "sold_out"},
            {"external_id": "c2", "bonus": "sold_out"},
        ]
        first = await work.run(work.file("a.csv", rows), COUPON)
        newer = [
            {"external_id": "c1", "redeem_user_limit": "3"},
            {"external_id": "c2", "bonus": "elven_sword"},
        ]
        assert counts(await work.run(work.file("b.csv", newer), COUPON)) == {"updated": 2}
        vendor = work.running._simulator
        vendor.options = replace(vendor.options, unknown_skus=frozenset())
        again = prepare_failed(first.run, work.config)
        assert again is not None
        assert counts(await carry_out(again, work.way)) == {"updated": 1, "superseded": 1}
        held = work.held()
        assert (held[COUPON, "c1"]["bonus"][0]["sku"], held[COUPON, "c1"]["redeem_user_limit"]) == (
            "sold_out",
            3,
        )
        assert held[COUPON, "c2"]["bonus"][0]["sku"] == "elven_sword"


# ------------------------------------------------------------------------------------ Oracle


async def test_of_oracle_only_the_row_says_what_was_there(tmp_path):
    """We found no page that shows how an offer's status is read: each command says so."""
    offers = [
        {"offer_id": "0.0.0.1+-purchased_product+1", "status": "inactive"},
        {
            "offer_id": "0.0.0.1+-purchased_product+2",
            "status": "inactive",
            "previous_status": "active",
        },
    ]
    async with bench(tmp_path) as work:
        made = await work.plan(work.file("offers.csv", offers), STATUS)
        assert kinds(made) == {"blind": 2}
        assert made.planned.requests == 0
        assert "nothing is compared" in made.planned.gaps[STATUS]
        rows = pl.read_parquet(made.path)
        assert json.loads(rows["changes"][0]) == []
        assert json.loads(rows["changes"][1]) == [
            {"field": "status", "old": "active", "new": "inactive"}
        ]
        sent = await work.run(made.path)
        assert counts(sent) == {"updated": 2}
        found = await work.verify(sent.run)
        assert (found.rows, found.blind) == (0, 2)
        undone, summary = await work.undo(sent.run)
        assert kinds(undone) == {"final": 1, "blind": 1}
        assert counts(summary) == {"updated": 1, "rejected": 1}
        bodies = [json.loads(entry["body"]) for entry in work.updates()]
        assert bodies[-1]["statusCode"] == "1"
        again, _ = await work.undo(summary.run)
        assert kinds(again) == {"blind": 1}


# ---------------------------------------------------------------------------- gates and canaries


def half_broken(count: int, good: int) -> list[dict[str, str]]:
    """A file whose second half the vendor refuses."""
    return [
        {"external_id": f"c{n}", "bonus": "elven_shield:2" if n <= good else "no_such_sku"}
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize("stop_if", ["errors > 2%", "errors > 4% of last 50"])
async def test_a_gate_closes_within_its_window_and_resume_finishes(tmp_path, stop_if):
    rows, good = 1_000, 500
    async with bench(tmp_path, missing="keep") as work:
        path = work.file("a.csv", half_broken(rows, good))
        summary = await work.run(path, COUPON, stop_if=[stop_if])
        assert summary.exit_code == 3
        found = counts(summary)
        assert sum(found.values()) == rows, "a row has no result"
        assert good - 2 * 16 <= found["updated"] <= good  # some had not left when it closed
        # 2 % of the rows so far, or 2 of the last 50, and what was in flight then
        assert found["rejected"] <= 12 + 2 * 16
        assert good < of_status(work.report(summary), Status.REJECTED)[0] <= good + 2 * 16
        assert stop_if in (summary.accounts["shop"].stopped or "")
        before = [entry["id"] for entry in work.updates()]
        assert len(before) == len(set(before))

        vendor = work.running._simulator
        vendor.options = replace(vendor.options, unknown_skus=frozenset())  # the catalogue has it
        resumed = await work.resume(summary.run)
        assert counts(resumed) == {"updated": rows - found["rejected"], **only_rejected(found)}
        after = [entry["id"] for entry in work.updates()]
        assert len(after) == len(set(after)) == rows, "something was sent twice, or not at all"


def only_rejected(found: dict[str, int]) -> dict[str, int]:
    return {"rejected": found["rejected"]}


async def test_too_many_changes_are_refused_before_the_first(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        made = await work.plan(work.file("a.csv", limits(ids(30), 5)), COUPON)
        summary = await work.run(made.path, stop_if=["changes > 20"])
        assert summary.exit_code == 2
        assert not work.updates()
        assert "the plan changes 30" in (summary.stopped or "")
        direct = await work.run(work.file("b.csv", limits(ids(200), 5)), COUPON,
                                stop_if=["changes > 20"])  # fmt: skip
        assert direct.exit_code == 3
        assert 20 < counts(direct)["updated"] <= 21 + 2 * 16


async def test_a_canary_goes_first_and_the_rest_only_if_somebody_agrees(tmp_path):
    trials = []

    def agree(trial):
        trials.append(trial)
        return len(trials) > 1

    async with bench(tmp_path, missing="keep") as work:
        coupons = [{"operation": COUPON, **row} for row in limits(ids(60), 5)]
        offers = [
            {"operation": OFFER, "instance_id": f"o{n}", "status": "approved"} for n in range(40)
        ]
        path = work.file("mixed.csv", [*coupons, *offers])
        summary = await work.run(path, canary=10, agree=agree)
        assert counts(summary) == {"updated": 10, "not_attempted": 90}
        assert summary.exit_code == 3
        (trial,) = trials
        assert (trial.rows, trial.of, dict(trial.counts)) == (10, 100, {Status.UPDATED: 10})
        tried = [entry["id"] for entry in work.updates()]
        assert len([t for t in tried if t.startswith("o")]) == 5, "not spread over operations"
        assert {"c1", "c13", "c25", "c37", "c49"} <= set(tried), "just the first"
        resumed = await work.resume(summary.run, agree=agree)
        assert counts(resumed) == {"updated": 100}
        assert len(trials) == 1, "it was tried already"
        assert len(work.updates()) == 100


async def test_a_canary_that_fails_stops_by_itself(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        path = work.file("a.csv", half_broken(100, 50))
        summary = await work.run(path, COUPON, canary=10)
        assert summary.exit_code == 3
        assert counts(summary)["not_attempted"] >= 90
        assert counts(summary)["rejected"] >= 1


async def test_of_one_entity_no_later_row_goes_first(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        rows = [{"external_id": "c1", "redeem_user_limit": str(n)} for n in range(1, 21)]
        await work.run(work.file("a.csv", rows), COUPON, canary=3)
        sent = [json.loads(entry["body"])["redeem_user_limit"] for entry in work.updates()]
        assert sent == sorted(sent)
        assert work.held()[COUPON, "c1"]["redeem_user_limit"] == 20


# ---------------------------------------------------------------------------------- plans as files


async def test_a_plan_goes_only_where_it_was_made_for(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        made: MadePlan = await work.plan(work.file("a.csv", limits(ids(2), 5)), COUPON)
        text = (tmp_path / "pipeline.toml").read_text()
        elsewhere = work.reconfigured(text.replace(f"project_id = {PROJECT}", "project_id = 7"))
        with pytest.raises(InputError, match="Make a new plan"):
            await elsewhere.run(made.path)
        assert not work.updates()


async def test_an_operation_cannot_be_given_to_a_plan(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        made = await work.plan(work.file("a.csv", limits(ids(2), 5)), COUPON)
        with pytest.raises(UsageError, match="which contains operation and account"):
            await work.run(made.path, COUPON)


async def test_rows_that_are_wrong_stand_in_the_plan_as_well(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        rows = [*limits(ids(2), 5), {"external_id": "c3", "redeem_user_limit": "many"}]
        made = await work.plan(work.file("a.csv", rows), COUPON)
        assert kinds(made) == {"changes": 2, "invalid": 1}
        assert counts(await work.run(made.path)) == {"updated": 2, "invalid": 1}


async def test_verify_tells_each_field_that_has_drifted(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        sent = await work.run(work.file("a.csv", limits(ids(40), 5)), COUPON)
        await work.put(COUPON, "c7", {**BEFORE, "redeem_user_limit": 6})
        found = await work.verify(sent.run)
        assert (found.rows, found.drifted) == (40, 1)
        drifts = {each.field: (each.row, each.sent, each.found) for each in found.examples}
        assert drifts["redeem_user_limit"] == (7, "5", "6")
        assert found.path is not None
        assert found.path.exists()
        sampled = await work.verify(sent.run, sample=5)
        assert sampled.rows == sampled.requests == 5


async def test_a_plan_reads_nothing_twice_and_changes_nothing(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        rows = [*limits(["c1"], 5), *limits(["c1"], 6), *limits(["c2"], 7)]
        made = await work.plan(work.file("a.csv", rows), COUPON)
        assert work.reads() == 2
        changes = [json.loads(each) for each in pl.read_parquet(made.path)["changes"]]
        assert changes[0] == [{"field": "redeem_user_limit", "old": 10, "new": 5}]
        assert changes[1] == [{"field": "redeem_user_limit", "old": 5, "new": 6}]
        assert counts(await work.run(made.path)) == {"updated": 3}
        assert not work.config.ledger_folder.joinpath("plans").exists() or not list(
            work.config.ledger_folder.joinpath("plans").iterdir()
        )
    with pytest.raises(UsageError):
        reopen("nothing", work.config)


# ------------------------------------------------------------------------------------- lists


async def test_pages_are_read_instead_of_entities_if_that_is_cheaper(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        first = await work.run(work.file("a.csv", limits(ids(150), 5)), COUPON)
        before = work.reads()
        made = await work.plan(work.file("b.csv", limits(ids(160), 6)), COUPON)
        assert kinds(made) == {"changes": 160}
        # 3 pages, the first coupon once more, and ten that are in no list
        assert work.reads() - before == made.planned.requests == 3 + 1 + 10
        changes = [json.loads(each)[0]["old"] for each in pl.read_parquet(made.path)["changes"]]
        assert changes == [5] * 150 + [10] * 10
        assert counts(await work.run(made.path)) == {"updated": 160}
        assert (await work.verify(first.run)).drifted == 150


async def test_what_is_in_no_list_is_read_by_itself(tmp_path):
    async with bench(tmp_path, missing="keep") as work:
        for n in range(60):
            await work.put(COUPON, f"other{n}", BEFORE)
        before = work.reads()
        made = await work.plan(work.file("a.csv", limits(ids(101), 6)), COUPON)
        assert kinds(made) == {"changes": 101}
        assert work.reads() - before == made.planned.requests == 2 + 1 + 101


async def test_a_list_that_tells_less_than_a_read_is_not_believed(tmp_path, monkeypatch):
    async with bench(tmp_path, missing="keep") as work:
        await work.run(work.file("a.csv", limits(ids(120), 5)), COUPON)
        listed = xsolla.read_coupon
        hidden = {"redeem_total_limit", "bonus"}

        def shorter(state, external_id):
            return {n: v for n, v in listed(state, external_id).items() if n not in hidden}

        real = xsolla._listed

        def list_of_less(*given):
            with monkeypatch.context() as patch:
                patch.setattr(xsolla, "read_coupon", shorter)
                return real(*given)

        monkeypatch.setattr(xsolla, "_listed", list_of_less)
        made = await work.plan(work.file("b.csv", limits(ids(120), 6)), COUPON)
        assert made.planned.requests == 3 + 1 + 120
        (changes,) = set(pl.read_parquet(made.path)["changes"])
        assert json.loads(changes) == [{"field": "redeem_user_limit", "old": 5, "new": 6}]
