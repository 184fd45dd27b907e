"""Pages in a headless Chromium, for every test that looks at one: what axe-core finds, and whether a phone has room.

    from pages import MARKS, WIDE, PHONE, serious_faults, sideways

    pytestmark = MARKS          # slow, and skipped with a message where there is no Playwright or no Chromium

`browser` is a fixture, which conftest.py makes known. Chromium is the system's own (Debian: apt install chromium).
Where CLIPADAPT_SHOTS names a folder, `shot` leaves pictures of pages there, for people to look at.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("CI"), reason="no Chromium here; on Debian: apt install chromium"
    ),
]
WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pages are tested with Playwright")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


def serious_faults(page: Any) -> list[tuple[str, list[str]]]:
    """What axe-core calls serious or critical: its rule, and the elements."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="checked with axe-core")
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in axe.Axe().run(page).response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def sideways(page: Any) -> int:
    """By how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def shot(page: Any, name: str) -> None:
    """A picture of the whole page, where somebody asked for them."""
    folder = os.environ.get("CLIPADAPT_SHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
