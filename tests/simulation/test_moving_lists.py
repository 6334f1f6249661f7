"""Long lists under incremental polls: the real poller and the real client, a service of any reading, virtual time.

The oracle is the one of the whole system: per task a chain without a gap up to the cloud's last status,
and nothing told that was not served.
"""

import asyncio
import json
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import pytest

from taskwatch.cloud.paging import Numbering
from taskwatch.cloud.plans import SEARCHES
from taskwatch.engine.poller import Poll, Poller, PollRules
from taskwatch.engine.ports import StaleStateError
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.event import Event, EventType
from taskwatch.model.project import Check
from tests.fakes.builders import a_project, captured_log, everything_to, some_rules
from tests.fakes.direct_caller import DirectCaller, direct_client
from tests.fakes.list_service import ListService, Row, stamp
from tests.fakes.memory_store import Call, MemoryStore
from tests.fakes.oracle import violations
from tests.fakes.tasks_endpoint import row
from tests.fakes.virtual_time import VirtualClock, in_virtual_time, run_virtual, virtual_clock

INTERVAL: Final = 15.0
FULL_POLL: Final = 900.0


@dataclass
class Scene:
    """A project with a long list; `poll` is what the daemon does each interval."""

    service: ListService
    date: Callable[[], datetime | None] = lambda: None
    include: tuple[str, ...] = ("*",)
    full_poll: float = FULL_POLL
    clock: VirtualClock = field(default_factory=virtual_clock)
    store: MemoryStore = field(default_factory=MemoryStore)
    told: list[Event] = field(default_factory=list)
    served: set[tuple[str, str]] = field(default_factory=set)
    silent: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log, self.lines = captured_log()
        self.caller = DirectCaller(self.service, date=lambda: self.date() or self.now())
        self.restart()

    def rules(self) -> PollRules:
        return some_rules(active=INTERVAL, idle=INTERVAL, include=self.include, full_poll=self.full_poll)

    def restart(self) -> None:
        self.poller = Poller(
            project=a_project(),
            rules=self.rules(),
            source=direct_client(self.caller),
            ledger=self.store,
            routing=everything_to("hook"),
            clock=self.clock,
            told=self.told.extend,
        )
        self.watch = Watch(poller=self.poller, credential="c", clock=self.clock, log=self.log)

    def reload(self, numbering: Numbering = Numbering.AUTO) -> None:
        """Read the configuration again, with this meaning of `offset` in it."""
        self.poller.adopt(
            project=a_project(),
            rules=self.rules(),
            source=direct_client(self.caller, numbering=numbering),
            routing=everything_to("hook"),
        )

    def warnings(self) -> list[str]:
        return [line["event"] for line in self.lines if line["log_level"] == "warning"]

    def now(self) -> datetime:
        return self.clock.now().replace(microsecond=0)

    async def poll(self) -> Poll:
        """Poll once, an interval after the last one."""
        await asyncio.sleep(INTERVAL)
        self.served |= {(one["job_id"], one["status"]) for one in self.service.rows}
        self.caller.places.clear()
        self.caller.rows = 0
        poll = await self.watch.poll()
        assert poll is not None
        return poll

    async def baseline(self) -> "Scene":
        self.silent = {one["job_id"]: one["status"] for one in self.service.rows}
        poll = await self.poll()
        assert poll.listing.complete
        return self

    def begin(
        self, job_id: str, status: str = "Running", *, ago: timedelta = timedelta(), **fields: Any
    ) -> Row:
        created = self.now() - ago
        new = row(job_id, status=status, created_at=stamp(created), ended_at=None) | fields
        if status not in {"Running", "Pending"}:
            new["ended_at"] = stamp(self.now())
        self.service.rows.append(new)
        return new

    def end(self, job_id: str, status: str = "Failed") -> None:
        one = next(one for one in self.service.rows if one["job_id"] == job_id)
        one |= {"status": status, "ended_at": stamp(self.now())}

    def steps(self) -> list[tuple[str, str, str]]:
        return [
            (event.subject, event.attributes["from"], event.attributes["to"])
            for event in self.told
            if "to" in event.attributes
        ]

    def wrong(self) -> list[str]:
        """What the oracle holds against all that was told."""
        return violations(
            {"hook": [(event.id, event.body) for event in self.told]},
            last={one["job_id"]: one["status"] for one in self.service.rows},
            served=self.served,
            silent=self.silent,
        )


def a_scene(ended: int = 250, **fields: Any) -> Scene:
    """A list of so many ended tasks of the last month, one an hour at most, the last one yesterday."""
    service = ListService(
        order="newest", **{key: fields.pop(key) for key in list(fields) if hasattr(ListService, key)}
    )
    scene = Scene(service, **fields)
    step = timedelta(days=29) / max(ended, 1)
    for number in range(ended):
        begun = scene.now() - timedelta(days=30) + number * step
        service.rows.append(
            row(f"old-{number:05d}", created_at=stamp(begun), ended_at=stamp(begun + timedelta(minutes=9)))
        )
    return scene


