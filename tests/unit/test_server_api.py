"""The lists of the API: what they answer, what they refuse, and that paging loses and repeats nothing."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskwatch.engine.ports import ProjectState
from taskwatch.model.event import EventType
from taskwatch.model.task import FAILED, RUNNING, Instance
from taskwatch.server.cursor import Cursor
from taskwatch.store.desk import Desk
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import T0, a_known, a_project, a_task, at
from tests.fakes.config_files import CREDENTIALS, loaded
from tests.fakes.messages import HOSTILE
from tests.fakes.records import StillClock, a_record, an_event, routed
from tests.fakes.served import Answer, Seen, Served, section, served

CONFIGURATION: Final = f"""{CREDENTIALS}
projects:
  - {{name: prod, endpoint: "https://gauss.example", project_id: abc}}
  - {{name: test, endpoint: "https://gauss.example", project_id: def}}
receivers: [{{name: hook, type: hook, url: "https://hooks.example/c4n4ry"}}]
mute: [{{name: weekend, weekly: "Sat 00:00 - Mon 06:00", timezone: Europe/Berlin}}]
"""
PROD: Final = a_project("prod", host="gauss.example", project_id="abc")
TOKEN: Final = "t0ken-c4n4ry"
AUTHORIZED: Final = {"Authorization": f"Bearer {TOKEN}"}
LISTS: Final = ("projects", "tasks", "events", "deliveries", "alerts", "silences")


class Kept:
    """A store that tasks are added to, as polls do."""

    def __init__(self, store: SqliteStore, path: Path) -> None:
        self.store = store
        self.path = path
        self._number = 0

    async def add(self, created_at: Iterable[datetime | None], *, reason: str = "no space") -> list[str]:
        """Add tasks that failed, each with its event, its alert and its delivery; return their ids."""
        state: ProjectState = await self.store.enrol(PROD.identity, PROD.name)
        added, tasks, events = [], [], []
        for moment in created_at:
            self._number += 1
            job_id = f"job-{self._number % 7}-{self._number}"  # not in the order of letters
            instance = Instance(id="in-1", name=reason, status="normal")
            task = a_task(job_id, FAILED, created_at=moment, fail_reason=reason, instance=instance)
            tasks.append(a_known(task))
            event = an_event(
                f"tw_{job_id}", subject=job_id, type_=EventType.TASK_FAILED, summary=reason[:300]
            )
            events.append(routed(event, "hook"))
            added.append(job_id)
        await self.store.commit(a_record(state, tasks=tasks, events=events, baseline_at=T0))
        return added


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    store = open_store(tmp_path / "taskwatch.db", clock=StillClock(at(30)))
    yield Kept(store, tmp_path / "taskwatch.db")
    await store.close()


def seen(path: Path) -> Seen:
    return Seen(path=path, config=loaded(path.parent, CONFIGURATION))


@pytest.fixture
async def server(kept: Kept) -> AsyncIterator[Served]:
    await kept.add([at(1), at(2), None])
    async with served(section(token=TOKEN), seen=seen(kept.path), clock=StillClock(at(30))) as server:
        yield server


async def get(server: Served, path: str, **more: Any) -> Answer:
    return await server.ask(f"/api/v1/{path}", headers=AUTHORIZED, **more)


async def items(server: Served, path: str) -> list[dict[str, Any]]:
    answer = await get(server, path)
    assert answer.status == 200, answer
    return cast("list[dict[str, Any]]", json.loads(answer.body)["items"])


FILTERS: Final = {
    "tasks": 3,
    "tasks?status=failed": 3,
    "tasks?status=pending": 0,
    "tasks?status=Failed&project=test": 0,
    "tasks?name=Create*": 3,
    "tasks?instance=in-1": 3,
    "tasks?project=prod": 3,
    "tasks?project=test": 0,
    "tasks?since=1h": 3,
    "tasks?since=999999999d": 3,
    "tasks?since=2100-01-01": 0,
    "tasks?since=2100-01-01T00:00:00%2B02:00": 0,
    "tasks?since=0001-01-01T00:00:00%2B02:00": 3,
    "tasks?limit=2": 2,
    "events": 3,
    "events?type=task.failed": 3,
    "events?type=taskwatch.task.failed": 3,
    "events?type=task.started": 0,
    "alerts?project=prod&type=task.failed&instance=in-1": 3,
    "deliveries?receiver=hook&state=pending": 3,
    "deliveries?state=dead": 0,
    "projects": 2,
    "projects?project=prod": 1,
    "silences": 1,
    "silences?all=true": 1,
}


@pytest.mark.parametrize(("path", "count"), FILTERS.items())
async def test_a_list_takes_the_filters_of_its_command(server: Served, path: str, count: int) -> None:
    assert len(await items(server, path)) == count


REFUSED: Final = {
    "tasks?stauts=Failed": (400, "stauts: unknown parameter; did you mean status?"),
    "tasks?status=a&status=b": (400, "status: given more than once; write it once"),
    "tasks?status=": (400, "status: not 1 to 300 characters; write so many, or leave it out"),
    "tasks?limit=0": (400, "limit: not a whole number from 1 to 1000; write one in digits"),
    "tasks?limit=1001": (400, "limit: not a whole number from 1 to 1000; write one in digits"),
    "tasks?limit=1_0": (400, "limit: not a whole number from 1 to 1000; write one in digits"),
    "tasks?since=soon": (
        400,
        "since: neither a duration (30m, 24h, 7d) nor a time (2026-11-23, 2026-11-23T10:00:00Z)",
    ),
    "tasks?since=2100-01-01T00:00:00+02:00": (
        400,
        (
            "since: neither a duration (30m, 24h, 7d) nor a time (2026-11-23, 2026-11-23T10:00:00Z);"
            " a + in a query is written %2B"
        ),
    ),
    "tasks?status=Faild": (400, "status: no task on record has it; did you mean Failed?"),
    "tasks?status=frozen&project=prod": (
        400,
        "status: no task on record has it; known here: Pending, Running, Completed, Failed, Canceled",
    ),
    "tasks?project=pord": (404, "project: none of this name is known; did you mean prod?"),
    "deliveries?receiver=hok": (404, "receiver: none of this name is known; did you mean hook?"),
    "deliveries?state=daed": (400, "state: no delivery is in this state; did you mean dead?"),
    "events?type=task.faild": (400, "type: no event has this type; did you mean task.failed?"),
    "silences?all=yes": (400, "all: neither true nor false; write one of them"),
}


@pytest.mark.parametrize(("path", "refusal"), REFUSED.items())
async def test_what_a_request_gets_wrong_is_refused_with_what_to_write(
    server: Served, path: str, refusal: tuple[int, str]
) -> None:
    problem = (await get(server, path)).problem

    assert (problem["status"], problem["detail"]) == refusal


UNUSABLE: Final = (
    "x",
    "é",
    "====",
    "%00",
    Cursor("events", int).write(3),
    Cursor("tasks", int).write(3),
    Cursor("tasks", tuple[None, int, str]).write((None, 2**63, "x")),
)


@pytest.mark.parametrize("text", UNUSABLE)
async def test_a_cursor_that_is_none_of_this_list_is_refused(server: Served, text: str) -> None:
    problem = (await get(server, f"tasks?cursor={quote(text)}")).problem

    assert problem["status"] == 400
    assert problem["detail"].startswith("cursor: none of a page of tasks; write next of the page before")


@pytest.mark.parametrize("noun", LISTS)
async def test_a_head_is_answered_as_a_get_is_without_its_body(server: Served, noun: str) -> None:
    answer = await get(server, noun, method="HEAD")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len((await get(server, noun)).body)


async def test_an_event_is_given_as_it_was_told_byte_by_byte(kept: Kept) -> None:
    body = b'{"id":"tw_1",  "n": 1.50e2, "big":12345678901234567890123, "a":1,"a":2}'
    state = await kept.store.enrol(PROD.identity, PROD.name)
    await kept.store.commit(a_record(state, events=[routed(an_event(body=body), "hook")]))
    async with served(section(), seen=seen(kept.path)) as server:
        answer = await server.ask("/api/v1/events")

    assert answer.body == b'{"items": [%b], "next": null}' % body


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_hostile_text_comes_back_as_text_in_ascii(kept: Kept, text: str) -> None:
    await kept.add([at(1)], reason=text)
    async with served(section(), seen=seen(kept.path)) as server:
        for noun in ("tasks", "alerts"):
            answer = await server.ask(f"/api/v1/{noun}")

            assert answer.body.isascii()
            assert b"\x1b" not in answer.body
            assert json.loads(answer.body)["items"][0]["instance_name"] == text


async def test_no_secret_of_the_configuration_is_shown(server: Served) -> None:
    answers = [await get(server, noun) for noun in (*LISTS, "openapi.json")]

    assert not [answer for answer in answers if b"c4n4ry" in answer.body]


BODIES: Final = {
    "no JSON": (b"{", "application/json", 400, "the body is no JSON in UTF-8: "),
    "no UTF-8": (b'{"comment": "\xff"}', "application/json", 400, "the body is no JSON in UTF-8: "),
    "half of a pair": (
        b'{"comment": "\\ud800"}', "application/json", 400, "the body is no JSON in UTF-8: ",
    ),
    "deep": (b"[" * 9_999, "application/json", 400, "the body is no JSON in UTF-8: "),
    "another type": (b"comment=x", "application/x-www-form-urlencoded", 415, "a body is application/json;"),
    "no type": (b"{}", None, 415, "a body is application/json;"),
    "a list": (b"[]", "application/json", 422, "not an object; write {}"),
    "an unknown key": (b'{"coment": "x"}', "application/json", 422, "coment: unknown key; did you mean comment?"),
    "a number": (b'{"comment": 1}', "application/json", 422, "comment: not a text; write it in quotes"),
    "seconds": (b'{"for": 7200}', "application/json", 422, "for: not a duration; write a number and ms, s, m, h or d"),
    "too short": (b'{"for": "59s"}', "application/json", 422, "for: out of bounds; write 1m to 365d"),
    "too long": (b'{"comment": "%b"}' % (b"x" * 70_000), "application/json", 413, "a body has 65536 bytes at most"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "content_type", "status", "detail"), BODIES.values(), ids=BODIES)
async def test_a_body_that_is_wrong_is_refused_with_what_to_write(
    server: Served, body: bytes, content_type: str | None, status: int, detail: str
) -> None:
    headers = {**AUTHORIZED, "Content-Type": content_type}
    answer = await server.ask("/api/v1/tasks/job-1-1/ack", method="POST", headers=headers, body=body)

    assert (answer.status, answer.problem["detail"][: len(detail)]) == (status, detail)


SILENCES: Final = {
    "{}": "matchers: missing; write matchers, as ['project = \"prod\"']",
    '{"matchers": []}': "matchers: empty; write matchers, as ['project = \"prod\"']",
    '{"matchers": "x"}': "matchers: not a list; write matchers, as ['project = \"prod\"']",
    '{"matchers": [1]}': "matchers.0: not a text; write it in quotes",
    '{"matchers": ["x"], "for": "1h"}': "'x' is not a matcher; write for example",
    '{"matchers": ["type != \\"x\\""], "for": "1h"}': "these matchers match also an event of which nothing is",
    '{"matchers": ["type = x"]}': "for and ends_at say when it ends; write one of them",
    '{"matchers": ["type = x"], "for": "1h", "ends_at": "2100-01-01T00:00:00Z"}': "for and ends_at say when it ends",
    '{"matchers": ["type = x"], "for": "366d"}': "a silence lasts 365d at most",
    '{"matchers": ["type = x"], "for": "999999999d"}': "a silence lasts 365d at most",
    '{"matchers": ["type = x"], "for": "0s"}': "a silence that ends at 2026-11-23 10:30:00Z is over",
    '{"matchers": ["type = x"], "ends_at": "2026-11-24T10:00:00"}': "ends_at: not a time with its zone",
    '{"matchers": ["type = x"], "ends_at": 1795838372}': "ends_at: not a time with its zone",
}


@pytest.mark.parametrize(("body", "detail"), SILENCES.items())
async def test_a_silence_is_refused_by_the_rules_of_the_command(
    server: Served, body: str, detail: str
) -> None:
    headers = {**AUTHORIZED, "Content-Type": "application/json"}
    answer = await server.ask("/api/v1/silences", method="POST", headers=headers, body=body.encode())

    assert (answer.status, answer.problem["detail"][: len(detail)]) == (422, detail)


@pytest.mark.parametrize("number", ["0", "x", "9223372036854775808", "-1", "1.0"])
async def test_a_number_that_no_silence_can_have_is_refused(server: Served, number: str) -> None:
    answer = await server.ask(f"/api/v1/silences/{number}", method="DELETE", headers=AUTHORIZED)

    assert answer.problem["detail"] == (
        "id: not a whole number from 1 to 9223372036854775807; write one in digits"
    )


async def test_a_method_that_nothing_is_served_by_is_told_those_that_are(server: Served) -> None:
    answer = await server.ask("/api/v1/tasks", method="PUT")

    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.problem["detail"] == "not with this method; with GET, HEAD"


async def test_a_status_that_the_cloud_invented_is_no_typo(kept: Kept) -> None:
    state = await kept.store.enrol(PROD.identity, PROD.name)
    await kept.store.commit(a_record(state, tasks=[a_known(a_task("job-1", "Frozen"))], baseline_at=T0))
    async with served(section(), seen=seen(kept.path), clock=StillClock(at(30))) as server:
        for query, count in (("status=frozen", 1), ("status=Frozen&name=Backup*", 0)):
            answer = await server.ask(f"/api/v1/tasks?{query}")

            assert (answer.status, len(json.loads(answer.body)["items"])) == (200, count)


# Paging

KEYS: Final[dict[str, Callable[[dict[str, Any]], object]]] = {
    "tasks": lambda one: one["job_id"],
    "events": lambda one: one["id"],
    "deliveries": lambda one: one["event_id"],
    "alerts": lambda one: one["event_id"],
    "silences": lambda one: (one["silence"], one["mute"]),
    "projects": lambda one: (one["name"], one["host"]),
}
MOMENTS: Final = st.one_of(st.none(), st.integers(0, 3).map(at))
BATCHES: Final = st.lists(st.lists(MOMENTS, max_size=4), max_size=6)


async def paged(
    noun: str, first: list[datetime | None], later: list[list[datetime | None]], limit: int
) -> None:
    """Read all pages while more is added after each, and hold what was read against what there was."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "taskwatch.db"
        store = open_store(path, clock=StillClock(at(30)))
        kept = Kept(store, path)
        await kept.add(first)
        change(path, len(first))
        async with served(section(), seen=seen(path), clock=StillClock(at(30))) as server:
            there = [KEYS[noun](one) for one in await items(server, f"{noun}?limit=1000")]
            read, cursor, more = [], "", list(later)
            while True:
                answer = json.loads((await server.ask(f"/api/v1/{noun}?limit={limit}{cursor}")).body)
                assert len(answer["items"]) <= limit
                read += [KEYS[noun](one) for one in answer["items"]]
                assert len(read) < 200, "it never ends"
                if answer["next"] is None:
                    break
                cursor = f"&cursor={answer['next']}"
                batch = more.pop() if more else []
                await kept.add(batch)
                await touch(kept)
                change(path, len(batch))
        await store.close()
    assert len(set(read)) == len(read)
    assert [one for one in read if one in set(there)] == there


