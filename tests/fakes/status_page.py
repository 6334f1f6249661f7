"""The pages of a daemon that stands still: a store with everything they can show, served on loopback.

    async with served(Stage(tmp_path)) as place:
        await place.record("prod", a_task("job-1", FAILED))
        page = await place.get("/")

The daemon over it is built as `run` builds it, and never run: what its parts know is what a test lets them know.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp

from taskwatch.app import build
from taskwatch.clock import SystemClock
from taskwatch.config.load import load
from taskwatch.config.serving import TcpListen
from taskwatch.core.events import task_event
from taskwatch.engine.lane import Lane
from taskwatch.engine.ports import DeliveryError, Routed
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudCause, CloudError
from taskwatch.model.delivery import Dead, Delivered, Outcome, Reason, Scope
from taskwatch.model.project import Project
from taskwatch.model.task import COMPLETED, FAILED, RUNNING, Instance, Task
from taskwatch.notifiers.registry import kinds
from taskwatch.runtime.daemon import Daemon
from taskwatch.server.application import application
from taskwatch.server.gate import Guard
from taskwatch.server.listener import Listener
from taskwatch.server.site import Site
from taskwatch.store.desk import Desk
from taskwatch.store.reader import StoreReader
from taskwatch.store.sqlite import SqliteStore, open_store
from tests.fakes.builders import a_known, a_reading, a_transition, quiet_log
from tests.fakes.records import a_record, routed

HOST: Final = "https://gaussdb.eu-de.otc.t-systems.com"
RECEIVERS: Final = ("journal", "pipeline", "mail-gateway")
LOGIN: Final = (
    "credential otc: iam.eu-de.otc.t-systems.com answered 401 The username or password is wrong."
    " (request 6f9a1c); see to its password; next try in 4 min"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    status: int
    text: str
    headers: dict[str, str]


@dataclass
class Place:
    """What is served, and how it comes to be."""

    store: SqliteStore
    daemon: Daemon
    site: Site
    url: str
    now: datetime
    _sequences: dict[str, int] = field(default_factory=dict)

    async def get(self, path: str) -> Page:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return Page(status=answer.status, text=await answer.text(), headers=dict(answer.headers))

    def watch(self, name: str) -> Watch:
        return next(one for one in self.daemon.watches if one.poller.project.name == name)

    def lane(self, name: str) -> Lane:
        return next(one for one in self.daemon.lanes if one.receiver == name)

    async def read(self, name: str, *tasks: Task, seconds_ago: float = 5.0) -> None:
        """Let a project have been read completely so long ago, and these tasks be known without an event."""
        await self._commit(name, tasks, [], seconds_ago=seconds_ago)

    async def record(
        self, name: str, *tasks: Task, to: Sequence[str] = RECEIVERS, seconds_ago: float = 5.0
    ) -> list[str]:
        """Let these tasks have come to their status, and that be told; return the ids of the events."""
        project = self.project(name)
        told = []
        for task in tasks:
            sequence = self._sequences[task.job_id] = self._sequences.get(task.job_id, 0) + 1
            event = task_event(
                a_transition(task, from_status=None if sequence == 1 else RUNNING, revision=sequence),
                project=project,
                sequence=sequence,
                reading=a_reading(self.now - timedelta(seconds=seconds_ago)),
                failure_severities=(),
            )
            told.append(routed(event, *to))
        await self._commit(name, tasks, told, seconds_ago=seconds_ago)
        return [one.event.id for one in told]

    async def settle(self, event_id: str, outcome: Outcome, *receivers: str) -> None:
        """Let this become of the deliveries of an event."""
        with StoreReader(self.store.path) as reader:
            rows = reader.deliveries(event_id=event_id)
        for row in rows:
            if row.receiver in receivers:
                await self.store.record(row.id, outcome, self.now)

    def acknowledge(self, job_id: str, *, comment: str, by: str = "ida (uid 1000 at db-watch-1)") -> None:
        with Desk(self.store.path, by=by) as desk:
            desk.acknowledge([job_id], until=None, comment=comment, at=self.now)

    def fail(
        self,
        receiver: str,
        detail: str,
        *,
        reason: Reason = Reason.SERVER_ERROR,
        scope: Scope = Scope.RECEIVER,
    ) -> None:
        """Let the last attempt at a receiver have failed."""
        lane = self.lane(receiver)
        error = DeliveryError(reason=reason, detail=detail, scope=scope)
        lane._failure = error
        lane._breaker.failed(error, attempts=3, now=lane._clock.monotonic() - 700)

    def work(self, receiver: str) -> None:
        lane = self.lane(receiver)
        lane._breaker.succeeded(now=lane._clock.monotonic() - 9000)

    def trouble(self, name: str, cause: CloudCause, error: str) -> None:
        """Let the last poll of a project have failed."""
        watch = self.watch(name)
        watch._ails(cause.value, CloudError(cause=cause, message=error))
        watch._fails("project_unreadable", cause=cause.value, error=error, is_told=True)

    def project(self, name: str) -> Project:
        return self.watch(name).poller.project

    async def _commit(
        self, name: str, tasks: Sequence[Task], told: Sequence[Routed], *, seconds_ago: float
    ) -> None:
        project = self.project(name)
        state = await self.store.enrol(project.identity, project.name)
        at = self.now - timedelta(seconds=seconds_ago)
        known = [a_known(task, sequence=self._sequences.get(task.job_id, 0)) for task in tasks]
        await self.store.commit(a_record(state, tasks=known, events=told, observed_at=at, baseline_at=at))


@asynccontextmanager
async def served(
    directory: Path, *projects: str, receivers: Sequence[str] = RECEIVERS, is_open: bool = True
) -> AsyncIterator[Place]:
    """Serve the pages of a daemon that watches these projects."""
    file = directory / "taskwatch.yaml"
    file.write_text(
        json.dumps(
            {
                "store": {"path": "taskwatch.db"},
                "credentials": {"otc": {"type": "none"}},
                "defaults": {"interval": "15s"},
                "projects": [
                    {"name": name, "endpoint": HOST, "project_id": f"0611f1bd8b00d5d32f17c017{number:08x}"}
                    for number, name in enumerate(projects)
                ],
                "receivers": [{"name": name, "type": "log"} for name in receivers],
            }
        )
    )
    config = load(file, kinds())
    clock = SystemClock()
    store = open_store(config.store.path, clock=clock)
    try:
        async with build(config, store=store) as daemon:
            site = Site(config.server, clock=clock, log=quiet_log())
            listener = Listener(application(site, Guard(config.server, quiet_log())))
            await listener.open(TcpListen(host="127.0.0.1", port=0))
            assert listener.url is not None
            place = Place(store=store, daemon=daemon, site=site, url=listener.url, now=datetime.now(UTC))
            if is_open:
                site.show(daemon)
            try:
                yield place
            finally:
                await site.hide()
                await listener.close()
    finally:
        await store.close()


def a_task(
    job_id: str,
    status: str,
    name: str,
    instance: str | None,
    *,
    minutes: float,
    now: datetime,
    progress: int | None = None,
    fail_reason: str | None = None,
) -> Task:
    """Return a task that began so many minutes ago; one that has ended did so a minute ago."""
    is_over = status in (COMPLETED, FAILED)
    return Task(
        job_id=job_id,
        name=name,
        status=status,
        progress=progress,
        fail_reason=fail_reason,
        created_at=now - timedelta(minutes=minutes),
        ended_at=now - timedelta(minutes=1) if is_over else None,
        instance=Instance(id=f"{job_id[:8]}in14", name=instance, status="normal"),
    )


async def night(place: Place) -> None:
    """Let it be three in the morning: some of everything, and texts of a hostile cloud among it.

    For the projects shop-prod, billing-prod, crm-prod, a long name, and quiet.
    """
    now = place.now
    shop = [
        a_task("03bc055a-135c-4245-8bd8-b0bc6d3350b3", FAILED, "CreateGaussDBV5Instance", "gauss-stock-f946",
               minutes=42, now=now, fail_reason="The ECS resources are insufficient in the availability zone."),
        a_task("5cc0a3a1-77aa-4f1e-9c2b-58d1d1c0aa01", FAILED, "RestoreGaussDBV5InInstance", "gauss-auth-d373",
               minutes=190, now=now, fail_reason="no space left on device"),
        a_task("job/../x?y=1#z 'q' \"r\" <b>", FAILED, "<script>document.title='owned'</script>",
               "{{7*7}} \u202egnp.exe", minutes=12, now=now,
               fail_reason="</td></table><img src=x onerror=alert(1)> \x1b[31mred\x1b[0m one\u2028two " + "x" * 300),
    ]  # fmt: skip
    running = [
        a_task("b1f4c7d2-0000-4000-8000-000000000001", RUNNING, "ResizeGaussDBV5Flavor", "gauss-orders-04",
               minutes=35, now=now, progress=70),
        a_task("b1f4c7d2-0000-4000-8000-000000000002", RUNNING, "RestoreGaussDBV5InInstance", "gauss-auth-d373",
               minutes=64, now=now, progress=8),
        a_task("b1f4c7d2-0000-4000-8000-000000000003", RUNNING, "BackupSnapshotGaussDBV5InInstance",
               "gauss-" + "very-long-instance-name-" * 4, minutes=3, now=now),
    ]  # fmt: skip
    first, second, third = await place.record("shop-prod", *shop, seconds_ago=150)
    await place.record("shop-prod", *running, to=("journal",), seconds_ago=60)
    done = a_task("d0ne0000-0000-4000-8000-000000000009", COMPLETED, "CreateGaussDBV5Instance", "gauss-reports-03",
                  minutes=55, now=now)  # fmt: skip
    (over,) = await place.record("shop-prod", done, to=("journal",), seconds_ago=4)
    await place.record(
        "billing-prod",
        a_task("5ta1e000-0000-4000-8000-000000000007", RUNNING, "ResizeGaussDBV5Storage", "gauss-billing-01",
               minutes=700, now=now, progress=55),
        to=("journal",), seconds_ago=2700,
    )  # fmt: skip
    await place.read("crm-prod", seconds_ago=610)
    await place.read("quiet", seconds_ago=11)
    place.acknowledge("5cc0a3a1-77aa-4f1e-9c2b-58d1d1c0aa01", comment="growing the volume, back at four")
    gone = Dead(
        reason=Reason.REJECTED,
        detail="hooks.example answered 422: summary <b>too long</b>",
        why="poison",
        poisoned=10,
        tried_seconds=600.0,
    )
    await place.settle(third, gone, "pipeline")
    await place.settle(first, gone, "mail-gateway")
    for event_id in (first, second, third, over):
        await place.settle(event_id, Delivered(), "journal")
    place.work("journal")
    place.fail("pipeline", "hooks.example answered 503: down for maintenance")
    place.fail(
        "mail-gateway",
        "relay.example answered 410: this address is gone",
        reason=Reason.GONE,
        scope=Scope.PAUSED,
    )
    place.trouble("crm-prod", CloudCause.LOGIN, LOGIN)


NIGHT: Final = (
    "shop-prod",
    "billing-prod",
    "crm-prod",
    "a-project-whose-name-is-as-long-as-names-may-be-000000",
    "quiet",
)