# -- what it costs


@pytest.mark.parametrize("numbering", ["record", "page0", "page1"])
@in_virtual_time
async def test_an_unchanged_incremental_poll_of_five_thousand_tasks_costs_at_most_four_requests_and_300_rows(
    numbering: str,
) -> None:
    scene = a_scene(5000, numbering=numbering)
    for number in range(4):
        scene.begin(f"going-{number}")
    scene.begin("old", ago=timedelta(days=20))
    await scene.baseline()
    for _ in range(3):
        listing = (await scene.poll()).listing
        assert (listing.full, listing.complete) == (False, True)
        assert listing.requests <= 4
        assert scene.caller.rows <= 300


@in_virtual_time
async def test_a_project_with_ten_thousand_ended_tasks_costs_no_more_requests_than_one_with_250() -> None:
    requests = []
    for ended in (250, 10_000):
        scene = a_scene(ended)
        scene.begin("going")
        await scene.baseline()
        requests.append([(await scene.poll()).listing.requests for _ in range(3)])
    assert requests[0] == requests[1]


@pytest.mark.parametrize("ended", [0, 5, 99, 150])
@in_virtual_time
async def test_a_list_of_up_to_two_pages_is_read_whole_each_time(ended: int) -> None:
    scene = await a_scene(ended).baseline()
    whole = ["tasks?offset=0&limit=100", "tasks?offset=90&limit=100"][: 1 if ended < 100 else 2]
    for _ in range(3):
        await scene.poll()
        assert scene.caller.places == whole


@in_virtual_time
async def test_an_unchanged_incremental_poll_reads_and_writes_no_store() -> None:
    scene = await a_scene().baseline()
    scene.begin("going")
    await scene.poll()
    await scene.poll()
    calls = dict(scene.store.calls)
    for _ in range(5):
        assert not (await scene.poll()).listing.full
    assert dict(scene.store.calls) == calls


@in_virtual_time
async def test_the_question_stays_the_same_for_hours_so_that_equal_bytes_need_no_decoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from taskwatch.cloud import reading  # noqa: PLC0415  (patched here only)

    scene = await a_scene(full_poll=86_400.0).baseline()
    await scene.poll()
    places = list(scene.caller.places)
    monkeypatch.delattr(reading, "decode_page")
    await asyncio.sleep(3600)
    assert (await scene.poll()).listing.changed == ()
    assert scene.caller.places == places


@in_virtual_time
async def test_where_most_tasks_run_the_whole_list_is_read_for_it_costs_no_more() -> None:
    scene = a_scene(100)
    for number in range(200):
        scene.begin(f"going-{number:03d}")
    await scene.baseline()
    for _ in range(3):
        assert (await scene.poll()).listing.full


# -- when the whole list is read


@in_virtual_time
async def test_the_whole_list_is_read_again_when_its_time_has_come() -> None:
    scene = await a_scene(full_poll=60.0).baseline()
    assert [(await scene.poll()).listing.full for _ in range(8)] == [False, False, False, True] * 2


@in_virtual_time
async def test_a_leap_of_the_wall_clock_brings_no_full_poll_and_delays_none() -> None:
    scene = await a_scene(full_poll=60.0).baseline()
    kinds = []
    for jump in (86_400.0, -172_800.0, 0.0, 3600.0):
        scene.clock.jump(jump)
        scene.date = lambda: datetime(2026, 11, 23, 10, 1, tzinfo=UTC)
        kinds.append((await scene.poll()).listing.full)
    assert kinds == [False, False, False, True]


@in_virtual_time
async def test_the_first_poll_of_a_run_and_the_one_after_a_change_of_the_rules_are_whole() -> None:
    scene = await a_scene().baseline()
    assert not (await scene.poll()).listing.full
    scene.restart()
    assert (await scene.poll()).listing.full
    assert not (await scene.poll()).listing.full
    scene.poller.adopt(
        project=a_project(),
        rules=some_rules(exclude=("x",)),
        source=direct_client(scene.caller),
        routing=everything_to("hook"),
    )
    assert (await scene.poll()).listing.full


@in_virtual_time
async def test_after_somebody_else_moved_the_project_on_the_whole_list_is_read() -> None:
    scene = await a_scene(400).baseline()
    ours = scene.poller
    assert not (await ours.poll()).listing.full
    scene.restart()
    scene.begin("new")
    await scene.poll()
    scene.begin("later")
    with pytest.raises(StaleStateError):
        await ours.poll()
    assert (await ours.poll()).listing.full


