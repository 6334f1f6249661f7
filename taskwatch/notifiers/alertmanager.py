"""The receiver `alertmanager`: what needs attention now, at every replica, until it is over.

Invariants:
- What is posted is how an alert stands at that moment, read under the lock of its replica: an old firing never
  follows a resolve.
- Labels are frozen before the first post: an alert keeps its name for as long as it lives.
- An open alert is posted again each minute, and lasts FIRING at a replica that hears no more of it. One that is over
  is posted until every replica has taken it, or for SETTLED_SECONDS.

Alertmanager API v2, POST /api/v2/alerts (https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml).
"""

import asyncio
import re
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self

import msgspec
from pydantic import BeforeValidator, Field, model_validator

from taskwatch.clock import Clock
from taskwatch.config.fields import Duration, Labels, at_least_one, between
from taskwatch.config.kept import SecretUrl
from taskwatch.config.section import default
from taskwatch.core.letters import page_of
from taskwatch.engine.ports import AlertBook, DeliveryError, Standing
from taskwatch.errors import StoreFailedError
from taskwatch.model.delivery import Message
from taskwatch.model.event import EventId, EventType
from taskwatch.notifiers.http_options import HttpOptions
from taskwatch.notifiers.replica import Replica
from taskwatch.telemetry import Logger, printable
from taskwatch.tls import Tls

if TYPE_CHECKING:
    import aiohttp

    from taskwatch.notifiers.endpoint import Endpoint

PATH: Final = "/api/v2/alerts"
FIRING: Final = timedelta(minutes=15)  # longer than a host takes to come up again
SETTLED_SECONDS: Final = 15 * 60.0
TRIED: Final = timedelta(minutes=1)  # how long the alert of a test fires
BATCH: Final = 500  # alerts in a request
WAITING: Final = 8  # posts that wait for one replica; the next repetition carries what is left out

_WORD: Final = re.compile(r"[._]")


class AlertmanagerOptions(HttpOptions):
    """Keeps an Alertmanager, every replica of it, told of what needs attention."""

    keeps_alerts: ClassVar[bool] = True
    type: Literal["alertmanager"]
    urls: Annotated[tuple[SecretUrl, ...], BeforeValidator(at_least_one)] = Field(
        examples=['["http://am-0:9093", "http://am-1:9093"]'],
        description="every replica, without a load balancer between; treated as secrets",
    )
    labels: Labels = default({}, "further labels of each alert")
    fire_for: Annotated[Duration, between(60.0, 31 * 86_400.0)] = default(
        "72h", "an alert that nobody ends stops firing there after so long"
    )

    @model_validator(mode="after")
    def _hears_the_end(self) -> Self:
        if not self.send_resolved:
            raise ValueError(
                "send_resolved is false, and what is over would fire there for a quarter of an hour; leave it out, "
                "and write send_resolved: false at Alertmanager's own receivers"
            )
        return self


def open_notifier(
    options: AlertmanagerOptions, *, clock: Clock, log: Logger, alerts: AlertBook
) -> "AlertmanagerNotifier":
    """Open the notifier, with connections of its own."""
    # They bring aiohttp, and commands that list something read the options and open nothing.
    from taskwatch.notifiers.connection import open_session  # noqa: PLC0415
    from taskwatch.notifiers.endpoint import Endpoint  # noqa: PLC0415

    tls = Tls(options.tls.trust, log=log.bind(receiver=options.name))
    session = open_session(options.timeout)
    replicas = [
        Endpoint(options, url=url, path=PATH, session=session, clock=clock, tls=tls) for url in options.urls
    ]
    return AlertmanagerNotifier(
        options, session=session, replicas=replicas, clock=clock, alerts=alerts, log=log
    )


class _Data(msgspec.Struct):
    resolves: str | list[str] | None = None


class _Told(msgspec.Struct):
    id: str
    type: str
    data: _Data


