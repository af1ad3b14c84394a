"""The pictures of the documentation: a run with faults against the simulator, then its page.

make pictures
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.cli.command import environment
from tests.report.page.test_browser import CHROMIUM
from tests.workplace import configure, coupon, drop, simulator

PICTURES = Path(__file__).resolve().parents[3] / "docs" / "pictures"
FAULTS = ("503=0.03", "reset-after=0.02", "429-seconds=0.004", "slow=0.01")
ROWS = 900


def main() -> None:
    if CHROMIUM is None:
        sys.exit("make pictures: no Chromium is here; `make browser` installs one")
    with tempfile.TemporaryDirectory() as name:
        reports = run(Path(name))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            draw(browser, reports)
            browser.close()


def run(folder: Path) -> Path:
    """Two evenings of coupons, some of them wrong; the folder of their reports."""
    faults = [word for fault in FAULTS for word in ("--fault", fault)]
    with simulator("--latency-ms", "60", "--jitter-ms", "40", "--seed", "4", *faults) as vendor:
        configure(folder, vendor.base_url, quota='"30/s"')
        for evening, rows in ("monday", 300), ("tuesday", ROWS):
            lines = [coupon(row) for row in range(1, rows + 1)]
            lines[40::97] = [line.replace("elven_shield", "no_such_sku") for line in lines[40::97]]
            lines[70::211] = [line.replace("2026", "20.26") for line in lines[70::211]]
            path = drop(folder, *lines, name=f"{evening}.csv")
            subprocess.run(
                [sys.executable, "-m", "pipeline", "run", "--yes", "--quiet", str(path)],
                cwd=folder,
                env=environment(),
                check=False,  # some rows fail on purpose
            )
    return folder / "reports"


def draw(browser: Browser, reports: Path) -> None:
    PICTURES.mkdir(exist_ok=True)
    page = browser.new_page(viewport={"width": 1000, "height": 620})
    page.goto((reports / "latest" / "report.html").resolve().as_uri())
    page.screenshot(path=PICTURES / "report.png")
    page.add_style_tag(content="nav { position: static !important }")
    page.locator("#time .card").first.screenshot(path=PICTURES / "report-time.png")
    page = browser.new_page(viewport={"width": 1000, "height": 420}, color_scheme="dark")
    page.goto((reports / "index.html").resolve().as_uri())
    page.screenshot(path=PICTURES / "runs.png")


if __name__ == "__main__":
    main()