@in_virtual_time
async def test_a_whole_poll_that_did_not_come_to_its_end_is_made_again() -> None:
    scene = await a_scene(full_poll=30.0).baseline()
    await scene.poll()
    scene.service.order = None
    scene.service.total, rows = 99_999, list(scene.service.rows)
    scene.service.rows[100:150] = []  # pages that do not join any more, for this one poll
    scene.caller.before = lambda number: scene.service.rows.__setitem__(slice(0, 20), [])
    assert not (await scene.poll()).listing.complete
    scene.caller.before = lambda _: None
    scene.service.rows, scene.service.total = rows, ...
    assert (await scene.poll()).listing.full


# -- what it tells


@in_virtual_time
async def test_a_task_that_ran_for_29_days_and_ends_is_told_by_the_next_incremental_poll() -> None:
    scene = a_scene(400)
    scene.begin("old", ago=timedelta(days=29))
    await scene.baseline()
    await scene.poll()
    scene.end("old")
    poll = await scene.poll()
    assert not poll.listing.full
    assert scene.steps() == [("old", "Running", "Failed")]


@pytest.mark.parametrize("status", ["Pending", "Running", "Failed"])
@in_virtual_time
async def test_a_new_task_of_any_status_is_told_by_the_next_incremental_poll(status: str) -> None:
    scene = await a_scene().baseline()
    await scene.poll()
    scene.begin("new", status)
    assert not (await scene.poll()).listing.full
    assert scene.steps() == [("new", "", status)]


@in_virtual_time
async def test_a_task_that_waits_unlike_all_that_run_is_looked_for_by_the_second_it_began_in() -> None:
    scene = a_scene(400)
    scene.begin("waits", "Pending", ago=timedelta(days=9))
    await scene.baseline()
    await scene.poll()
    assert len(scene.caller.places) == 3
    scene.end("waits", "Canceled")
    assert not (await scene.poll()).listing.full
    assert scene.steps() == [("waits", "Pending", "Canceled")]


@in_virtual_time
async def test_a_task_whose_beginning_nobody_knows_is_looked_for_by_its_id() -> None:
    scene = a_scene(400)
    scene.service.order = None
    scene.begin("odd", "Pending", created_at=None)
    await scene.baseline()
    await scene.poll()
    assert scene.caller.places[-1] == "jobs?id=odd"
    scene.end("odd", "Failed")
    assert not (await scene.poll()).listing.full
    assert scene.steps() == [("odd", "Pending", "Failed")]


@in_virtual_time
async def test_an_open_task_that_is_nowhere_makes_the_next_poll_whole_and_is_looked_for_still() -> None:
    scene = a_scene(400, tells_jobs=False)
    gone = scene.begin("gone", ago=timedelta(days=3))
    await scene.baseline()
    scene.service.rows.remove(gone)
    kinds = [(await scene.poll()).listing.full for _ in range(4)]
    assert kinds == [False, True, False, False]
    assert scene.steps() == []
    scene.service.rows.append(gone | {"status": "Failed", "ended_at": stamp(scene.now())})
    assert not (await scene.poll()).listing.full
    assert scene.steps() == [("gone", "Running", "Failed")]


@in_virtual_time
async def test_an_open_task_that_whole_lists_have_not_shown_for_ten_minutes_is_looked_for_no_more() -> None:
    scene = a_scene(400, full_poll=300.0)
    gone = scene.begin("gone", ago=timedelta(days=3))
    await scene.baseline()
    scene.service.rows.remove(gone)
    polls = [((await scene.poll()).listing.full, "jobs?id=gone" in scene.caller.places) for _ in range(70)]
    given_up = next(
        number for number, (is_full, is_sought) in enumerate(polls) if not is_full and not is_sought
    )
    assert given_up >= 600 / INTERVAL - 2
    assert not any(is_sought for _, is_sought in polls[given_up:])
    scene.service.rows.append(gone | {"status": "Failed", "ended_at": stamp(scene.now())})
    await asyncio.sleep(300.0)
    await scene.poll()
    assert scene.steps() == [("gone", "Running", "Failed")]


@in_virtual_time
async def test_more_tasks_to_look_for_than_the_bound_allows_turn_the_poll_into_a_whole_one() -> None:
    scene = a_scene(400)
    for number in range(30):
        scene.begin(f"waits-{number:02d}", "Pending", ago=timedelta(days=9, hours=number))
    await scene.baseline()
    for number in range(30):
        scene.end(f"waits-{number:02d}")
    poll = await scene.poll()
    assert poll.listing.full
    assert len(scene.steps()) == 30


