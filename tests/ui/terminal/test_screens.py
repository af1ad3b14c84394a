from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.model import Status
from pipeline.reporter import Summary
from pipeline.reporter.summary import (
    AccountSummary,
    ErrorSummary,
    InputSummary,
    OutputSummary,
)
from pipeline.ui.terminal import Question, SendTarget, show_question, show_result, show_total

QUESTION = Question(
    file=Path("inputs/xsolla.coupon/campaign-2025-11.csv"),
    rows=60_000,
    invalid=12,
    blank_lines=3,
    examples=("row 3 (line 4), column limits.per_user: not a whole number: '1E5'",),
    targets=(
        SendTarget(
            account="shop",
            vendor="xsolla",
            host="https://store.xsolla.com",
            scope="project 44056",
            rows={"xsolla.coupon": 59_000, "xsolla.bonus-promotion": 988},
            quota="20/s, 1000/min",
            quota_is="assumed",
            requests=59_988,
            lasts_s=3599.0,
        ),
    ),
    cleared={"xsolla.coupon": ("date_start", "date_end")},
    warnings=("[bold]tags[/bold]\x1b[31m is ignored",),
)


def counts(**given: int) -> dict[Status, int]:
    return {status: given.get(status.value, 0) for status in Status}


STOPPED = "20 refusals in a row with code [0401]: is `project_id` right?"


def summary(**more: object) -> Summary:
    statuses = counts(updated=24, invalid=3, rejected=2, unknown=1)
    account = AccountSummary(
        vendor="xsolla", host="h", scope="", quota="20/s", quota_assumed=True, quota_used=0.5,
        requests=31, retries=4, sending_s=2.0, rows=27, statuses=statuses,
        stopped=STOPPED,
    )  # fmt: skip
    values: dict[str, object] = {
        "run": "r",
        "why": "24 of 30 rows updated; 3 invalid, 2 rejected, 1 unknown",
        "exit_code": 1,
        "is_simulated": True,
        "input": InputSummary(
            file="f", kind="csv", sha256="", bytes=1, rows=30, selected=30, blank_lines=0
        ),
        "rows": 30,
        "statuses": statuses,
        "accounts": {"shop": account},
        "without_account": counts(invalid=3),
        "requests": 31,
        "retries": 4,
        "started": "",
        "ended": "",
        "seconds": 2.5,
        "rows_per_s": 12.0,
        "stopped": "",
        "errors": (
            ErrorSummary(
                status=Status.REJECTED,
                code="0401-1501",
                message="[red]Coupon[/] \x1b[31m'x' not found\n in project 44056",
                hint="the coupon must exist before it can be updated",
                count=2,
                rows=(12, 1200),
            ),
            ErrorSummary(
                status=Status.INVALID, code="invalid", message="bad", hint="", count=9, rows=(3,)
            ),
            ErrorSummary(
                status=Status.FAILED,
                code="failed",
                hint="",
                count=1,
                rows=(7,),
                message=f"gone; no further attempt: {STOPPED}",
            ),
            ErrorSummary(
                status=Status.FAILED, code="http_503", message="busy", hint="", count=3, rows=(8,)
            ),
        ),
        "errors_not_listed": 4,
        "warnings": ("column `tags` is ignored",),
        "cleared": {},
        "outputs": {
            "success": OutputSummary(name="success.csv", rows=24, bytes=1, sha256=""),
            "errors": OutputSummary(name="errors.csv", rows=6, bytes=1, sha256=""),
        },
        "settings": {},
        "versions": {},
    }
    return Summary.model_validate(values | more)


def printed(show: Callable[[Console], None], width: int) -> list[str]:
    console = Console(record=True, width=width, file=io.StringIO())
    show(console)
    return [line.rstrip() for line in console.export_text().splitlines()]


FOLDER = Path("reports/20251122T164000Z-a-file-whose-name-is-much-longer-than-usual-2025-11-abcd")