class AlertmanagerNotifier:
    """Posts how alerts stand. A delivery is done when one replica has taken it."""

    def __init__(
        self,
        options: AlertmanagerOptions,
        *,
        session: "aiohttp.ClientSession",
        replicas: "Iterable[Endpoint]",
        clock: Clock,
        alerts: AlertBook,
        log: Logger,
    ) -> None:
        self._options = options
        self._session = session
        self._clock = clock
        self._alerts = alerts
        self._log = log.bind(receiver=options.name)
        self._replicas = [
            Replica(number, endpoint, clock=clock, log=self._log) for number, endpoint in enumerate(replicas)
        ]
        self._posts: set[asyncio.Task[None]] = set()  # to replicas that are slower than another
        self._over_since: dict[EventId, float] = {}  # monotonic, of alerts that are over
        self._repeated_at: float | None = None

    async def notify(self, message: Message) -> None:
        """Post how the alerts stand that the event opened or ended; of what is no alert there is nothing to say."""
        told = msgspec.json.decode(message.body, type=_Told)
        if told.type == EventType.RECEIVER_TEST:
            await self._to_any(lambda replica: replica.post(lambda now: [self._trial(message, now)]))
            return
        resolves = told.data.resolves
        ids = [told.id] if resolves is None else [resolves] if isinstance(resolves, str) else resolves
        events = [EventId(event_id) for event_id in ids]
        if await self._alerts.standing(self._options.name, events):
            await self._to_any(lambda replica: self._say(replica, events))

    async def repeat(self) -> None:
        """Post all that stands to every replica."""
        now = self._clock.monotonic()
        passed = 0.0 if self._repeated_at is None else now - self._repeated_at
        self._repeated_at = now
        standing = await self._alerts.standing(self._options.name)
        if not standing:
            self._over_since.clear()
            return
        await self._alerts.fired(self._options.name, seconds=passed)
        results = await asyncio.gather(
            *(self._say(replica, None) for replica in self._replicas), return_exceptions=True
        )
        for replica, result in zip(self._replicas, results, strict=True):
            self._tell(replica, result)
        await self._settle(now)

    async def connect(self) -> None:
        """Connect to every replica, and send nothing."""
        for replica in self._replicas:
            await replica.endpoint.connect()

    async def close(self) -> None:
        for post in self._posts:
            post.cancel()
        await asyncio.gather(*self._posts, return_exceptions=True)
        await self._session.close()

    async def _to_any(self, post: Callable[[Replica], Coroutine[None, None, None]]) -> None:
        """Post to every replica; return when the first has taken it. Raises DeliveryError if none does.

        The others go on meanwhile. One that is far behind is left to the next repetition.
        """
        ready = [replica for replica in self._replicas if replica.waiting < WAITING] or self._replicas
        posts = [asyncio.create_task(post(replica)) for replica in ready]
        for task in posts:
            self._posts.add(task)
            task.add_done_callback(self._ended)
        failures = []
        for ended in asyncio.as_completed(posts):
            try:
                await ended
            except DeliveryError as error:
                failures.append(error)
            else:
                return
        raise failures[0]

    def _ended(self, post: asyncio.Task[None]) -> None:
        self._posts.discard(post)
        if not post.cancelled():
            post.exception()  # it is told by who waits for it, or by the next repetition

    async def _say(self, replica: Replica, events: Collection[EventId] | None) -> None:
        """Post how these alerts stand, or all; what stands is read when it is the replica's turn."""
        async with replica.turn():
            standing = await self._frozen(await self._alerts.standing(self._options.name, events))
            for begin in range(0, len(standing), BATCH):
                batch = standing[begin : begin + BATCH]
                await replica.post(partial(self._alerts_at, batch))
                replica.taken |= {alert.event_id for alert in batch if self._is_over(alert)}

    async def _frozen(self, standing: Sequence[Standing]) -> list[Standing]:
        """Give each alert the labels that it keeps, before anybody hears of it."""
        fresh = {
            alert.event_id: {**_labels(alert), **self._options.labels}
            for alert in standing
            if alert.labels is None
        }
        if fresh:
            await self._alerts.freeze(self._options.name, fresh)
        return [
            replace(alert, labels=fresh[alert.event_id]) if alert.event_id in fresh else alert
            for alert in standing
        ]

    def _is_over(self, alert: Standing) -> bool:
        return alert.ended_at is not None or alert.fired_seconds >= self._options.fire_for

    def _alerts_at(self, batch: Sequence[Standing], now: datetime) -> list[dict[str, Any]]:
        return [self._alert(alert, now) for alert in batch]

    def _alert(self, alert: Standing, now: datetime) -> dict[str, Any]:
        """Return what is posted to a replica whose time is `now`. What is over ends there in no future, the rest in no past."""
        starts = _starts_at(alert)
        if self._is_over(alert):
            ends = min(now, max(starts, alert.ended_at or now))
        else:
            ends = max(now, self._clock.now()) + FIRING  # a proxy may have told the time, and a wrong one
        return {
            "labels": alert.labels,
            "annotations": _annotations(alert),
            "startsAt": _rfc3339(min(starts, ends)),  # by whatever clock it is, never after the end: refused
            "endsAt": _rfc3339(ends),
            **self._link(msgspec.json.decode(alert.body)),
        }

    def _link(self, event: Mapping[str, Any]) -> dict[str, str]:
        """Say where people find more, if that is known."""
        page = self._options.status_page
        return {} if page is None else {"generatorURL": page_of(event, page)}

    async def _settle(self, now: float) -> None:
        """Let go of what is over, once every replica has taken that or has had its time."""
        over = [
            alert.event_id
            for alert in await self._alerts.standing(self._options.name)
            if self._is_over(alert)
        ]
        self._over_since = {event_id: self._over_since.get(event_id, now) for event_id in over}
        settled = [
            event_id
            for event_id, since in self._over_since.items()
            if now - since >= SETTLED_SECONDS or all(event_id in replica.taken for replica in self._replicas)
        ]
        if settled:
            await self._alerts.settle(self._options.name, settled)
        for replica in self._replicas:
            replica.taken &= set(over) - set(settled)

    def _tell(self, replica: Replica, result: object) -> None:
        """Log when a replica begins to miss what is repeated, and when it takes it again."""
        if isinstance(result, DeliveryError | StoreFailedError):
            log = self._log.debug if replica.is_missing else self._log.warning
            log("alerts_not_repeated", replica=replica.name, error=str(result))
            replica.is_missing = True
        elif isinstance(result, BaseException):
            raise result
        elif replica.is_missing:
            self._log.info("alerts_repeated_again", replica=replica.name)
            replica.is_missing = False

    def _trial(self, message: Message, now: datetime) -> dict[str, Any]:
        event = msgspec.json.decode(message.body)
        return {
            "labels": {
                "alertname": _alertname(event["type"]),
                "severity": event["data"]["severity"],
                "receiver": self._options.name,
                **self._options.labels,
            },
            "annotations": {"summary": event["data"]["summary"], "event_id": message.event_id},
            "startsAt": _rfc3339(now),
            "endsAt": _rfc3339(now + TRIED),
            **self._link(event),
        }


