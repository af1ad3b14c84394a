"""The pictures of the documentation: runs with faults against the simulator; the display of one
while it goes, the page of the other.

make pictures
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from pipeline.run import Progress, RunEnvironment, carry_out, prepare
from pipeline.runs import RunOptions
from pipeline.ui.terminal import LiveDisplay
from pipeline.ui.terminal.display import REFRESH_PER_S
from tests.cli.command import environment
from tests.promises.test_mixed import COLUMNS as ALL_COLUMNS
from tests.promises.test_mixed import coupon as coupon_of_all
from tests.promises.test_mixed import offer, write
from tests.ui.html.test_browser import CHROMIUM
from tests.workplace import ENVIRON, configure, configure_all, coupon, drop, simulator

PICTURES = Path(__file__).resolve().parents[3] / "docs" / "pictures"
FAULTS = ("503=0.03", "reset-after=0.02", "429-seconds=0.004", "slow=0.01")
ROWS = 900
LOOK_AFTER_S = 20.0
SCREEN = """<style>{stylesheet} body {{ margin: 0; background: {background} }}
pre {{ margin: 0; padding: 14px 18px; width: max-content; color: {foreground};
background: {background}; font: 14px/1.35 "DejaVu Sans Mono", monospace }}</style>
<body><pre>{code}</pre></body>"""


def main() -> None:
    if CHROMIUM is None:
        sys.exit("make pictures: no Chromium is here; `make browser` installs one")
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as other:
        reports, screen = run(Path(name)), screen_of_a_run(Path(other))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            PICTURES.mkdir(exist_ok=True)
            draw(browser, reports)
            draw_screen(browser, screen)
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
    page = browser.new_page(viewport={"width": 1000, "height": 620})
    page.goto((reports / "latest" / "report.html").resolve().as_uri())
    page.screenshot(path=PICTURES / "report.png")
    page.add_style_tag(content="nav { position: static !important }")
    page.locator("#time .card").first.screenshot(path=PICTURES / "report-time.png")
    page = browser.new_page(viewport={"width": 1000, "height": 420}, color_scheme="dark")
    page.goto((reports / "index.html").resolve().as_uri())
    page.screenshot(path=PICTURES / "runs.png")


def screen_of_a_run(folder: Path) -> str:
    """What the terminal shows of a run over two accounts after `LOOK_AFTER_S`, as HTML."""
    faults = [word for fault in FAULTS for word in ("--fault", fault)]
    rows = [offer(row, row) if row % 3 else coupon_of_all(row, row) for row in range(1, 901)]
    rows[8::60] = [{**row, "bonus": "no_such_sku"} for row in rows[8::60]]
    columns = [name for name in ALL_COLUMNS if any(name in row for row in rows)]
    with simulator("--latency-ms", "60", "--jitter-ms", "40", "--seed", "4", *faults) as vendor:
        config = configure_all(folder, vendor, quota="20/s")
        path = write(folder / "inputs" / "launch_day.csv", iter(rows), columns)
        prepared = prepare(path, config, RunOptions())
        console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)

        @contextmanager
        def watch(poll: Progress) -> Iterator[None]:
            display = LiveDisplay(console, poll)
            looks = threading.Thread(target=look, args=(display, console))
            looks.start()
            yield
            looks.join()

        anyio.run(carry_out, prepared, RunEnvironment(watch=watch, environ=ENVIRON))
    return console.export_html(theme=SVG_EXPORT_THEME, code_format=SCREEN)


def look(display: LiveDisplay, console: Console) -> None:
    """Look as often as the display does, and print what it shows in the end."""
    for _ in range(int(LOOK_AFTER_S * REFRESH_PER_S)):
        shown = display._render()
        time.sleep(1 / REFRESH_PER_S)
    console.print(shown)


def draw_screen(browser: Browser, screen: str) -> None:
    page = browser.new_page(viewport={"width": 800, "height": 300}, device_scale_factor=1.5)
    page.set_content(screen)
    page.locator("pre").screenshot(path=PICTURES / "live.png")


if __name__ == "__main__":
    main()
