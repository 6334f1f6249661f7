"""The receiver `log`: each event is one line of the daemon's own log."""

from typing import Literal

import msgspec

from taskwatch.clock import Clock
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.engine.ports import AlertBook, DeliveryError
from taskwatch.model.delivery import Message, Reason, Scope
from taskwatch.telemetry import Logger, teller


class LogOptions(ReceiverOptions):
    """`{name: …, type: log}`: nothing more to say."""

    type: Literal["log"]


def open_notifier(options: LogOptions, *, clock: Clock, log: Logger, alerts: AlertBook) -> "LogNotifier":  # noqa: ARG001  (all kinds are opened alike)
    """Open the notifier upon the daemon's log, whatever its level."""
    return LogNotifier(teller(receiver=options.name))


class _Data(msgspec.Struct):
    severity: str
    summary: str
    project: dict[str, object] | None = None  # none when a receiver is tried


class _Told(msgspec.Struct):
    type: str
    subject: str
    data: _Data


class LogNotifier:
    """Writes the event as a line whose level is its severity."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    async def notify(self, message: Message) -> None:
        event = msgspec.json.decode(message.body, type=_Told)
        write = {"critical": self._log.critical, "warning": self._log.warning}.get(
            event.data.severity, self._log.info
        )
        try:
            write(
                event.type,
                summary=event.data.summary,
                **({"project": event.data.project["name"]} if event.data.project is not None else {}),
                type=event.type,
                severity=event.data.severity,
                subject=event.subject,
                event_id=message.event_id,
            )
        except OSError as error:
            raise DeliveryError(Reason.NETWORK, str(error), Scope.RECEIVER) from error

    async def repeat(self) -> None:
        """Repeat nothing: a line stands."""

    async def connect(self) -> None:
        """Find nothing to connect to: the log is always at hand."""

    async def close(self) -> None:
        """Nothing is held open."""
