"""Makes the pictures of `docs/pages.md`: `make screenshots`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.pages.conftest import CHROMIUM, FLAGS, until_indexed
from tests.support.service import SECONDS, Service
from tests.support.year import write_year

COUNT = 900
WIDE = {"width": 1120, "height": 720}
PHONE = {"width": 390, "height": 720}


def main(out: Path) -> None:
    if CHROMIUM is None:
        sys.exit("there is no Chromium: apt-get install chromium")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        ids = write_year(folder, COUNT)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        with Service(folder, "--log", "log") as service:
            until_indexed(service.client(), COUNT)
            for scheme, size in (("light", WIDE), ("dark", WIDE), ("light", PHONE)):
                window = browser.new_context(
                    base_url=service.url,
                    viewport=size,  # type: ignore[arg-type]
                    color_scheme=scheme,  # type: ignore[arg-type]
                )
                taken = _Pictures(window.new_page(), out)
                if size is PHONE:
                    taken.take("/pages/decisions", "phone")
                elif scheme == "dark":
                    taken.take(_refused(taken.page), "one-decision-dark")
                else:
                    taken.all(ids)
        browser.close()


def _refused(page: Page) -> str:
    page.goto("/pages/decisions?code=forbidden&outcome=refused")
    return str(page.locator("table.list a").first.get_attribute("href"))


class _Pictures:
    def __init__(self, page: Page, out: Path) -> None:
        self.page, self._out = page, out

    def all(self, ids: list[str]) -> None:
        assert ids
        for name in ("decisions", "playground", "spend", "compliance", "log"):
            self.take(f"/pages/{name}", name)
        self.take(_refused(self.page), "one-decision")
        self.page.goto("/pages/policies")
        self.take(str(self.page.locator("table.list a").first.get_attribute("href")), "policy")
        self.page.goto("/pages/what-if")
        rules = self.page.locator("#candidate")
        rules.fill(rules.input_value().replace("remaining_usd > 5.0", "remaining_usd > 20.0"))
        self.page.get_by_role("textbox", name="Decisions from").fill("")
        self.page.get_by_role("button", name="Decide them again").click()
        self._save("what-if")

    def take(self, path: str, name: str) -> None:
        self.page.goto(path)
        self._save(name)

    def _save(self, name: str) -> None:
        self.page.wait_for_load_state("networkidle")
        expect(self.page.locator("progress")).to_have_count(0, timeout=SECONDS * 1000)
        self.page.screenshot(path=self._out / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
