"""The report's tables in a browser."""

import shutil
from pathlib import Path

import pytest

from clipadapt.evaluation.report import page as page_module

playwright = pytest.importorskip("playwright.sync_api", reason="sorting is tested with Playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCRIPT = Path(page_module.__file__).with_name("sort.js").read_text(encoding="utf-8")
ROWS = [
    ("colour: P@10", "29.6 [20.1, 33.0]", "< 0.001"),
    ("fit", "−4.0", "0.02"), ("Neck", "", "0.5"), ("colour", "1,183", "0.04"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt install chromium")
def test_a_heading_sorts_down_then_up_then_not_at_all():
    cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in ROWS).replace("< 0", "&lt; 0")
    table = f"<table><thead><tr><th>what<th>figure<th>p</tr></thead><tbody>{cells}</tbody></table>"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page()
        page.set_content(f"{table}<script>{SCRIPT}</script>")

        def after_press(heading: str) -> list[str]:
            page.get_by_role("button", name=heading).click()
            return page.locator("tbody td:first-child").all_inner_texts()

        as_written = [what for what, _, _ in ROWS]
        assert after_press("figure") == ["colour", "colour: P@10", "fit", "Neck"], "what holds no number is last"
        assert page.locator("th").nth(1).get_attribute("aria-sort") == "descending"
        assert after_press("figure") == ["fit", "colour: P@10", "colour", "Neck"]
        assert after_press("figure") == as_written
        assert after_press("what")[0] == "Neck"
        assert after_press("p") == ["Neck", "colour", "fit", "colour: P@10"]
        browser.close()
