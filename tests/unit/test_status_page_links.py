"""With `server.external_url` what people and Alertmanager are told leads to the pages; without it nothing is added."""

import html
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from taskwatch.clock import SystemClock
from taskwatch.config.configuration import Config
from taskwatch.config.difference import differences, renamed_receivers
from taskwatch.config.load import load
from taskwatch.core.events import receiver_test_event
from taskwatch.core.letters import contents_of, letter_of, page_of
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.engine.letters import Letters, Sources
from taskwatch.model.delivery import Message
from taskwatch.model.event import EventType, Severity
from taskwatch.model.outage import Kind, Place
from taskwatch.notifiers.alertmanager import AlertmanagerNotifier, AlertmanagerOptions, open_notifier
from taskwatch.notifiers.registry import kinds
from tests.fakes.alert_book import AlertBookInMemory
from tests.fakes.alertmanager import FakeAlertmanager
from tests.fakes.builders import T0, a_project, quiet_log
from tests.fakes.mailroom import NoTemplates
from tests.fakes.messages import HOSTILE, a_message

URL: Final = "https://taskwatch.example/db"
TEXT: Final = """\
credentials: {{c: {{type: none}}}}
projects: [{{name: prod, endpoint: "https://gauss.example", project_id: abc}}]
receivers: [{{name: {name}, type: alertmanager, urls: ["http://am.example:9093"]}}, {{name: journal, type: log}}]
{more}
"""


def configured(directory: Path, *, name: str = "am", url: str | None = URL) -> Config:
    file = directory / "taskwatch.yaml"
    file.write_text(TEXT.format(name=name, more="" if url is None else f"server: {{external_url: {url}}}"))
    return load(file, kinds())


def of_a_project() -> Message:
    word = Word(
        type=EventType.PROJECT_DEGRADED,
        place=Place(Kind.PROJECT, "gaussdb/h/p"),
        projects=[a_project()],
        severity=Severity.WARNING,
        cause="network",
        error="no route",
        since=T0,
    )
    event = outage_event(word, sequence=1, at=T0)
    return Message(event_id=event.id, body=event.body)


def test_every_receiver_knows_the_page(tmp_path: Path) -> None:
    assert {one.status_page for one in configured(tmp_path, url=f"{URL}/").receivers} == {URL}
    assert {one.status_page for one in configured(tmp_path, url=None).receivers} == {None}


def test_another_address_of_the_page_is_a_change_of_the_server_and_reopens_receivers(tmp_path: Path) -> None:
    old, new = configured(tmp_path), configured(tmp_path, url="https://other.example")

    assert differences(old, new) == ("server: external_url changed",)
    assert [one == two for one, two in zip(old.receivers, new.receivers, strict=True)] == [False, False]


def test_a_receiver_is_known_under_its_new_name_though_the_page_moves_too(tmp_path: Path) -> None:
    old = configured(tmp_path)

    for url in (URL, "https://other.example", None):
        assert renamed_receivers(old, configured(tmp_path, name="alarms", url=url)) == {"am": "alarms"}


PAGES: Final = {
    "job-1": f"{URL}/tasks/job-1",
    "a/../b": f"{URL}/tasks/a%2F..%2Fb",
    "x?y#z &\"'<": f"{URL}/tasks/x%3Fy%23z%20%26%22%27%3C",
    HOSTILE["bidi"]: f"{URL}/tasks/abc%E2%80%AEfdp.exe%E2%81%A6%E2%80%8F%D8%9C",
}


@pytest.mark.parametrize("job_id", PAGES)
def test_a_letter_about_a_task_ends_with_its_page(job_id: str) -> None:
    contents = contents_of(a_message(job_id=job_id).body)
    letter, bare = letter_of(contents, status_page=URL), letter_of(contents)

    assert letter.text == f"{bare.text}\n{PAGES[job_id]}\n"
    assert bare.html is not None
    link = html.escape(PAGES[job_id])
    assert letter.html == f'{bare.html.removesuffix("</div>")}<p><a href="{link}">{link}</a></p></div>'
    assert "https:" not in bare.text + bare.html


def test_a_letter_about_no_task_ends_with_the_page_of_all() -> None:
    test = receiver_test_event("mail", at=T0, sample=True)
    for body in (of_a_project().body, test.body):
        assert letter_of(contents_of(body), status_page=URL).text.endswith(f"\n\n{URL}/\n")


async def test_letters_are_written_with_the_link() -> None:
    for page, expected in ((URL, f"\n{URL}/tasks/job-1\n"), (None, "")):
        letters = Letters(
            receiver="mail", sources=Sources(), renderer=NoTemplates(), log=quiet_log(), status_page=page
        )
        letter = await letters.write(contents_of(a_message().body))
        assert letter.text.endswith(expected)
        assert ("https:" in letter.text) == (page is not None)


@pytest.fixture
async def server() -> AsyncIterator[FakeAlertmanager]:
    async with FakeAlertmanager() as server:
        yield server


async def posted(server: FakeAlertmanager, message: Message, page: str | None) -> dict[str, str]:
    options = AlertmanagerOptions.model_validate(
        {"name": "am", "type": "alertmanager", "urls": [server.url]}
    ).linked_to(page)
    book = AlertBookInMemory()
    notifier: AlertmanagerNotifier = open_notifier(options, clock=SystemClock(), log=quiet_log(), alerts=book)
    try:
        await notifier.notify(book.open(message))
    finally:
        await notifier.close()
    alert: dict[str, str] = server.alerts[-1]
    return alert


async def test_alertmanager_is_told_where_people_find_more(server: FakeAlertmanager) -> None:
    test = receiver_test_event("am", at=T0)
    told = {
        f"{URL}/tasks/a%2Fb": a_message(job_id="a/b"),
        f"{URL}/": of_a_project(),
    }
    for expected, message in told.items():
        assert (await posted(server, message, URL))["generatorURL"] == expected
        assert "generatorURL" not in await posted(server, message, None)
    trial = await posted(server, Message(event_id=test.id, body=test.body), URL)
    assert trial["generatorURL"] == f"{URL}/"


def test_the_page_of_a_task_is_where_the_server_serves_it() -> None:
    event = json.loads(a_message(job_id="job-1").body)

    assert page_of(event, URL).removeprefix(URL) == "/tasks/job-1"