async def touch(kept: Kept) -> None:
    """Let a task that is known change: it keeps its place."""
    state = await kept.store.enrol(PROD.identity, PROD.name)
    for known in (await kept.store.known(state.key, ["job-1-1"])).values():
        changed = replace(known, task=replace(known.task, status=RUNNING), revision=known.revision + 1)
        await kept.store.commit(a_record(state, tasks=[changed]))


def change(path: Path, count: int) -> None:
    """Add so many silences."""
    with Desk(path, by="me") as desk:
        for _ in range(count):
            desk.silence(["type = x"], ends_at=at(60) + timedelta(days=1), comment=None, at=at(30))


@pytest.mark.parametrize("noun", ["tasks", "events", "deliveries", "alerts", "silences"])
@settings(max_examples=25, deadline=None)
@example(first=[at(1)] * 4 + [None] * 3, later=[[None, at(1)], [at(3), at(0)], [None]], limit=1)
@given(first=st.lists(MOMENTS, max_size=6), later=BATCHES, limit=st.integers(1, 3))
def test_what_is_there_when_paging_begins_is_read_exactly_once_whatever_is_added_meanwhile(
    noun: str, first: list[datetime | None], later: list[list[datetime | None]], limit: int
) -> None:
    asyncio.run(paged(noun, first, later, limit))


async def test_projects_are_paged_by_their_names(kept: Kept) -> None:
    for name in ("b", "prod", "a"):  # configured no more, one of them under the name of another
        identity = replace(PROD.identity, project_id=f"gone-{name}")
        await kept.store.enrol(identity, name)
    async with served(section(), seen=seen(kept.path)) as server:
        whole = await items(server, "projects")
        first = json.loads((await server.ask("/api/v1/projects?limit=2")).body)
        second = json.loads((await server.ask(f"/api/v1/projects?limit=9&cursor={first['next']}")).body)

    assert [one["name"] for one in whole] == ["a", "b", "prod", "prod", "test"]
    assert [one["state"] for one in whole if one["name"] == "prod"] == ["no baseline yet", "not configured"]
    assert (first["items"] + second["items"], second["next"]) == (whole, None)