@pytest.mark.parametrize("tells_jobs", [True, False])
@pytest.mark.parametrize("lost", [1, 10, 11, 20, 21])
@in_virtual_time
async def test_however_many_open_tasks_are_lost_no_poll_searches_beyond_its_bound_or_before_a_whole_list(
    lost: int, *, tells_jobs: bool
) -> None:
    scene = a_scene(400, tells_jobs=tells_jobs)
    for number in range(lost):
        scene.begin(f"gone-{number:02d}", "Pending", ago=timedelta(days=9, hours=number))
    for number in range(150):  # more than a page of one second, in which one of them began
        scene.begin(f"burst-{number:03d}", "Completed", ago=timedelta(days=9))
    await scene.baseline()
    scene.service.rows = [one for one in scene.service.rows if not one["job_id"].startswith("gone")]
    for _ in range(6):
        listing = (await scene.poll()).listing
        lists = 2 + (8 if listing.full else 0)
        searches = 0 if listing.full else SEARCHES
        assert listing.complete
        assert listing.requests <= lists + searches


@in_virtual_time
async def test_a_task_that_ended_is_told_by_the_poll_that_searches_for_lost_ones_beside_it() -> None:
    scene = a_scene(400)
    for number in range(15):
        scene.begin(f"gone-{number:02d}", "Pending", ago=timedelta(days=9, hours=number))
    scene.begin("waits", "Pending", ago=timedelta(days=9))
    await scene.baseline()
    scene.service.rows = [one for one in scene.service.rows if not one["job_id"].startswith("gone")]
    scene.end("waits", "Canceled")
    assert not (await scene.poll()).listing.full
    assert scene.steps() == [("waits", "Pending", "Canceled")]
    assert (await scene.poll()).listing.full


@in_virtual_time
async def test_a_change_that_only_the_whole_list_shows_may_be_as_old_as_the_last_reading_of_it() -> None:
    scene = await a_scene(full_poll=300.0).baseline()
    for _ in range(3):
        await scene.poll()
    scene.end("old-00007", "Failed")  # it had completed
    scene.service.rows[7]["ended_at"] = stamp(scene.now())
    while not scene.steps():
        await scene.poll()
    (event,) = [event for event in scene.told if "to" in event.attributes]
    assert b'"gap_seconds":300.0' in event.body.replace(b" ", b"")


@in_virtual_time
async def test_how_old_a_change_is_that_only_whole_lists_show_is_not_known_to_the_next_run() -> None:
    scene = a_scene()
    scene.begin("brief", "Completed", ago=timedelta(minutes=5))
    await scene.baseline()
    scene.begin("late", "Pending", ago=timedelta(hours=3))  # it came onto the list when others had begun
    for _ in range(30):
        await scene.poll()
    scene.begin("new")  # an incremental poll records it, and that it was made
    await scene.poll()
    scene.restart()
    scene.begin("newer")
    await scene.poll()
    gaps = {event.subject: json.loads(event.body)["data"].get("transition") for event in scene.told}
    assert (gaps["late"]["previous_observed_at"], gaps["late"]["gap_seconds"]) == (None, None)
    assert gaps["late"]["late"]
    assert gaps["newer"]["gap_seconds"] == INTERVAL  # it began after that poll


@in_virtual_time
async def test_an_incremental_poll_makes_a_project_fresh_and_the_gap_short() -> None:
    scene = await a_scene().baseline()
    for _ in range(10):
        await scene.poll()
    assert scene.poller.freshness == (1, scene.clock.now())
    scene.begin("new", "Failed")
    await scene.poll()
    (event,) = [event for event in scene.told if "to" in event.attributes]
    assert b'"gap_seconds":15.0' in event.body.replace(b" ", b"")


@in_virtual_time
async def test_a_running_task_of_an_included_name_is_never_hidden_by_names_that_are_not() -> None:
    # The names are globs of ours: the service's own filter takes one whole name and is never used.
    scene = await a_scene(include=("Create*",)).baseline()
    await scene.poll()
    for number in range(150):
        scene.begin(f"backup-{number:03d}", name="BackupSnapshotGaussDBV5InInstance")
    scene.begin("made", name="CreateGaussDBV5Instance")
    await scene.poll()
    assert scene.steps() == [("made", "", "Running")]
    assert not any("name=" in place for place in scene.caller.places)


@in_virtual_time
async def test_a_bad_row_that_only_the_whole_list_shows_is_not_told_as_mended_by_the_polls_between() -> None:
    scene = a_scene(400, full_poll=60.0)
    begun = stamp(scene.now() - timedelta(days=9))
    scene.service.rows.append(row("", created_at=begun))
    for _ in range(10):
        await scene.poll()
    edges = [line["event"] for line in scene.lines if line["log_level"] != "debug"]
    assert edges == ["rows_quarantined"]


# -- a cloud that does not mean what was assumed


