"""The receiver `pagerduty`: an alert opens an incident, is acknowledged there, and ends it.

Events API v2, POST /v2/enqueue (https://developer.pagerduty.com/docs/events-api-v2/overview). The id of the event that
opened the alert is the key of the incident: a copy is the same incident, and no other is.
"""

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import msgspec
from pydantic import Field

from taskwatch.clock import Clock
from taskwatch.config.kept import SecretText, SecretUrl
from taskwatch.config.section import default
from taskwatch.engine.ports import AlertBook, DeliveryError
from taskwatch.errors import SecretUnreadableError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.model.event import EventId, EventType
from taskwatch.notifiers.http_options import HttpOptions
from taskwatch.telemetry import Logger
from taskwatch.tls import Tls

if TYPE_CHECKING:
    import aiohttp

    from taskwatch.notifiers.endpoint import Endpoint

ENQUEUE: Final = "https://events.pagerduty.com/v2/enqueue"
SUMMARY: Final = 1024  # characters, as the API takes them


class PagerdutyOptions(HttpOptions):
    """Opens, acknowledges and resolves incidents at PagerDuty."""

    keeps_alerts: ClassVar[bool] = True
    type: Literal["pagerduty"]
    routing_key: SecretText = Field(
        examples=["{file: PATH}"], description="the integration key of the service, of type Events API v2"
    )
    url: SecretUrl = default(ENQUEUE, "for accounts in the EU: https://events.eu.pagerduty.com/v2/enqueue")


def open_notifier(
    options: PagerdutyOptions, *, clock: Clock, log: Logger, alerts: AlertBook
) -> "PagerdutyNotifier":
    """Open the notifier, with connections of its own."""
    # They bring aiohttp, and commands that list something read the options and open nothing.
    from taskwatch.notifiers.connection import open_session  # noqa: PLC0415
    from taskwatch.notifiers.endpoint import Endpoint  # noqa: PLC0415

    tls = Tls(options.tls.trust, log=log.bind(receiver=options.name))
    session = open_session(options.timeout)
    endpoint = Endpoint(options, url=options.url, session=session, clock=clock, tls=tls)
    return PagerdutyNotifier(options, session=session, endpoint=endpoint, alerts=alerts, log=log)


class PagerdutyNotifier:
    """Sends one event for each step of an alert. Events that open or end none are not sent."""

    def __init__(
        self,
        options: PagerdutyOptions,
        *,
        session: "aiohttp.ClientSession",
        endpoint: "Endpoint",
        alerts: AlertBook,
        log: Logger,
    ) -> None:
        self._options = options
        self._session = session
        self._endpoint = endpoint
        self._alerts = alerts
        self._log = log.bind(receiver=options.name)
        self._acknowledged: set[EventId] = set()  # as was sent by this run
        self._turn = asyncio.Lock()  # an acknowledgement never follows the end of its alert
        self._is_missing = False

    async def notify(self, message: Message) -> None:
        event = msgspec.json.decode(message.body)
        name, resolves = self._options.name, event["data"].get("resolves")
        if event["type"] == EventType.RECEIVER_TEST:
            # Open for a moment: whoever is on call sees it, and has nothing to do.
            await self._send("trigger", message.event_id, _payload(event))
            await self._send("resolve", message.event_id)
            return
        if resolves is None:
            await self._open(name, message.event_id, event)
            return
        ended = [EventId(each) for each in ([resolves] if isinstance(resolves, str) else resolves)]
        for alert in await self._alerts.standing(name, ended):
            async with self._turn:
                if alert.labels is not None:  # it was opened there
                    await self._send("resolve", alert.event_id)
                await self._alerts.settle(name, [alert.event_id])
                self._acknowledged.discard(alert.event_id)

    async def repeat(self) -> None:
        """Acknowledge there what was acknowledged here."""
        for alert in await self._alerts.standing(self._options.name):
            is_new = alert.event_id not in self._acknowledged
            if (
                alert.acknowledged_by is None
                or alert.ended_at is not None
                or alert.labels is None
                or not is_new
            ):
                continue
            async with self._turn:
                if not await self._alerts.standing(self._options.name, [alert.event_id]):
                    continue
                try:
                    await self._send("acknowledge", alert.event_id)
                except DeliveryError as error:
                    log = self._log.debug if self._is_missing else self._log.warning
                    log("not_acknowledged", event_id=alert.event_id, error=str(error))
                    self._is_missing = True
                    return
                self._is_missing = False
                self._acknowledged.add(alert.event_id)

    async def connect(self) -> None:
        """Open a connection, TLS included, and close it. Through a proxy: to the proxy."""
        await self._endpoint.connect()

    async def close(self) -> None:
        await self._session.close()

    async def _open(self, name: str, event_id: EventId, event: dict[str, Any]) -> None:
        for alert in await self._alerts.standing(name, [event_id]):
            if alert.ended_at is None:  # nobody is called for what is over
                await self._send("trigger", event_id, _payload(event))
                await self._alerts.freeze(name, {event_id: {"dedup_key": event_id}})

    async def _send(self, action: str, key: str, payload: dict[str, Any] | None = None) -> None:
        try:
            routing_key = self._options.routing_key.reveal()
        except SecretUnreadableError as error:
            raise DeliveryError(Reason.UNAUTHORIZED, str(error), Scope.RECEIVER) from error
        event = {"routing_key": routing_key, "event_action": action, "dedup_key": key, "client": "taskwatch"}
        if payload is not None:
            event["payload"] = payload  # type: ignore[assignment]  # of JSON
        body = msgspec.json.encode(event)
        await self._endpoint.post(body, {"Content-Type": "application/json"}, secrets={routing_key})


def _payload(event: dict[str, Any]) -> dict[str, Any]:
    data = event["data"]
    project, task = data.get("project", {}), data.get("task", {})
    instance = task.get("instance", {})
    details = {
        "event_id": event["id"],
        "type": event["type"],
        "job_id": task.get("job_id"),
        "fail_reason": task.get("fail_reason"),
        "instance_id": instance.get("id"),
        "cause": data.get("cause"),
        "error": data.get("error"),
        **{f"label_{name}": text for name, text in project.get("labels", {}).items()},
    }
    payload = {
        "summary": data["summary"][:SUMMARY],
        "source": instance.get("name") or project.get("name") or event["subject"],
        "severity": data["severity"],
        "timestamp": event["time"],
        "component": instance.get("name"),
        "group": project.get("name"),
        "class": task.get("name") or event["type"],
        "custom_details": {name: text for name, text in details.items() if text},
    }
    return {name: value for name, value in payload.items() if value}
