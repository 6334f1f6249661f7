"""The client against a real server on loopback that behaves as documented, and as it should not."""

import asyncio
import gzip
import json
import random
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from taskwatch.clock import SystemClock
from taskwatch.cloud import reading
from taskwatch.cloud.auth.login import Login, NoLogin
from taskwatch.cloud.auth.token import TokenLogin
from taskwatch.cloud.caller import Caller
from taskwatch.cloud.client import TasksClient
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.paging import Numbering
from taskwatch.cloud.transport import Transport, open_session
from taskwatch.core.since import Since
from taskwatch.engine.ports import Ask, OpenTask, TaskSource
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.project import Check, Digests, Listing
from taskwatch.secret import Kept, Secret
from tests.fakes.builders import quiet_log
from tests.fakes.tasks_endpoint import (
    Fault,
    TasksEndpoint,
    compressed,
    cut,
    cut_unnoticed,
    drip,
    endless,
    gzip_bomb,
    raw,
    reset,
    row,
    rows,
    silence,
    status,
)

CANARY = "MIIcanary/0123456789+=="
PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"


class _Clock(SystemClock):
    """Time that the test moves; starts at rest."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as opened:
        yield opened


def _client(
    session: aiohttp.ClientSession,
    url: str,
    *,
    login: Login | None = None,
    limiter: Limiter | None = None,
    timeout: float = 20.0,
    project_id: str = PROJECT,
    numbering: Numbering = Numbering.AUTO,
) -> TasksClient:
    caller = Caller(
        transport=Transport(session=session),
        endpoint=url,
        login=login or NoLogin(),
        limiter=limiter or Limiter(1e6, SystemClock(), quiet_log()),
    )
    return TasksClient(
        caller=caller, endpoint=url, project_id=project_id, timeout=timeout, numbering=numbering
    )


def _told(listing: Listing) -> set[tuple[str, str]]:
    return {(task.job_id, task.status) for task in listing.changed}


async def _refused(client: TaskSource, known: Digests | None = None) -> CloudError:
    with pytest.raises(CloudError) as refused:
        await client.fetch(Ask(known=known))
    return refused.value


# -- what is asked, and how


async def test_the_request_is_the_documented_one(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    await _client(session, cloud.url + "/", login=TokenLogin(Secret.text(CANARY))).fetch(Ask())
    (asked,) = cloud.requests
    assert asked.path == f"/v3/{PROJECT}/tasks"
    assert asked.query == {"offset": "0", "limit": "100"}
    assert asked.headers["X-Auth-Token"] == CANARY
    assert asked.headers["Accept-Encoding"] == "identity"
    assert asked.headers["User-Agent"].startswith("taskwatch/")


async def test_polls_share_one_connection(session: aiohttp.ClientSession, cloud: TasksEndpoint) -> None:
    client = _client(session, cloud.url)
    for _ in range(20):
        await client.fetch(Ask())
    assert len(cloud.peers) == 1


async def test_no_cookie_is_kept(session: aiohttp.ClientSession, cloud: TasksEndpoint) -> None:
    cloud.script(status(200, {"tasks": []}, {"Set-Cookie": "a=b"}))
    client = _client(session, cloud.url)
    await client.fetch(Ask())
    await client.fetch(Ask())
    assert "Cookie" not in cloud.requests[1].headers


async def test_a_project_id_cannot_leave_its_place_in_the_path(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    client = _client(session, cloud.url, project_id="../x?y=1#z")
    await client.fetch(Ask())
    assert cloud.requests[0].path == "/v3/../x?y=1#z/tasks"
    assert cloud.requests[0].query == {"offset": "0", "limit": "100"}


# -- lists of every length, and pages


@pytest.mark.parametrize(
    ("count", "offsets"), [(0, [0]), (1, [0]), (99, [0]), (100, [0, 90]), (101, [0, 90]), (250, [0, 90, 180])]
)
async def test_a_list_of_any_length_is_read_whole(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, count: int, offsets: list[int]
) -> None:
    cloud.rows = rows(count)
    listing = await _client(session, cloud.url).fetch(Ask())
    assert (listing.rows, listing.complete, listing.clean) == (count, True, True)
    assert _told(listing) == cloud.served
    assert len(listing.changed) == count
    assert [int(asked.query["offset"]) for asked in cloud.requests] == offsets
    assert (listing.pages, listing.requests) == (len(offsets), len(offsets))


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
async def test_an_unchanged_list_says_so(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, count: int
) -> None:
    cloud.rows = rows(count)
    client = _client(session, cloud.url)
    first = await client.fetch(Ask())
    second = await client.fetch(Ask(known=first.digests))
    assert (second.changed, second.rows, second.complete, second.clean) == ((), count, True, True)
    assert second.digests is first.digests
    assert second.pages == first.pages


@pytest.mark.parametrize("place", [0, 89, 90, 99, 100, 249])
async def test_one_change_among_250_is_the_one_that_is_told(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, place: int
) -> None:
    cloud.rows = rows(250, status="Running")
    client = _client(session, cloud.url)
    known = (await client.fetch(Ask())).digests
    cloud.rows[place]["status"] = "Failed"
    assert _told(await client.fetch(Ask(known=known))) == {(f"job-{place:04d}", "Failed")}


@pytest.mark.parametrize("seed", range(5))
async def test_the_order_of_rows_means_nothing(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, seed: int
) -> None:
    cloud.rows = rows(80)
    client = _client(session, cloud.url)
    known = (await client.fetch(Ask())).digests
    cloud.shuffle = random.Random(seed)
    listing = await client.fetch(Ask(known=known))
    assert (listing.changed, listing.complete) == ((), True)


@pytest.mark.parametrize("total", [0, 1, 99999, "250", "many", None])
async def test_a_wrong_total_loses_nothing(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, total: object
) -> None:
    cloud.rows, cloud.listed.total = rows(250), total
    listing = await _client(session, cloud.url).fetch(Ask())
    assert (listing.rows, listing.complete) == (250, True)


async def test_tasks_that_begin_while_pages_are_read_do_not_hide_others(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(250)
    cloud.before = lambda number: cloud.rows.insert(0, row(f"new-{number}", status="Running"))
    listing = await _client(session, cloud.url).fetch(Ask())
    assert listing.complete
    assert {f"job-{number:04d}" for number in range(250)} <= {task.job_id for task in listing.changed}


async def test_a_few_records_deleted_while_pages_are_read_hide_no_others(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(250)
    cloud.before = lambda number: cloud.rows.__delitem__(slice(0, 4 if number > 1 else 0))
    listing = await _client(session, cloud.url).fetch(Ask())
    assert (listing.complete, listing.rows) == (True, 250)


async def test_many_records_deleted_while_pages_are_read_are_noticed(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(250)
    cloud.before = lambda number: cloud.rows.__delitem__(slice(0, 20 if number == 2 else 0))
    listing = await _client(session, cloud.url).fetch(Ask())
    assert (listing.complete, listing.digests) == (False, None)
    assert "do not join" in str(listing.failure)
    assert _told(listing) <= cloud.served


async def test_a_task_that_changes_between_two_pages_is_told_with_both_readings(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(150, status="Running")

    def end_one(number: int) -> None:
        if number == 2:
            cloud.rows[95]["status"] = "Completed"

    cloud.before = end_one
    listing = await _client(session, cloud.url).fetch(Ask())
    readings = [task.status for task in listing.changed if task.job_id == "job-0095"]
    assert (readings, listing.complete, listing.digests) == (["Running", "Completed"], True, None)


@pytest.mark.parametrize(
    ("numbering", "offsets"),
    [("page0", [0, 90, 1, 2, 0]), ("page1", [0, 90, 1, 2, 3, 1]), ("record", [0, 90, 180])],
)
async def test_a_service_that_counts_pages_is_found_out_and_read_whole(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, numbering: str, offsets: list[int]
) -> None:
    cloud.rows, cloud.listed.numbering = rows(250), numbering
    client = _client(session, cloud.url)
    first = await client.fetch(Ask())
    assert (first.complete, first.rows) == (True, 250)
    assert [int(asked.query["offset"]) for asked in cloud.requests] == offsets
    second = await client.fetch(Ask(known=first.digests))
    assert (second.changed, second.complete, second.requests) == ((), True, 3 if numbering == "record" else 4)


@pytest.mark.parametrize("numbering", list(Numbering)[1:])
async def test_a_service_that_counts_as_is_configured_is_asked_nothing_else(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, numbering: Numbering
) -> None:
    cloud.rows, cloud.listed.numbering = rows(250), numbering.value
    client = _client(session, cloud.url, numbering=numbering)
    assert (await client.fetch(Ask())).complete
    offsets = {"record": [0, 90, 180], "page0": [0, 1, 2, 0], "page1": [1, 2, 3, 1]}[numbering]
    assert [int(asked.query["offset"]) for asked in cloud.requests] == offsets


async def test_a_page_0_that_is_refused_is_page_1(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows, cloud.listed.numbering, cloud.listed.refuses_page_0 = rows(3), "page1", True
    assert (await _client(session, cloud.url).fetch(Ask())).rows == 3


async def test_a_bad_request_is_told_as_it_was_first(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.always = status(400, {"error_code": "DBS.200001", "error_msg": "no such project"})
    assert (await _refused(_client(session, cloud.url))).error_code == "DBS.200001"


# -- what may have changed since


SINCE = Since(start=datetime(2026, 8, 5, 9, tzinfo=UTC), until=datetime(2026, 8, 7, tzinfo=UTC))
LONG_AGO = datetime(2026, 7, 20, 8, 15, 7, tzinfo=UTC)


def _as_of(cloud: TasksEndpoint) -> None:
    """A list of the month, of which a few tasks are new, run, or began long ago and wait."""
    cloud.rows = [
        *rows(250),
        row("new", created_at="2026-08-05T09:30:00+0000"),
        row("going", status="Running", created_at="2026-07-09T10:00:00+0000"),
        row("waits", status="Pending", created_at="2026-07-20T08:15:07+0000"),
    ]


async def test_an_incremental_poll_asks_for_what_began_since_and_for_what_runs(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    _as_of(cloud)
    listing = await _client(session, cloud.url).fetch(Ask(since=SINCE))
    assert _told(listing) == {("new", "Completed"), ("going", "Running")}
    assert (listing.full, listing.complete, listing.missing) == (False, True, frozenset())
    assert [dict(asked.query) for asked in cloud.requests] == [
        {"start_time": "1785920400000", "end_time": "1786060800000", "offset": "0", "limit": "100"},
        {"status": "Running", "offset": "0", "limit": "100"},
    ]


async def test_an_open_task_in_neither_list_is_looked_for_among_those_of_its_second_then_by_its_id(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    _as_of(cloud)
    lost = row("a/b&c", status="Pending", created_at="soon", process="60")
    cloud.rows.append(lost)
    asked_for = (
        OpenTask("waits", LONG_AGO),
        OpenTask("a/b&c", LONG_AGO),
        OpenTask("going", LONG_AGO),
        OpenTask("gone", None),
    )
    listing = await _client(session, cloud.url).fetch(Ask(since=SINCE, open_tasks=asked_for))
    assert _told(listing) == {
        ("new", "Completed"),
        ("going", "Running"),
        ("waits", "Pending"),
        ("a/b&c", "Pending"),
    }
    assert next(task.progress for task in listing.changed if task.job_id == "a/b&c") == 60
    assert listing.missing == {"gone"}
    assert listing.complete
    window = {"start_time": "1784535306000", "end_time": "1784535308000", "offset": "0", "limit": "100"}
    assert [dict(asked.query) for asked in cloud.requests[2:]] == [
        window,
        window,
        {"id": "a/b&c"},
        {"id": "gone"},
    ]


@pytest.mark.parametrize(
    "fault",
    [status(200, "<html>"), status(200, {"tasks": []}), status(404), status(400, {"error_code": "x"})],
)
async def test_no_usable_answer_about_a_single_task_is_no_evidence(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, fault: Fault
) -> None:
    _as_of(cloud)
    cloud.script(None, None, fault)
    listing = await _client(session, cloud.url).fetch(Ask(since=SINCE, open_tasks=(OpenTask("gone", None),)))
    assert (listing.complete, set(listing.missing), listing.rows) == (True, {"gone"}, 2)


async def test_a_task_that_is_missing_is_missing_again_when_the_same_bytes_come(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    _as_of(cloud)
    client = _client(session, cloud.url)
    ask = Ask(since=SINCE, open_tasks=(OpenTask("gone", None),))
    for _ in range(3):
        listing = await client.fetch(ask)
        assert set(listing.missing) == {"gone"}
        ask = replace(ask, known=listing.digests)


async def test_trouble_with_the_answer_about_a_single_task_leaves_the_poll_incomplete(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    _as_of(cloud)
    cloud.script(None, None, status(503))
    listing = await _client(session, cloud.url).fetch(Ask(since=SINCE, open_tasks=(OpenTask("gone", None),)))
    assert (listing.complete, listing.rows) == (False, 2)


async def test_an_unchanged_incremental_poll_says_so_and_is_not_decoded(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    _as_of(cloud)
    client = _client(session, cloud.url)
    ask = Ask(since=SINCE, open_tasks=(OpenTask("waits", LONG_AGO),))
    first = await client.fetch(ask)
    monkeypatch.delattr(reading, "decode_page")
    second = await client.fetch(replace(ask, known=first.digests))
    assert (second.changed, second.full, second.complete, second.requests) == ((), False, True, 3)
    assert second.digests is first.digests


async def test_digests_of_the_whole_list_are_none_of_an_incremental_poll(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    _as_of(cloud)
    client = _client(session, cloud.url)
    whole = await client.fetch(Ask())
    listing = await client.fetch(Ask(since=SINCE, known=whole.digests))
    assert (listing.full, listing.rows) == (False, 2)
    assert cloud.requests[-1].query["status"] == "Running"


@pytest.mark.parametrize("number", [1, 2])
async def test_a_list_of_an_incremental_poll_that_fails_leaves_what_the_other_said(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, number: int
) -> None:
    _as_of(cloud)
    cloud.script(*[None] * (number - 1), status(503))
    client = _client(session, cloud.url)
    if number == 1:
        with pytest.raises(CloudError):
            await client.fetch(Ask(since=SINCE))
        return
    listing = await client.fetch(Ask(since=SINCE))
    assert (_told(listing), listing.complete) == ({("new", "Completed")}, False)


@pytest.mark.parametrize(
    "service", [{"window": "ignored"}, {"window": "refused"}, {"filters_status": False}], ids=str
)
async def test_an_incremental_poll_whose_filters_do_not_filter_turns_into_one_of_the_whole_list(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, service: dict[str, Any]
) -> None:
    _as_of(cloud)
    vars(cloud.listed).update(service)
    listing = await _client(session, cloud.url).fetch(Ask(since=SINCE))
    assert (listing.full, listing.complete, listing.rows) == (True, True, 253)
    assert listing.check is Check.DISAGREES


async def test_a_check_that_fails_takes_nothing_from_the_whole_list(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(250)
    cloud.script(None, None, None, status(503))
    listing = await _client(session, cloud.url).fetch(Ask(checks=True))
    assert (listing.complete, listing.failure, listing.check, listing.rows) == (True, None, None, 250)
    assert listing.digests is not None


async def test_a_check_that_comes_to_no_end_in_time_takes_nothing_from_the_whole_list(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(250)
    cloud.script(None, None, None, silence())
    listing = await _client(session, cloud.url, timeout=0.5).fetch(Ask(checks=True))
    assert (listing.complete, listing.failure, listing.check) == (True, None, None)


async def test_the_date_of_the_cloud_is_read(session: aiohttp.ClientSession, cloud: TasksEndpoint) -> None:
    cloud.date = "Wed, 05 Aug 2026 10:00:00 GMT"
    client = _client(session, cloud.url)
    first = await client.fetch(Ask())
    assert first.cloud_date == datetime(2026, 8, 5, 10, tzinfo=UTC)
    cloud.date = "yesterday"
    assert (await client.fetch(Ask(known=first.digests))).cloud_date is None


async def test_of_several_pages_the_date_is_that_of_the_first(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    # What ends while the later pages are read may be on none of them: the line must not lie after it.
    def tick(number: int) -> None:
        cloud.date = f"Wed, 05 Aug 2026 10:00:{number:02d} GMT"

    cloud.rows, cloud.before = rows(250), tick
    listing = await _client(session, cloud.url).fetch(Ask())
    assert listing.requests == 3
    assert listing.cloud_date == datetime(2026, 8, 5, 10, 0, 1, tzinfo=UTC)


async def test_waiting_for_its_turn_is_not_the_clouds_time(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(3)
    limiter = Limiter(2, SystemClock(), quiet_log())
    for _ in range(2):
        await limiter.acquire()  # the burst; the next turn comes in half a second
    listing = await _client(session, cloud.url, limiter=limiter, timeout=0.35).fetch(Ask())
    assert (listing.rows, listing.complete) == (3, True)


async def test_a_later_page_goes_before_a_project_that_waits(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(250)
    limiter = Limiter(10, SystemClock(), quiet_log())
    for _ in range(9):
        await limiter.acquire()
    long = asyncio.create_task(_client(session, cloud.url, limiter=limiter).fetch(Ask()))
    await asyncio.sleep(0)
    others = [asyncio.create_task(limiter.acquire()) for _ in range(10)]
    listing = await long
    assert (listing.requests, listing.complete) == (3, True)
    assert not all(turn.done() for turn in others)
    for turn in others:
        turn.cancel()
    await asyncio.gather(*others, return_exceptions=True)


# -- faults: a failed page says nothing


async def test_a_body_cut_at_any_byte_is_an_error(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = [row("a", status="Running"), row("b", status="Failed", fail_reason="no 😀")]
    client = _client(session, cloud.url)
    length = len(json.dumps({"tasks": cloud.rows, "total_count": 2}))
    for at in range(length):
        cloud.script(cut(at=at))
        assert (await _refused(client)).cause in {CloudCause.NETWORK, CloudCause.BAD_ANSWER}
    assert len(cloud.requests) >= length


async def test_a_body_cut_where_http_cannot_tell_is_an_error_too(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = [row("a", status="Running"), row("b", status="Failed")]
    client = _client(session, cloud.url)
    length = len(json.dumps({"tasks": cloud.rows, "total_count": 2}))
    for at in range(length):
        cloud.script(cut_unnoticed(at=at))
        assert (await _refused(client)).cause is CloudCause.BAD_ANSWER
    cloud.script(cut_unnoticed(at=length))
    assert len((await client.fetch(Ask())).changed) == 2


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (
            raw(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + b'{"tasks":[]}' + b"more"),
            CloudCause.BAD_ANSWER,
        ),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + b'{"tasks":[]}'), CloudCause.BAD_ANSWER),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{'tas"), CloudCause.NETWORK),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), CloudCause.BAD_ANSWER),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"), CloudCause.BAD_ANSWER),
        (status(200, ""), CloudCause.BAD_ANSWER),
        (status(200, "<html>maintenance</html>"), CloudCause.BAD_ANSWER),
        (status(200, {"tasks": None}), CloudCause.BAD_ANSWER),
        (status(200, {"error_code": "DBS.108000", "error_msg": "Server failure."}), CloudCause.BAD_ANSWER),
        (status(200, b'{"tasks": ' + b"[" * 100_000), CloudCause.BAD_ANSWER),
        (status(200, b"\x1f\x8b\x08", {"Content-Encoding": "gzip"}), CloudCause.BAD_ANSWER),
        (status(200, b"plain", {"Content-Encoding": "gzip"}), CloudCause.BAD_ANSWER),
        (status(200, b"x", {"Content-Encoding": "br"}), CloudCause.BAD_ANSWER),
        (status(204), CloudCause.BAD_ANSWER),
        (status(500, {"errCode": "DBS.280005", "externalMessage": "Server error."}), CloudCause.CLOUD),
        (status(502, "<html>"), CloudCause.CLOUD),
        (status(404, {"error_code": "APIGW.0101", "error_msg": "API not found"}), CloudCause.NOT_FOUND),
        (status(403, {"error_code": "DBS.200010", "error_msg": "no"}), CloudCause.PERMISSION),
    ],
)
async def test_an_answer_that_is_no_task_list_is_an_error_and_the_next_one_counts(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, fault: Fault, cause: CloudCause
) -> None:
    client = _client(session, cloud.url)
    cloud.script(fault)
    assert (await _refused(client)).cause is cause
    cloud.rows = rows(2)
    assert (await client.fetch(Ask())).rows == 2


@pytest.mark.parametrize("page", [2, 3])
@pytest.mark.parametrize(
    "fault", [status(503), cut(at=100), status(200, "<html>"), status(200, {"tasks": None})]
)
async def test_a_later_page_that_fails_leaves_the_rows_before_it(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, page: int, fault: Fault
) -> None:
    cloud.rows = rows(250)
    cloud.script(*[None] * (page - 1), fault)
    listing = await _client(session, cloud.url).fetch(Ask())
    assert (listing.complete, listing.digests, listing.pages) == (False, None, page - 1)
    assert isinstance(listing.failure, CloudError)
    assert listing.rows == len(listing.changed) == 100 + 90 * (page - 2)


async def test_a_reset_connection_is_tried_once_more(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.script(reset())
    assert (await _client(session, cloud.url).fetch(Ask())).complete


async def test_connections_that_are_always_reset_are_an_error(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.always = reset()
    assert (await _refused(_client(session, cloud.url))).cause is CloudCause.NETWORK


async def test_nobody_listening_is_an_error_that_names_the_host(session: aiohttp.ClientSession) -> None:
    async with TasksEndpoint() as gone:
        url = gone.url
    error = await _refused(_client(session, url))
    assert error.cause is CloudCause.NETWORK
    assert str(error).startswith(url.removeprefix("http://") + ": cannot connect")


async def test_plain_http_where_tls_was_expected_is_an_error_of_tls(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    assert (await _refused(_client(session, cloud.url.replace("http:", "https:")))).cause is CloudCause.TLS


@pytest.mark.parametrize("fault", [silence(), drip(seconds=0.01)])
async def test_the_deadline_ends_a_poll_that_gets_no_answer(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, fault: Fault
) -> None:
    cloud.rows = rows(50)
    cloud.always = fault
    error = await _refused(_client(session, cloud.url, timeout=0.1))
    assert (error.cause, "within 0.1 s" in str(error)) == (CloudCause.TIMEOUT, True)


async def test_the_deadline_holds_for_all_pages_together(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(250)
    cloud.script(None, silence())
    listing = await _client(session, cloud.url, timeout=0.3).fetch(Ask())
    assert (listing.rows, listing.complete) == (100, False)
    assert isinstance(listing.failure, CloudError)
    assert listing.failure.cause is CloudCause.TIMEOUT


async def test_a_silent_project_does_not_hold_up_another(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    asked = asyncio.Event()
    cloud.before = lambda _: asked.set()
    cloud.script(silence())
    silent = asyncio.create_task(_client(session, cloud.url).fetch(Ask()))
    await asked.wait()
    assert (await _client(session, cloud.url).fetch(Ask())).complete
    assert not silent.done()
    silent.cancel()
    await asyncio.wait([silent])
    assert silent.cancelled()


async def test_an_answer_that_is_compressed_though_not_asked_for_is_read(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.rows = rows(9)
    cloud.script(compressed())
    assert (await _client(session, cloud.url).fetch(Ask())).rows == 9


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", b'{"tasks": []}'),
        ("deflate", zlib.compress(b'{"tasks": []}')),
        ("deflate", zlib.compress(b'{"tasks": []}')[2:-4]),
        ("X-GZIP", gzip.compress(b'{"tasks": []}')),
    ],
    ids=["identity", "deflate", "bare deflate", "x-gzip"],
)
async def test_every_encoding_in_use_is_understood(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, encoding: str, body: bytes
) -> None:
    cloud.script(status(200, body, {"Content-Encoding": encoding}))
    assert (await _client(session, cloud.url).fetch(Ask())).complete


async def test_a_refusal_that_is_cut_short_is_told_by_its_status(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.script(raw(b"HTTP/1.1 429 Slow down\r\nContent-Length: 99\r\n\r\n{"))
    error = await _refused(_client(session, cloud.url))
    assert (error.cause, error.http_status) == (CloudCause.THROTTLED, 429)


@pytest.mark.parametrize("fault", [gzip_bomb(), endless()])
async def test_an_answer_larger_than_any_page_is_left(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, fault: Fault
) -> None:
    cloud.script(fault)
    error = await _refused(_client(session, cloud.url))
    assert (error.cause, "more than 8388608 bytes" in str(error)) == (CloudCause.BAD_ANSWER, True)


async def test_a_refusal_without_end_is_told_by_its_status(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    cloud.script(status(500, "x" * 5_000_000))
    assert (await _refused(_client(session, cloud.url))).cause is CloudCause.CLOUD


async def test_a_bad_row_harms_only_itself(session: aiohttp.ClientSession, cloud: TasksEndpoint) -> None:
    cloud.rows = [row("a"), row("b", status="\ud800"), {"job_id": None}, row("c") | {"job_id": 7}]
    listing = await _client(session, cloud.url).fetch(Ask())
    assert (listing.complete, listing.clean, listing.quarantined, listing.rows) == (True, False, 1, 3)
    assert _told(listing) == {("a", "Completed"), ("b", "\ufffd"), ("7", "Completed")}


# -- login, rate, redirects


async def test_a_token_that_was_rotated_is_read_again_and_the_request_repeated_once(
    session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("the-old-token")
    async with TasksEndpoint(token="the-newer-token") as cloud:
        cloud.rows = rows(3)

        def rotate(_: int) -> None:
            file.write_text("the-newer-token")

        cloud.before = rotate
        listing = await _client(session, cloud.url, login=TokenLogin(Secret(Kept.FILE, str(file)))).fetch(
            Ask()
        )
    assert (listing.rows, listing.requests) == (3, 2)


async def test_a_refused_token_that_has_not_changed_is_not_sent_again(session: aiohttp.ClientSession) -> None:
    async with TasksEndpoint(token="another") as cloud:
        error = await _refused(_client(session, cloud.url, login=TokenLogin(Secret.text(CANARY))))
        assert len(cloud.requests) == 1
    assert (error.cause, error.error_code, error.request_id) == (CloudCause.LOGIN, "APIGW.0301", "42267f")
    assert "check the token in the configuration" in str(error)


async def test_a_token_that_cannot_be_read_asks_nobody(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, tmp_path: Path
) -> None:
    login = TokenLogin(Secret(Kept.FILE, str(tmp_path / "nowhere")))
    assert (await _refused(_client(session, cloud.url, login=login))).cause is CloudCause.LOGIN
    assert cloud.requests == []


async def test_a_token_of_30_kb_is_sent_whole(session: aiohttp.ClientSession, cloud: TasksEndpoint) -> None:
    await _client(session, cloud.url, login=TokenLogin(Secret.text("M" * 30_000))).fetch(Ask())
    assert cloud.requests[0].headers["X-Auth-Token"] == "M" * 30_000


async def test_a_token_file_that_is_no_text_is_not_quoted(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_bytes(CANARY.encode() + b"\xff")
    error = await _refused(_client(session, cloud.url, login=TokenLogin(Secret(Kept.FILE, str(file)))))
    assert CANARY[:9] not in _everything(error)


async def test_a_429_pauses_all_projects_that_share_the_limiter(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    clock = _Clock()
    limiter = Limiter(20, clock, quiet_log())
    one, another = (_client(session, cloud.url, limiter=limiter) for _ in range(2))
    cloud.script(
        status(429, {"error_code": "APIGW.0308", "error_msg": "over ratelimit"}, {"Retry-After": "7"})
    )
    assert (await _refused(one)).retry_after == 7
    for client in (one, another):
        assert (await _refused(client)).cause is CloudCause.THROTTLED
    assert len(cloud.requests) == 1
    clock.seconds += 7
    assert (await another.fetch(Ask())).complete


async def test_a_429_without_retry_after_pauses_for_a_minute(
    session: aiohttp.ClientSession, cloud: TasksEndpoint
) -> None:
    clock = _Clock()
    client = _client(session, cloud.url, limiter=Limiter(20, clock, quiet_log()))
    cloud.script(status(429))
    assert (await _refused(client)).retry_after is None
    clock.seconds += 59
    assert (await _refused(client)).retry_after == 1
    assert len(cloud.requests) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_the_other_host_hears_nothing(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, code: int
) -> None:
    async with TasksEndpoint() as other:
        cloud.script(status(code, "", {"Location": other.url + f"/v3/{PROJECT}/tasks"}))
        error = await _refused(_client(session, cloud.url, login=TokenLogin(Secret.text(CANARY))))
        assert other.requests == []
    assert error.cause is CloudCause.BAD_ANSWER
    assert "redirect refused" in str(error)


async def test_proxies_of_the_environment_are_ignored(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TasksEndpoint() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await _client(session, cloud.url).fetch(Ask())
        assert proxy.requests == []


_ECHO = {"error_code": CANARY, "error_msg": f"bad {CANARY}", "request_id": CANARY, "tasks": CANARY}


@pytest.mark.parametrize(
    "fault",
    [
        status(401, _ECHO, {"X-Request-Id": CANARY}),
        status(403, _ECHO),
        status(500, f"upstream said {CANARY}"),
        status(200, _ECHO),
        status(200, f"{CANARY}"),
        status(302, "", {"Location": f"http://127.0.0.1:1/?token={CANARY}"}),
        raw(f"HTTP/1.1 200 {CANARY}\r\n{CANARY}\r\n\r\n".encode()),
        raw(f"{CANARY}".encode()),
        cut(at=5),
        reset(),
        silence(),
    ],
)
async def test_no_error_holds_the_token(
    session: aiohttp.ClientSession, cloud: TasksEndpoint, fault: Fault
) -> None:
    cloud.always = fault
    login = TokenLogin(Secret.text(CANARY))
    error = await _refused(_client(session, cloud.url, login=login, timeout=0.2))
    assert CANARY[:9] not in _everything(error)


def _everything(error: BaseException | None) -> str:
    """All that a traceback or a curious logger could show of an error and of what is chained to it."""
    if error is None:
        return ""
    shown = f"{error!s} {error!r} {error.args!r} {vars(error)!r}"
    return shown + _everything(error.__cause__) + _everything(error.__context__)