@pytest.mark.parametrize(
    "service",
    [{"window": "ended"}, {"window": "ignored"}, {"window": "refused"}, {"filters_status": False}],
    ids=str,
)
@in_virtual_time
async def test_where_a_filter_means_something_else_whole_lists_are_read_and_that_is_said_once(
    service: dict[str, Any],
) -> None:
    scene = a_scene(400, **service)
    scene.begin("going", ago=timedelta(minutes=30))
    scene.begin("ended", "Completed", ago=timedelta(days=3))
    await scene.baseline()
    poll = None
    for number in range(8):
        scene.begin(f"new-{number}", "Failed")  # the list changes, so it is decoded and checked again
        poll = await scene.poll()
        assert poll.listing.full
    assert len(scene.steps()) == 8
    assert scene.warnings() == ["incremental_polls_given_up"]
    assert poll is not None
    assert poll.listing.check is None  # not even checked any more
    assert poll.listing.requests == 5


@pytest.mark.parametrize("tells_jobs", [True, False])
@in_virtual_time
async def test_where_a_search_by_the_time_of_beginning_is_refused_a_task_is_looked_for_by_its_id(
    *, tells_jobs: bool
) -> None:
    scene = a_scene(400, tells_jobs=tells_jobs)
    scene.service.reach = timedelta(days=20)
    scene.service.now = scene.now
    scene.begin("waits", "Pending", ago=timedelta(days=25))
    await scene.baseline()
    for _ in range(4):
        assert (await scene.poll()).listing.complete
    scene.end("waits", "Canceled")
    for _ in range(2):  # at the latest the next whole poll shows what no search may ask for
        await scene.poll()
    if tells_jobs:
        assert not (await scene.poll()).listing.full
        assert scene.steps() == [("waits", "Pending", "Canceled")]
    await asyncio.sleep(FULL_POLL)
    await scene.poll()
    assert scene.steps() == [("waits", "Pending", "Canceled")]


@in_virtual_time
async def test_a_reload_that_corrects_how_lists_are_read_lets_incremental_polls_be_judged_anew() -> None:
    scene = await a_scene(400, window="ignored").baseline()
    for number in range(4):
        scene.begin(f"new-{number}", "Failed")
        await scene.poll()
    assert scene.poller.reads_whole_lists
    scene.service.window = "created"
    scene.reload(Numbering.RECORD)
    assert (await scene.poll()).listing.check is Check.PAYS
    assert not (await scene.poll()).listing.full


@in_virtual_time
async def test_what_is_judged_anew_after_a_reload_and_disagrees_again_is_told_again() -> None:
    scene = await a_scene(400, window="ignored").baseline()
    for number in range(12):
        if number == 6:
            scene.reload(Numbering.RECORD)
        scene.begin(f"new-{number}", "Failed")
        await scene.poll()
    assert scene.warnings() == ["incremental_polls_given_up"] * 2


@in_virtual_time
async def test_a_reload_that_changes_nothing_about_reading_keeps_what_was_found_of_incremental_polls() -> (
    None
):
    scene = await a_scene(400, window="ignored").baseline()
    for number in range(12):
        if number == 6:
            scene.reload()
        scene.begin(f"new-{number}", "Failed")
        await scene.poll()
    assert scene.poller.reads_whole_lists
    assert scene.warnings() == ["incremental_polls_given_up"]
    paying = await a_scene(400).baseline()
    paying.reload()
    assert not (await paying.poll()).listing.full


@in_virtual_time
async def test_a_poll_under_way_during_such_a_reload_counts_for_nothing_that_is_judged_anew() -> None:
    scene = await a_scene(400, window="ignored").baseline()
    for number in range(2):
        scene.begin(f"new-{number}", "Failed")
        scene.caller.before = _once(
            scene.caller.requests + 2 if number else 0, partial(scene.reload, Numbering.RECORD)
        )
        await scene.poll()  # the third that disagrees
    for number in range(2):
        scene.begin(f"later-{number}", "Failed")
        await scene.poll()
    assert not scene.poller.reads_whole_lists


@in_virtual_time
async def test_one_disagreement_is_forgotten_when_the_next_check_agrees() -> None:
    scene = a_scene(400, window="ignored")
    await scene.baseline()
    scene.service.window = "created"
    scene.begin("new")
    assert (await scene.poll()).listing.check is Check.PAYS
    assert not (await scene.poll()).listing.full
    assert not scene.poller.reads_whole_lists


@pytest.mark.parametrize("window", ["ended", "ignored", "refused"])
@in_virtual_time
async def test_a_filter_that_comes_to_mean_something_else_loses_nothing(window: str) -> None:
    scene = a_scene(400)
    scene.begin("going")
    await scene.baseline()
    await scene.poll()
    scene.service.window = window
    scene.begin("waits", "Pending")
    scene.end("going")
    for _ in range(2 + int(FULL_POLL / INTERVAL)):
        await scene.poll()
    assert scene.wrong() == []
    assert len(scene.steps()) == 2


@in_virtual_time
async def test_a_task_that_ends_between_the_whole_list_and_its_check_is_no_disagreement() -> None:
    scene = a_scene(400)
    scene.begin("going", ago=timedelta(days=5))
    scene.caller.before = lambda number: scene.end("going") if number == 6 else None
    poll = await scene.poll()
    assert poll.listing.check is Check.PAYS
    assert scene.caller.places[5].startswith("tasks?start_time=")
    await scene.poll()
    assert scene.steps() == [("going", "Running", "Failed")]