def test_the_result_at_80_columns() -> None:
    assert printed(lambda console: show_result(console, summary(), FOLDER), 80) == [
        "24 of 30 rows updated; 3 invalid, 2 rejected, 1 unknown.",
        "31 requests, 4 of them retries, 2.5 s, 12.0 rows/s",
        "Simulated: no vendor was contacted.",
        "",
        "  updated   24  success.csv  the vendor confirmed it",
        "  invalid    3  errors.csv   never became a job; nothing was sent",
        "  rejected   2  errors.csv   the vendor refused it",
        "  unknown    1  errors.csv   may have been applied: ask the vendor",
        "",
        "  stopped  shop: 20 refusals in a row with code [0401]: is `project_id` right?",
        "  quota    shop: 20/s is assumed; set `quota` to what your contract states",
        "  warning  column `tags` is ignored",
        "",
        "Most frequent errors",
        "  2 rows  rejected 0401-1501: [red]Coupon[/] 'x' not found | in project 44056",
        "          -> the coupon must exist before it can be updated",
        "          rows 12, 1,200",
        "  9 rows  invalid: bad",
        "          rows 3 and 8 more",
        "  row 7   failed: gone; no further attempt: the account stopped",
        "  3 rows  failed http_503: busy",
        "          rows 8 and 2 more",
        "  and 4 rows with other errors",
        "",
        f"Report: {FOLDER}",
    ]


def test_one_result_of_several_at_80_columns() -> None:
    seen = summary().warnings
    assert printed(
        lambda console: show_result(console, summary(), FOLDER, shown=seen, is_one_of_several=True),
        80,
    ) == [
        "f: 24 of 30 rows updated; 3 invalid, 2 rejected, 1 unknown.",
        "31 requests, 4 of them retries, 2.5 s, 12.0 rows/s",
        "  stopped  shop: 20 refusals in a row with code [0401]: is `project_id` right?",
        "  quota    shop: 20/s is assumed; set `quota` to what your contract states",
        "  2 rows  rejected 0401-1501: [red]Coupon[/] 'x' not found | in project 44056",
        "          -> the coupon must exist before it can be updated",
        "          rows 12, 1,200",
        "  9 rows  invalid: bad",
        "          rows 3 and 8 more",
        "  row 7   failed: gone; no further attempt: the account stopped",
        "  and 7 rows with other errors",
        f"Report: {FOLDER}",
        "",
    ]


def test_the_sum_of_several_results_at_80_columns() -> None:
    assert printed(lambda console: show_total(console, [summary(), summary()]), 80) == [
        "2 files: 48 of 60 rows updated; 6 invalid, 4 rejected, 2 unknown.",
        "Simulated: no vendor was contacted.",
        "",
        "  updated   48  success  the vendor confirmed it",
        "  invalid    6  errors   never became a job; nothing was sent",
        "  rejected   4  errors   the vendor refused it",
        "  unknown    2  errors   may have been applied: ask the vendor",
        "",
    ]


def test_a_run_without_a_fault_says_little() -> None:
    fine = summary(
        why="All 24 rows updated",
        exit_code=0,
        is_simulated=False,
        statuses=counts(updated=24),
        accounts={},
        warnings=(),
        errors=(),
        errors_not_listed=0,
        retries=0,
        requests=24,
    )
    assert printed(lambda console: show_result(console, fine, Path("reports/r")), 80) == [
        "All 24 rows updated.",
        "24 requests, 2.5 s, 12.0 rows/s",
        "",
        "  updated  24  success.csv  the vendor confirmed it",
        "",
        "Report: reports/r",
    ]


