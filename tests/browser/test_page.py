"""The pages in a real browser: readable in both themes and on a phone, and nothing that a cloud says does anything."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import pytest
from playwright.async_api import BrowserContext, Page

from tests.fakes.browser import Tab, chromium, opened
from tests.fakes.status_page import NIGHT, Place, night, served

pytestmark = pytest.mark.real

Scheme = Literal["light", "dark"]
SCHEMES: Final[tuple[Scheme, ...]] = ("light", "dark")
HOSTILE_JOB: Final = "job/../x?y=1#z 'q' \"r\" <b>"
PAGES: Final = ("/", f"/tasks/{quote(HOSTILE_JOB, safe='')}", "/tasks/unknown")
AA: Final = 4.5

# Each element with a text of its own: its words, and the contrast of its colour to what lies behind it.
CONTRASTS: Final = """
() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number)
  const light = colour => {
    const [r, g, b] = channels(colour).slice(0, 3).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const behind = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor
      if (channels(colour)[3] !== 0) return colour
    }
    return 'rgb(255, 255, 255)'
  }
  const texts = [...document.body.querySelectorAll('*')].filter(element =>
    [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()))
  return texts.map(element => {
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))]
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
    return [element.tagName + '.' + element.className + ': ' + element.textContent.slice(0, 40), ratio]
  })
}
"""
FOCUSED: Final = """
() => {
  const style = getComputedStyle(document.activeElement)
  const box = document.activeElement.getBoundingClientRect()
  return {tag: document.activeElement.tagName, width: parseFloat(style.outlineWidth), style: style.outlineStyle,
          left: box.left, href: document.activeElement.getAttribute('href')}
}
"""


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[BrowserContext]:
    async with chromium(tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    """A night with some of everything."""
    async with served(tmp_path, *NIGHT) as place:
        await night(place)
        yield place


async def each_view(browser: BrowserContext, place: Place) -> AsyncIterator[Tab]:
    """Open each page in each theme, wide and narrow."""
    for path in PAGES:
        for scheme in SCHEMES:
            for width in (1440, 360):
                tab = await opened(browser, place.url + path, scheme=scheme, width=width)
                yield tab
                await tab.page.close()


async def test_a_page_fits_any_width_and_asks_nobody_else(browser: BrowserContext, place: Place) -> None:
    async for tab in each_view(browser, place):
        overflow = await tab.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        # Of an unknown task the browser notes the status, and of a policy that was violated more than that.
        assert [said for said in tab.said if "404 (Not Found)" not in said] == []
        assert overflow <= 0, tab.page.url
        assert {urlsplit(url).netloc for url in tab.asked} == {urlsplit(place.url).netloc}
        assert len(tab.asked) <= 3


async def test_text_can_be_read_in_both_themes(browser: BrowserContext, place: Place) -> None:
    async for tab in each_view(browser, place):
        contrasts = await tab.page.evaluate(CONTRASTS)

        assert len(contrasts) > 5
        assert [found for found in contrasts if found[1] < AA] == []


async def test_the_themes_differ(browser: BrowserContext, place: Place) -> None:
    grounds = set()
    for scheme in SCHEMES:
        tab = await opened(browser, place.url, scheme=scheme)
        grounds.add(await tab.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == len(SCHEMES)


async def test_what_a_cloud_says_is_shown_as_it_was_said(browser: BrowserContext, place: Place) -> None:
    for path in PAGES[:2]:
        tab = await opened(browser, place.url + path)
        shown = await tab.page.inner_text("body")

        assert "<script>document.title='owned'</script>" in shown
        assert r"{{7*7}} \u202egnp.exe" in shown
        assert r"</td></table><img src=x onerror=alert(1)> \x1b[31mred" in shown
        assert "owned" not in (await tab.page.title()).removeprefix("<script>document.title='owned'</script>")
        assert await tab.page.locator("script, img, iframe, form").count() == 0
        assert tab.said == []


async def test_a_press_on_a_task_leads_to_its_page(browser: BrowserContext, place: Place) -> None:
    tab = await opened(browser, place.url)
    await tab.page.locator("#alerts td.wide a").first.click()

    assert HOSTILE_JOB in await tab.page.locator(".facts").inner_text()
    await tab.page.get_by_role("link", name="How everything stands").click()
    assert urlsplit(tab.page.url).path == "/"


@pytest.mark.parametrize("width", [1440, 360])
async def test_a_screen_reader_finds_its_way(width: int, browser: BrowserContext, place: Place) -> None:
    page = (await opened(browser, place.url, width=width)).page

    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert await page.get_by_role(landmark).count() == 1, landmark
    assert await page.get_by_role("heading", level=1).count() == 1
    headings = await page.get_by_role("heading", level=2).all_inner_texts()
    assert len(headings) == 6
    for heading in headings:
        assert await page.get_by_role("region", name=heading, exact=True).count() == 1, heading
    assert await page.locator("table > caption").count() == 6
    known = Counter(await roles(browser, page))
    rows = await page.locator("tr").count()
    cells = await page.locator("td").count()
    assert (known["table"], known["row"], known["cell"]) == (6, rows, cells), (
        "also where they look like cards"
    )
    assert known["columnheader"] == await page.locator("th").count()


async def roles(browser: BrowserContext, page: Page) -> list[str]:
    """Return the role of each node as the browser tells it to a screen reader."""
    session = await browser.new_cdp_session(page)
    tree = await session.send("Accessibility.getFullAXTree")
    return [node["role"]["value"] for node in tree["nodes"] if not node["ignored"]]


async def test_the_keyboard_shows_where_it_is(browser: BrowserContext, place: Place) -> None:
    page = (await opened(browser, place.url)).page
    seen: list[dict[str, Any]] = []
    for _ in range(6):
        await page.keyboard.press("Tab")
        seen.append(await page.evaluate(FOCUSED))

    assert seen[0]["href"] == "#main"
    assert all(one["tag"] == "A" for one in seen)
    assert all(one["width"] >= 2 and one["style"] != "none" and one["left"] >= 0 for one in seen)


async def test_one_press_marks_a_whole_command(browser: BrowserContext, place: Place) -> None:
    page = (await opened(browser, place.url + PAGES[1])).page
    command = page.locator("code.command", has_text="taskwatch ack")
    await command.click(click_count=1)

    assert await page.evaluate("getSelection().toString()") == await command.inner_text()


async def test_the_icon_shows_the_level(browser: BrowserContext, place: Place) -> None:
    tab = await opened(browser, place.url)
    icon = await tab.page.locator("link[rel=icon]").get_attribute("href")
    assert icon is not None
    assert icon.startswith("./static/critical.")

    shown = await opened(browser, f"{place.url}/{icon.removeprefix('./')}")
    assert await shown.page.evaluate("document.documentElement.tagName") == "svg"
    assert shown.said == []