@pytest.mark.parametrize(
    "created",
    [
        "9999-12-31T12:00:00+0000",
        "2099-01-01T00:00:00+0000",
        "1970-01-01T00:00:00+0000",
        "0001-01-01T00:00:00Z",
        "soon",
        "",
        None,
    ],
)
@in_virtual_time
async def test_a_creation_that_cannot_be_hides_no_task_that_comes_later(created: str | None) -> None:
    scene = a_scene(400)
    scene.service.order = None
    scene.begin("odd", created_at=created)
    await scene.baseline()
    scene.begin("new", "Failed")
    await scene.poll()
    assert ("new", "", "Failed") in scene.steps()
    scene.end("odd")
    for _ in range(2):
        await scene.poll()
    assert ("odd", "Running", "Failed") in scene.steps()


@pytest.mark.parametrize("created", ["9999-12-31T12:00:00+0000", "0001-01-01T00:00:00Z"])
@in_virtual_time
async def test_a_creation_at_an_end_of_the_calendar_stops_no_poll_of_either_kind(created: str) -> None:
    scene = await a_scene(400, full_poll=60.0).baseline()
    await scene.poll()
    scene.begin("odd", created_at=created)
    kinds = [(await scene.poll()).listing.full for _ in range(8)]
    assert set(kinds) == {True, False}
    scene.end("odd")
    await scene.poll()
    assert scene.steps() == [("odd", "", "Running"), ("odd", "Running", "Failed")]


@pytest.mark.parametrize("year", [1, 9999])
@in_virtual_time
async def test_a_clock_of_the_cloud_at_an_end_of_the_calendar_stops_no_poll_of_either_kind(year: int) -> None:
    scene = await a_scene(400, full_poll=60.0).baseline()
    end = datetime(year, 1, 1, tzinfo=UTC) if year == 1 else datetime(year, 12, 31, 23, 59, tzinfo=UTC)
    scene.date = lambda: end
    kinds = [(await scene.poll()).listing.full for _ in range(8)]
    assert set(kinds) == {True, False}
    scene.begin("new", "Failed")
    await scene.poll()
    assert scene.steps() == [("new", "", "Failed")]


@in_virtual_time
async def test_a_creation_in_the_future_hides_nothing_of_the_hours_in_which_nobody_could_read() -> None:
    scene = a_scene(400, full_poll=86_400.0)
    scene.begin("odd", created_at="2099-01-01T00:00:00+0000")
    await scene.baseline()
    await asyncio.sleep(5 * 3600)
    scene.begin("brief", "Failed", ago=timedelta(hours=3))
    assert not (await scene.poll()).listing.full
    assert scene.steps() == [("brief", "", "Failed")]


@in_virtual_time
async def test_an_incremental_poll_that_did_not_come_to_its_end_does_not_move_the_line() -> None:
    scene = await a_scene(400, full_poll=86_400.0).baseline()
    await scene.poll()
    await asyncio.sleep(5 * 3600)
    for number in range(250):
        scene.begin(f"new-{number:03d}", "Failed", ago=timedelta(minutes=number))
    second = scene.caller.requests + 2

    def breaks(number: int) -> None:
        if number == second:
            raise CloudError(CloudCause.CLOUD, "the second page is not there")

    scene.caller.before = breaks
    poll = await scene.poll()
    failed = [event for event in poll.events if event.type is EventType.TASK_FAILED]
    assert (poll.listing.full, poll.listing.complete, len(failed)) == (False, False, 100)
    await scene.poll()
    assert len(scene.steps()) == 250


@pytest.mark.parametrize("days", [-20_000, -40, -2, 2, 40, 20_000])
@in_virtual_time
async def test_a_cloud_whose_clock_is_wrong_delays_nothing(days: int) -> None:
    scene = await a_scene(400).baseline()
    scene.date = lambda: scene.now() + timedelta(days=days)
    scene.restart()
    await scene.poll()  # of the whole list: from now on the line is drawn by that clock
    for number in range(30):
        job_id = f"new-{number}"
        scene.begin(job_id, "Running" if number % 2 else "Failed", ago=timedelta(seconds=5))
        await scene.poll()
        assert (job_id, "", "Running" if number % 2 else "Failed") in scene.steps(), job_id