def _labels(alert: Standing) -> dict[str, str]:
    """Return the labels that tell an alert from any other; what is unknown is left out."""
    event = msgspec.json.decode(alert.body)
    data = event["data"]
    project, task = data.get("project", {}), data.get("task", {})
    instance = task.get("instance", {})
    labels = {
        **project.get("labels", {}),
        "alertname": _alertname(event["type"]),
        "severity": data["severity"],
        "project": project.get("name"),
        "task": task.get("name"),
        "job_id": task.get("job_id"),
        "instance_name": instance.get("name"),
        "instance_id": instance.get("id"),
        # Two receivers that are down, and two hosts, are two alerts.
        "receiver": data.get("receiver", {}).get("name"),
        "host": data.get("host"),
        "login": data.get("login"),
    }
    return _harmless(labels)


def _harmless(texts: Mapping[str, str | None]) -> dict[str, str]:
    """Leave out what is unknown, and escape what would do something to the terminal of who lists alerts there."""
    return {name: printable(text) for name, text in texts.items() if text}


def _annotations(alert: Standing) -> dict[str, str]:
    data = msgspec.json.decode(alert.body)["data"]
    annotations = {
        "summary": data["summary"],
        "fail_reason": data.get("task", {}).get("fail_reason"),
        "event_id": alert.event_id,
    }
    return _harmless(annotations)


def _starts_at(alert: Standing) -> datetime:
    """Return when a failure ended, if the cloud's word on that is sane, else when it was seen."""
    event = msgspec.json.decode(alert.body)
    seen = datetime.fromisoformat(event["time"])
    task = event["data"].get("task", {})
    if event["type"] != EventType.TASK_FAILED or task.get("ended_at") is None:
        return seen
    ended = datetime.fromisoformat(task["ended_at"])
    created = None if task.get("created_at") is None else datetime.fromisoformat(task["created_at"])
    is_sane = ended <= seen and (created is None or created <= ended)
    return ended if is_sane else seen


def _alertname(type_: str) -> str:
    """Return taskwatch.task.failed as TaskwatchTaskFailed."""
    return "".join(word.capitalize() for word in _WORD.split(type_))


def _rfc3339(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
