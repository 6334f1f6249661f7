"""The host's Chromium, driven; it keeps nothing, and asks nobody but whom it is told to."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright

CHROMIUM: Final = Path("/usr/bin/chromium")
SECONDS: Final = 30.0
QUIET: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Tab:
    """One page, and what it did beside being shown."""

    page: Page
    asked: list[str] = field(default_factory=list)  # URLs
    said: list[str] = field(
        default_factory=list
    )  # on the console, and errors: a violated policy is among them


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[BrowserContext]:
    """Run the browser with a profile of its own. Skips where there is none; fails in CI."""
    if not CHROMIUM.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium here: apt install chromium")
    async with asyncio.timeout(2 * SECONDS), async_playwright() as playwright:
        browser = await playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=list(QUIET), timeout=SECONDS * 1000
        )
        browser.set_default_timeout(SECONDS * 1000)
        try:
            yield browser
        finally:
            await browser.close()


async def opened(
    browser: BrowserContext, url: str, *, scheme: Literal["light", "dark"] = "light", width: int = 1440
) -> Tab:
    """Open a page in one of the two colour schemes, so wide; return it when it is loaded."""
    tab = Tab(await browser.new_page())
    tab.page.on("request", lambda request: tab.asked.append(request.url))
    tab.page.on("console", lambda message: tab.said.append(message.text))
    tab.page.on("pageerror", lambda error: tab.said.append(str(error)))
    tab.page.on("dialog", lambda dialog: tab.said.append(dialog.message))
    await tab.page.emulate_media(color_scheme=scheme)
    await tab.page.set_viewport_size({"width": width, "height": 900})
    await tab.page.goto(url)
    return tab
