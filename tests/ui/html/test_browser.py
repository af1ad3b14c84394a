"""Pages in a real browser: the system's Chromium. Skipped where there is none.

`make browser` installs one on Debian.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from pipeline.model.plan import PlanKind, Planned
from pipeline.ui.html.plan_page import ChangedField, PlanNote, publish_plan_page
from tests.reporter.runs import write_report
from tests.ui.html.pages import HOSTILE, SCRIPT, STARTED, source_of

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: make browser")

RUNS: dict[str, dict[str, Any]] = {
    "faulty run": {"rows": 2_000},
    "clean": {"rows": 300, "seconds": 10, "is_faulty": False},
    "no rows": {"rows": 0, "seconds": 0},
    "a moment": {"rows": 7, "seconds": 2},
    "interrupted": {
        "rows": 300,
        "seconds": 20,
        "stopped_by": "interrupted by SIGTERM",
        "exit_code": 130,
    },
}
BEFORE = STARTED - timedelta(days=1)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # a container has no user namespaces for its sandbox; what it opens is our own
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of each of RUNS, and one of the day before."""
    folder = tmp_path_factory.mktemp("pages")
    before = {"rows": 100, "started": BEFORE, "ended": BEFORE + timedelta(seconds=9)}
    for number, (name, about) in enumerate({"before": before, **RUNS}.items()):
        own = folder / "own" / str(number)
        write_report(source_of(own, run=name, **about), folder / "reports" / name)
    return folder / "reports"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def plan_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    planned = Planned(
        source=f"autumn {SCRIPT}.csv",
        made="2026-11-23T22:05:00+00:00",
        accounts={},
        kinds={PlanKind.CHANGES: 1200, PlanKind.INVALID: 3},
        requests=1200,
        gaps={"xsolla.coupon": "a change within the round trip goes unnoticed"},
    )
    plan = tmp_path_factory.mktemp("plans") / "plan of autumn.parquet"
    plan.write_bytes(b"")
    changed = [ChangedField("xsolla.coupon", SCRIPT, 1200, 7, "c1", HOSTILE, "nothing")]
    noted = [PlanNote(PlanKind.INVALID, 7, "", HOSTILE)]
    return publish_plan_page(plan, planned, changed, noted, {})


def opened(page: Page, path: Path, **media: Any) -> Page:
    if media:
        page.emulate_media(**media)
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("run", RUNS)
def test_a_page_opens_without_an_error_and_asks_nobody_for_anything(page, reports, run):
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    path = reports / run / "report.html"
    opened(page, path)
    page.wait_for_timeout(50)
    assert asked == [path.as_uri()]
    assert complaints == []


@pytest.mark.parametrize("run", RUNS)
def test_the_numbers_are_those_of_the_summary(page, reports, run):
    opened(page, reports / run / "report.html")
    told = json.loads((reports / run / "summary.json").read_text())

    def counts(selector: str) -> list[dict[str, str]]:
        found = page.locator(selector)
        return found.evaluate_all(
            "all => all.map(e => ({...e.dataset, text: e.textContent.trim()}))"
        )

    head = counts("#statuses [data-status]")
    assert {each["status"]: int(each["count"]) for each in head} == {
        status: count for status, count in told["statuses"].items() if count
    }
    outcomes = counts("#outcomes [data-status]")
    for account, about in told["accounts"].items():
        for status, count in about["statuses"].items():
            cells = [e for e in outcomes if (e["account"], e["status"]) == (account, status)]
            assert sum(int(each["count"]) for each in cells) == count
    kinds = counts("#why [data-kind]")
    assert [int(each["count"]) for each in kinds[:10]] == [e["count"] for e in told["errors"]]
    for each in (*head, *outcomes):  # what is written is what is meant
        assert f"{int(each['count']):,}" == each["text"]


@pytest.mark.parametrize("run", RUNS)
def test_every_link_leads_somewhere(page, reports, run):
    path = reports / run / "report.html"
    opened(page, path)
    links = page.locator("a").evaluate_all("all => all.map(e => e.getAttribute('href'))")
    assert links
    for link in links:
        target, anchor = urldefrag(urljoin(path.as_uri(), link))
        assert Path(unquote(target.removeprefix("file://"))).is_file(), link
        assert not anchor or page.locator(f"[id='{anchor}']").count() == 1, link


