"""The pages: what they say in which situation, that they are bounded, and that no text of a cloud is anything but text."""

import re
import subprocess
import sys
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest

from taskwatch.errors import CloudCause
from taskwatch.model.delivery import Dead, Reason
from taskwatch.model.task import COMPLETED, FAILED, RUNNING, Instance, Task
from taskwatch.server.overview import ROWS
from tests.fakes.builders import a_task
from tests.fakes.messages import HOSTILE
from tests.fakes.status_page import NIGHT, Page, night, served

GIVEN_UP: Final = Dead(reason=Reason.REJECTED, detail="422", why="poison", poisoned=10, tried_seconds=1.0)
ELEMENTS: Final = frozenset(
    ("html", "head", "meta", "title", "link", "body", "a", "header", "div", "p", "time", "main", "section", "svg", "path",
     "circle", "h1", "h2", "nav", "ul", "li", "span", "table", "caption", "thead", "tbody", "tr", "th", "td", "code",
     "progress", "footer", "b", "dl", "dt", "dd")
)  # fmt: skip
VOID: Final = frozenset({"meta", "link"})


class Document(HTMLParser):
    """A page as a browser sees it: its elements, their attributes, and its text. Fails where tags are not closed."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page.text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def heading(page: Page) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", page.text, re.DOTALL)
    assert found is not None
    return unescape(found[1])


async def test_peace_is_said_in_one_sentence(tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        await place.read("prod")
        page = await place.get("/")

    assert page.status == 200
    assert heading(page) == "The one project is watched and nothing needs attention."
    assert "<title>All well: " in page.text
    shown = Document(page)
    for sentence in ("No alert is open.", "No task is running.", "Nothing has been recorded yet.", "No delivery was given up."):  # fmt: skip
        assert sentence in shown.text
    assert {"http-equiv": "refresh", "content": "30"} in shown.all("meta")


async def test_a_store_in_which_nothing_is_yet_says_so(tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        page = await place.get("/")

    assert heading(page) == "Project prod has not been read yet."
    assert "not read yet" in Document(page).text


async def test_without_a_store_the_page_says_in_words_that_it_waits(tmp_path: Path) -> None:
    async with served(tmp_path, "prod", is_open=False) as place:
        for path in ("/", "/tasks/job-1"):
            page = await place.get(path)

            assert (page.status, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
            assert page.headers["Retry-After"] == "5"
            assert heading(page) == "There is nothing to show now."
            assert "The daemon has no open store now" in Document(page).text


async def test_the_night_stands_on_the_page(tmp_path: Path) -> None:
    async with served(tmp_path, *NIGHT) as place:
        await night(place)
        shown = Document(page := await place.get("/"))

    assert heading(page) == (
        "3 of 5 projects are not read as they should be, 3 alerts are open (somebody has 1), 2 of 3 receivers take"
        " nothing, 2 deliveries are dead."
    )
    for said in (
        "cannot be read", "answered 401", "not read for too long", "10 min ago", "45 min ago", "hooks.example answered 503",
        "taskwatch receiver test mail-gateway", "growing the volume", "ida", "as it was",
        "taskwatch deliveries replay --receiver pipeline",
    ):  # fmt: skip
        assert said in shown.text
    assert [one["value"] for one in shown.all("progress")] == ["55", "8", "70"]
    for tag, role in (("table", "table"), ("tr", "row"), ("td", "cell"), ("th", "columnheader")):
        assert {one["role"] for one in shown.all(tag)} == {role}, (
            "browsers forget it of what looks like a card"
        )


async def test_what_nobody_has_stands_before_what_somebody_has(tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        for number in range(3):
            await place.record("prod", a_task(f"job-{number}", FAILED))
        place.acknowledge("job-2", comment="mine")
        page = await place.get("/")

    alerts = page.text[page.text.index('id="alerts"') : page.text.index('id="projects"')]
    assert re.findall(r"<code>(job-\d)</code>", alerts) == ["job-1", "job-0", "job-2"]


async def test_each_table_is_bounded_and_says_how_many_more_there_are(tmp_path: Path) -> None:
    async with served(tmp_path, "prod", receivers=("journal",)) as place:
        failed = [a_task(f"bad-{number:03}", FAILED) for number in range(ROWS + 5)]
        running = [a_task(f"going-{number:03}", RUNNING, progress=5) for number in range(ROWS + 1)]
        ids = await place.record("prod", *failed, *running, to=("journal",))
        for event_id in ids[: ROWS + 2]:
            await place.settle(event_id, GIVEN_UP, "journal")
        shown = Document(await place.get("/"))

    for said in (
        f"Shown are {ROWS} of {ROWS + 5}. All alerts: taskwatch alerts",
        f"Shown are {ROWS} of {ROWS + 1}. All running tasks: taskwatch tasks --status Running",
        f"Shown are the latest {ROWS}. All events: taskwatch events",
        f"Shown are {ROWS} of {ROWS + 2}. All dead deliveries: taskwatch deliveries --state dead",
    ):
        assert said in shown.text
    assert len(shown.all("tr")) == 4 * (1 + ROWS) + 2 * (1 + 1)  # with the headings


async def test_the_page_of_a_task_tells_all_of_it(tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        await place.record("prod", a_task("job-1", RUNNING, progress=40))
        (failed,) = await place.record("prod", a_task("job-1", FAILED, fail_reason="no space"))
        await place.settle(failed, GIVEN_UP, "pipeline")
        shown = Document(await place.get("/tasks/job-1"))
        place.acknowledge("job-1", comment="mine")
        acknowledged = Document(await place.get("/tasks/job-1"))

    for said in (
        "CreateGaussDBV5Instance of db-1", "no space", "task.started", "task.failed", "journal: pending", "pipeline: dead",
        "nobody has it", "taskwatch ack job-1", "taskwatch resolve job-1", f"taskwatch explain {failed}",
    ):  # fmt: skip
        assert said in shown.text
    assert "ida (uid 1000 at db-watch-1) has it: “mine”" in acknowledged.text


async def test_a_running_task_can_be_waited_for_and_has_no_alert(tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        await place.record("prod", a_task("job-1", RUNNING, progress=40))
        shown = Document(await place.get("/tasks/job-1"))

    assert "taskwatch wait job-1" in shown.text
    assert "taskwatch ack" not in shown.text
    assert "No alert was opened by its events." in shown.text


async def test_a_task_that_was_there_before_has_a_page_without_events(tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        await place.read("prod", a_task("job-1", COMPLETED))
        shown = Document(await place.get("/tasks/job-1"))

    assert "it was there before taskwatch looked first" in shown.text


async def test_an_id_that_nobody_knows_is_a_page_that_says_so(tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        page = await place.get("/tasks/" + quote("<b>\x1b[31m\u202e", safe=""))

    assert (page.status, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert heading(page) == "There is no such task."
    assert r"No task <b>\x1b[31m\u202e is on record" in Document(page).text


IDS: Final = ("a/b", "../../x", "a%2Fb", "?q=1#f", "'\"><b>", "%", "é ü", "{{7*7}}", "-x", "$(touch x)")


@pytest.mark.parametrize("job_id", IDS)
async def test_the_link_to_a_task_leads_to_it_whatever_its_id(job_id: str, tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        await place.record("prod", a_task(job_id, FAILED))
        links = {one["href"] for one in Document(await place.get("/")).all("a")}
        (link,) = [link for link in links if link is not None and link.startswith("./tasks/")]
        page = await place.get(link.removeprefix("."))

    assert page.status == 200
    assert job_id in Document(page).text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_text_in_every_field_is_text_on_every_page(text: str, tmp_path: Path) -> None:
    def hostile(status: str, number: int) -> Task:
        return a_task(
            f"{number}{text}"[:120], status, name=text, fail_reason=text, progress=7,
            instance=Instance(id=text, name=text, status=text),
        )  # fmt: skip

    async with served(tmp_path, "prod") as place:
        (event_id,) = await place.record("prod", hostile(FAILED, 1))
        await place.record("prod", hostile(RUNNING, 2), hostile(text[:50], 3))
        detail = Dead(reason=Reason.REJECTED, detail=text, why="poison", poisoned=10, tried_seconds=1.0)
        await place.settle(event_id, detail, "pipeline")
        place.acknowledge(f"1{text}"[:120], comment=text, by=text)
        place.trouble("prod", CloudCause.NETWORK, text)
        place.fail("pipeline", text)
        pages = [await place.get("/"), await place.get("/tasks/" + quote(f"1{text}"[:120], safe=""))]

    for page in pages:
        assert page.status == 200
        assert all(line.isprintable() for line in page.text.split("\n"))
        assert {tag for tag, _ in Document(page).elements} <= ELEMENTS
        assert len(page.text) < 100_000, "what is long is cut"
    if "{{" in text:
        for page in pages:
            assert "<script>alert(1)</script> {{7*7}}" in Document(page).text


async def test_a_page_asks_for_nothing_but_its_style_and_its_icon(tmp_path: Path) -> None:
    async with served(tmp_path, *NIGHT) as place:
        await night(place)
        for path, root in (("/", "./"), ("/tasks/03bc055a-135c-4245-8bd8-b0bc6d3350b3", "../")):
            page = await place.get(path)
            shown = Document(page)
            asked = [str(one["href"]) for one in shown.all("link")]

            assert all(
                re.fullmatch(rf"{re.escape(root)}static/\w+\.[0-9a-f]{{12}}\.(css|svg)", one) for one in asked
            )
            assert not any(
                "style" in one or any(name.startswith("on") for name in one) for _, one in shown.elements
            )
            assert not re.search(r"<(script|style|iframe|img|form|object)", page.text)
            policy = page.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy


async def test_what_pages_ask_for_is_kept_by_browsers_until_it_changes(tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        for link in Document(await place.get("/")).all("link"):
            found = await place.get(str(link["href"]).removeprefix("."))

            assert found.status == 200
            assert found.headers["Cache-Control"] == "private, max-age=31536000, immutable"
            assert found.headers["Content-Type"].split(";")[0] in ("text/css", "image/svg+xml")


STRANGE: Final = (
    "/static/", "/static/page.css", "/static/..%2Fpage.py", "/static/%2e%2e%2fpage.py", "/static/../page.py",
    "/static/%2Fetc%2Fpasswd", "/static/page.000000000000.css",
)  # fmt: skip


@pytest.mark.parametrize("path", STRANGE)
async def test_nothing_else_is_served_from_there(path: str, tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        page = await place.get(path)

    assert (page.status, page.headers["Content-Type"]) == (404, "application/problem+json")


async def test_a_project_that_is_configured_no_more_raises_no_alarm(tmp_path: Path) -> None:
    async with served(tmp_path, "prod", "former") as place:
        await place.read("former", a_task("job-1", RUNNING, progress=3), seconds_ago=90_000)
    async with served(tmp_path, "prod") as place:
        await place.read("prod")
        shown = Document(page := await place.get("/"))

    assert heading(page) == "The one project is watched and nothing needs attention."
    assert "not watched any more" in shown.text
    assert "as it was 1 d ago" in shown.text


def test_templates_are_no_burden_before_a_page_is_asked_for() -> None:
    said = "import sys, taskwatch.server.application; print('jinja2' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, check=True, timeout=30
    )

    assert ended.stdout == "False\n"


async def test_times_are_told_as_ages_and_exactly(tmp_path: Path) -> None:
    async with served(tmp_path, "prod") as place:
        await place.read("prod", seconds_ago=125)
        times = Document(await place.get("/")).all("time")
        read_at = place.now - timedelta(seconds=125)

    assert {"datetime": read_at.isoformat(), "title": f"{read_at:%Y-%m-%d %H:%M:%S} UTC"} in times