def test_the_question_at_80_columns() -> None:
    assert printed(lambda console: show_question(console, QUESTION), 80) == [
        "╭─ About to send ──────────────────────────────────────────────────────────────╮",
        "│ file     inputs/xsolla.coupon/campaign-2025-11.csv                           │",
        "│ rows     60,000, 12 of them invalid and not sent; 3 blank lines left out     │",
        "│          row 3 (line 4), column limits.per_user: not a whole number: '1E5'   │",
        "│ account  shop  xsolla at https://store.xsolla.com, project 44056             │",
        "│          59,000 rows of xsolla.coupon, 988 rows of xsolla.bonus-promotion    │",
        "│          59,988 requests, about 1 h at 20/s, 1000/min (assumed)              │",
        "│ clears   xsolla.coupon: date_start, date_end                                 │",
        "│ warning  [bold]tags[/bold] is ignored                                        │",
        "╰──────────────────────────────────────────────────────────────────────────────╯",
    ]


def test_what_is_sent_without_a_question_at_80_columns() -> None:
    assert printed(lambda console: show_question(console, QUESTION, is_agreed=True), 80) == [
        "inputs/xsolla.coupon/campaign-2025-11.csv",
        "  rows     60,000, 12 of them invalid and not sent; 3 blank lines left out",
        "  account  shop  xsolla at https://store.xsolla.com, project 44056",
        "           59,000 rows of xsolla.coupon, 988 rows of xsolla.bonus-promotion",
        "           59,988 requests, about 1 h at 20/s, 1000/min (assumed)",
        "  clears   xsolla.coupon: date_start, date_end",
        "  warning  [bold]tags[/bold] is ignored",
    ]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_is_wider_than_the_terminal_but_the_path(width: int) -> None:
    pages = [
        *printed(lambda console: show_question(console, QUESTION), width),
        *printed(lambda console: show_result(console, summary(), FOLDER), width)[:-1],
    ]
    assert max(map(len, pages)) <= width


def test_the_simulator_is_named_before_a_run() -> None:
    simulated = Question(file=Path("x.csv"), rows=1, invalid=0, targets=(), is_simulated=True)
    assert (
        "About to send to the simulator"
        in printed(lambda console: show_question(console, simulated), 80)[0]
    )


TARGET = QUESTION.targets[0]


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (replace(TARGET, quota_is=""), "59,988 requests, about 1 h at 20/s, 1000/min"),
        (replace(TARGET, lasts_s=None), "59,988 requests, quota 20/s, 1000/min (assumed)"),
        (replace(TARGET, requests=1, lasts_s=0.1), "1 request, about 1 s at 20/s, 1000/min (assu"),
        (
            replace(TARGET, quota="5/s", quota_is="", bound="in_flight 4, as replies take 2 s"),
            "59,988 requests, about 1 h: in_flight 4, as replies take 2 s; quota 5/s",
        ),
        (
            replace(TARGET, quota="auto", quota_is="learned", bound="5/s at the start"),
            "59,988 requests, about 1 h: 5/s at the start; quota auto (learned)",
        ),
    ],
)
def test_what_an_account_takes(target: SendTarget, line: str) -> None:
    question = replace(
        QUESTION, targets=(target,), until="06:00Z: expected to finish about 1 h earlier"
    )
    page = printed(lambda console: show_question(console, question), 120)
    assert any(line in each for each in page), page
    assert any("until    06:00Z: expected to finish about 1 h earlier" in each for each in page)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"quota": "auto", "quota_assumed": False, "rate_per_s": 41.96},
         "quota    shop: learned from the replies; 42.0 requests/s at the end"),
        ({"quota_assumed": False, "slowed_to": "5/s"},
         "quota    shop: slowed down to 5/s by `pipeline runs --quota`"),
    ],
)  # fmt: skip
def test_what_became_of_a_quota(more: dict[str, object], line: str) -> None:
    told = summary()
    account = told.accounts["shop"].model_copy(update=more)
    told = told.model_copy(update={"accounts": {"shop": account}})
    page = printed(lambda console: show_result(console, told, FOLDER), 80)
    assert f"  {line}" in page
    assert not any("assumed" in each for each in page)