@in_virtual_time
async def test_a_wrong_clock_and_a_wrong_creation_together_delay_no_more_than_to_the_next_whole_poll() -> (
    None
):
    scene = await a_scene(400).baseline()
    scene.date = lambda: datetime(2099, 1, 1, tzinfo=UTC)
    scene.begin("odd", created_at="2099-01-01T00:00:00+0000")
    scene.restart()
    await scene.poll()
    scene.begin("brief", "Failed")
    assert not (await scene.poll()).listing.full
    assert ("brief", "", "Failed") not in scene.steps()  # it began long before what is taken for now
    for _ in range(1 + int(FULL_POLL / INTERVAL)):
        await scene.poll()
    assert ("brief", "", "Failed") in scene.steps()
    scene.date = scene.now  # and when the clock is right again, so is the line
    await scene.poll()
    scene.begin("later", "Failed")
    assert not (await scene.poll()).listing.full
    assert ("later", "", "Failed") in scene.steps()


# -- replicas that lag


@pytest.mark.parametrize("stale", [1, 2, 5])
@pytest.mark.parametrize("order", ["newest", "by id"])
@in_virtual_time
async def test_a_replica_that_lags_during_incremental_polls_delays_and_hides_nothing(
    order: str, stale: int
) -> None:
    scene = a_scene(400)
    scene.service.order = order
    scene.begin("going", ago=timedelta(days=5))
    await scene.baseline()
    await scene.poll()
    before = deepcopy(scene.service.rows)
    scene.end("going", "Completed")
    scene.begin("new")
    await scene.poll()
    now, scene.service.rows = scene.service.rows, before
    for _ in range(stale):
        await scene.poll()
    scene.service.rows = now
    scene.end("new", "Failed")
    for _ in range(4):
        await scene.poll()
    assert scene.wrong() == []
    misled = [("going", "Completed", "Running"), ("going", "Running", "Completed")]
    assert sorted(scene.steps()) == sorted(
        [
            ("new", "", "Running"),
            ("going", "Running", "Completed"),
            ("new", "Running", "Failed"),
            *(misled if stale > 2 else []),  # a replica that lags for three polls looks like the truth
        ]
    )


@in_virtual_time
async def test_a_task_that_truly_goes_back_is_told_of_although_whole_and_incremental_polls_take_turns() -> (
    None
):
    scene = a_scene(400, full_poll=30.0)
    scene.begin("job", "Failed")
    await scene.baseline()
    for status in ("Running", "Failed", "Running", "Failed"):
        scene.end("job", status)
        if status == "Running":
            scene.service.rows[-1]["ended_at"] = None
        for _ in range(4):
            await scene.poll()
    assert scene.steps() == [
        ("job", "Failed", "Running"),
        ("job", "Running", "Failed"),
        ("job", "Failed", "Running"),
        ("job", "Running", "Failed"),
    ]


@in_virtual_time
async def test_fresh_answers_between_stale_ones_stop_a_step_backwards_of_a_task_on_no_incremental_list() -> (
    None
):
    scene = a_scene(400)
    scene.begin("going", ago=timedelta(hours=3))
    scene.begin("brief", "Completed", ago=timedelta(minutes=5))
    await scene.baseline()
    await scene.poll()
    before = deepcopy(scene.service.rows)
    scene.end("going", "Completed")
    now = scene.service.rows
    for number in range(12):
        scene.service.rows = before if number % 3 == 1 else now  # one replica of three lags
        await scene.poll()
    assert scene.steps() == [("going", "Running", "Completed")]


@in_virtual_time
async def test_a_step_backwards_that_waits_since_an_earlier_run_is_stopped_by_the_first_fresh_answer() -> (
    None
):
    scene = a_scene(400)
    scene.begin("going", ago=timedelta(hours=3))
    scene.begin("brief", "Completed", ago=timedelta(minutes=5))
    await scene.baseline()
    await scene.poll()
    before = deepcopy(scene.service.rows)
    scene.end("going", "Completed")
    now = scene.service.rows
    for number in range(12):
        scene.service.rows = before if number % 3 == 1 else now
        await scene.poll()
        if number % 3 == 1:
            scene.restart()
    assert scene.steps() == [("going", "Running", "Completed")]


@in_virtual_time
async def test_while_a_step_backwards_waits_whole_lists_are_read_and_no_longer() -> None:
    scene = a_scene(400)
    scene.begin("going", ago=timedelta(hours=3))
    await scene.baseline()
    await scene.poll()
    before = deepcopy(scene.service.rows)
    scene.end("going", "Completed")
    await scene.poll()
    now, scene.service.rows = scene.service.rows, before
    kinds = [(await scene.poll()).listing.full]
    # The task that was read so leaves the list: nothing more will be read of it.
    scene.service.rows = [one for one in now if one["job_id"] != "going"]
    kinds += [(await scene.poll()).listing.full for _ in range(3)]
    assert kinds == [False, True, False, False]