def test_what_a_vendor_or_a_file_says_stays_text(page, reports):
    opened(page, reports / "faulty run" / "report.html")
    assert page.locator("script, img, b b, [onerror]").count() == 0
    assert "owned" not in page.title()
    said = page.locator("#why .kind bdi", has_text="no such coupon").first.inner_text()
    assert HOSTILE.replace("\u202e", "") in said
    assert page.locator("#why dt", has_text=SCRIPT).count()


def test_the_refused_request_and_its_reply_are_shown_line_by_line(page, reports):
    opened(page, reports / "faulty run" / "report.html")
    shown = page.locator("#why .exchange").first
    shown.locator("summary").click()
    request, reply = shown.locator("pre").all_inner_texts()
    assert request.startswith("curl -X PUT https://store.xsolla.com/c")
    assert HOSTILE.replace("\u202e", "") in request
    assert reply.splitlines()[:3] == ["HTTP 422 Unprocessable Entity", "X-Request-Id: 7", ""]


def test_even_a_script_that_got_in_would_not_run(page, reports, tmp_path):
    """The page forbids scripts; the browser obeys."""
    text = (reports / "clean" / "report.html").read_text()
    (tmp_path / "with.html").write_text(text.replace("</body>", f"{SCRIPT}</body>"))
    opened(page, tmp_path / "with.html")
    assert page.title() != "owned"


@pytest.mark.parametrize(
    ("name", "colours"),
    [
        ("interrupted/report.html", "light"),
        ("interrupted/report.html", "dark"),
        ("clean/report.html", "light"),
        ("index.html", "light"),
    ],
)
def test_a_page_has_no_serious_fault_of_accessibility(page, reports, name, colours):
    opened(page, reports / name, color_scheme=colours)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if colours == "dark":  # the rest does not hang on it
        options["runOnly"] = ["color-contrast"]
    found = Axe().run(page, options=options).response["violations"]
    faults = [
        (fault["id"], [node["html"][:120] for node in fault["nodes"][:3]])
        for fault in found
        if fault["impact"] in {"serious", "critical"}
    ]
    assert faults == []


@pytest.mark.parametrize("name", [*(f"{run}/report.html" for run in RUNS), "index.html"])
def test_a_phone_shows_the_whole_width(page, reports, name):
    page.set_viewport_size({"width": 360, "height": 740})
    opened(page, reports / name)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_keyboard_is_enough(page, reports):
    opened(page, reports / "faulty run" / "report.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    table = page.locator("#time details").first
    table.locator("summary").focus()
    page.keyboard.press("Enter")
    assert table.get_attribute("open") is not None
    assert table.locator("tbody tr").first.is_visible()


def test_behind_each_chart_stands_a_table(page, reports):
    opened(page, reports / "faulty run" / "report.html")
    for card in page.locator(".card", has=page.locator("figure")).all():
        assert card.locator("details table").count() == 1
    assert page.locator("figure").count() == 6  # two accounts: rate, in flight, latency


def test_on_paper_nothing_sticks_and_colours_are_light(page, reports):
    opened(page, reports / "faulty run" / "report.html", media="print", color_scheme="dark")
    assert not page.locator("nav").is_visible()
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert ink == "rgb(28, 30, 33)"


def test_a_plan_has_a_page_of_the_same_kind(page, plan_page):
    asked, complaints = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.set_viewport_size({"width": 360, "height": 740})
    opened(page, plan_page)
    assert (asked, complaints) == ([plan_page.as_uri()], [])
    assert page.locator("h1").inner_text().endswith("1,203 rows, 1,200 would be sent")
    told = page.locator("[data-kind]").evaluate_all("all => all.map(e => e.dataset.count)")
    assert told == ["1200", "3"]
    assert page.locator("script, img").count() == 0
    assert page.locator(".todo code").inner_text().endswith("plan of autumn.parquet'")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert (plan_page.parent / unquote(page.locator("footer a").get_attribute("href"))).exists()
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [each["id"] for each in found if each["impact"] in {"serious", "critical"}] == []


def test_the_list_of_runs_leads_to_each(page, reports):
    opened(page, reports / "index.html")
    links = page.locator("tbody a").evaluate_all("all => all.map(e => e.getAttribute('href'))")
    named = {Path(unquote(link)).parent.name for link in links}
    assert named == {"before", *RUNS}
    page.locator("tbody a[href*='faulty']").click()
    assert page.title().startswith("1,8")