async def _with_replicas_that_lag(seed: int) -> list[str]:
    """Let tasks live, and each poll be answered as the list was some polls ago, at most two such in a row."""
    rng = random.Random(seed)
    scene = a_scene(rng.choice([50, 260, 400]), full_poll=rng.choice([60.0, 900.0]))
    truth: dict[str, list[str]] = {}  # per task its statuses in the order of time
    ours = [f"task-{number}" for number in range(4)]
    for job_id in ours:
        scene.begin(job_id, "Pending", ago=timedelta(hours=rng.choice([0, 3, 200])))
    scene.begin("brief", "Completed")
    past: list[list[Row]] = []
    stale = 0
    for _ in range(80):
        for one in scene.service.rows:
            if one["job_id"] in ours and one["status"] in {"Pending", "Running"} and rng.random() < 0.05:
                status = "Running" if one["status"] == "Pending" else rng.choice(["Completed", "Failed"])
                one["status"] = status
                one["ended_at"] = None if status == "Running" else stamp(scene.now())
            if one["job_id"] in ours and one["status"] not in truth.get(one["job_id"], []):
                truth.setdefault(one["job_id"], []).append(one["status"])
        now = scene.service.rows
        past.append(deepcopy(now))
        stale = stale + 1 if stale < 2 and len(past) > 3 and rng.random() < 0.4 else 0
        if stale:
            scene.service.rows = past[max(1, len(past) - rng.randrange(2, 20))]
        await scene.poll()
        scene.service.rows = now
        if rng.random() < 0.03:
            scene.restart()
    return [
        f"seed {seed}: {job_id} told as {told}, was {truth[job_id]}"
        for job_id in ours
        if not _is_in_order(
            told := [to for subject, _, to in scene.steps() if subject == job_id], truth[job_id]
        )
    ]


def _is_in_order(told: list[str], truth: list[str]) -> bool:
    """Tell whether each status told was the true one at some time after the one told before it."""
    later = iter(truth)
    return all(status in later for status in told)


@pytest.mark.parametrize("seed", range(25))
def test_what_is_told_was_true_in_that_order_whatever_replicas_lag_for_two_polls(seed: int) -> None:
    assert run_virtual(_with_replicas_that_lag(seed)) == []


# -- everything at once


SEEDS: Final = 25
POLLS: Final = 120


def _live(scene: Scene, rng: random.Random) -> None:
    """What happens to the list between two polls."""
    rows = scene.service.rows
    luck = rng.random()
    if luck < 0.2:
        scene.begin(f"new-{rng.random()}", rng.choice(["Pending", "Running", "Failed", "Odd"]))
    elif luck < 0.3:
        rows.remove(ended := rng.choice([one for one in rows if one["job_id"].startswith("old-")]))
        scene.silent.pop(ended["job_id"], None)
    for one in rows:
        if one["status"] in {"Pending", "Running", "Odd"} and rng.random() < 0.1:
            scene.end(one["job_id"], rng.choice(["Completed", "Failed"]))


def _once(request: int, live: Callable[[], None]) -> Callable[[int], None]:
    """Let the list live on just before this request."""
    return lambda number: live() if number == request else None


async def _everything(seed: int) -> set[bool]:
    rng = random.Random(seed)
    scene = a_scene(
        rng.choice([120, 260, 400]),
        numbering=rng.choice(["record", "page0", "page1"]),
        window=rng.choice(["created", "created", "ended", "ignored", "refused"]),
        filters_status=rng.random() < 0.9,
        tells_jobs=rng.random() < 0.5,
        total=rng.choice([..., ..., None, 7]),
        full_poll=rng.choice([60.0, 300.0]),
    )
    scene.service.order = rng.choice(["newest", "oldest", "by id"])
    for number in range(rng.randrange(6)):
        scene.begin(
            f"early-{number}", rng.choice(["Pending", "Running"]), ago=timedelta(days=rng.randrange(29))
        )
    kinds: set[bool] = set()
    await scene.baseline()
    for _ in range(POLLS):
        _live(scene, rng)
        if rng.random() < 0.03:
            scene.restart()
        if rng.random() < 0.05:
            scene.store.fail(Call.COMMIT, 1)
        scene.caller.before = _once(
            scene.caller.requests + rng.randrange(1, 5) if rng.random() < 0.3 else 0,
            partial(_live, scene, rng),
        )
        await asyncio.sleep(INTERVAL)
        scene.served |= {(one["job_id"], one["status"]) for one in scene.service.rows}
        poll = await scene.watch.poll()
        scene.served |= {(one["job_id"], one["status"]) for one in scene.service.rows}
        kinds |= {poll.listing.full} if poll is not None else set()
    scene.caller.before = lambda _: None
    scene.store.heal(Call.COMMIT)
    for _ in range(3 + int(scene.full_poll / INTERVAL)):
        await scene.poll()
    assert scene.wrong() == [], seed
    return kinds


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_the_service_means_nothing_is_lost_and_nothing_invented(seed: int) -> None:
    run_virtual(_everything(seed))


def test_polls_of_both_kinds_do_happen() -> None:
    assert set().union(*(run_virtual(_everything(seed)) for seed in range(5))) == {True, False}
