"""The receiver `log`: what it is given is told, whatever the daemon's own lines suffer."""

import errno
import io
import json
import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

from taskwatch import telemetry
from taskwatch.clock import SystemClock
from taskwatch.engine.ports import DeliveryError, NoAlerts
from taskwatch.model.delivery import Reason, Scope
from taskwatch.model.event import Severity
from taskwatch.notifiers.log import LogNotifier, LogOptions, open_notifier
from tests.fakes.messages import a_message

Configure = Callable[..., io.StringIO]


class FullDisk(io.StringIO):
    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Configure the logs at this level, upon a stream; return the stream."""
    handlers, level = logging.root.handlers[:], logging.root.level

    def upon(level: str, stream: io.StringIO | None = None) -> io.StringIO:
        target = stream or io.StringIO()
        telemetry.configure(format_="json", level=level, stream=target)
        return target

    yield upon
    structlog.reset_defaults()
    logging.root.handlers[:], logging.root.level = handlers, level


def opened() -> LogNotifier:
    options = LogOptions.model_validate({"name": "journal", "type": "log"})
    return open_notifier(options, clock=SystemClock(), log=telemetry.logger(), alerts=NoAlerts())


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
@pytest.mark.parametrize(
    ("severity", "shown"),
    [(Severity.INFO, "info"), (Severity.WARNING, "warning"), (Severity.CRITICAL, "critical")],
)
async def test_an_event_is_told_at_its_severity_whatever_the_level_of_the_log(
    level: str, severity: Severity, shown: str, configure: Configure
) -> None:
    stream, message = configure(level), a_message(severity=severity)
    await opened().notify(message)

    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert (told["level"], told["event_id"], told["receiver"]) == (shown, message.event_id, "journal")


async def test_a_closed_pipe_is_a_failed_delivery(configure: Configure) -> None:
    stream, notifier = configure("info"), opened()
    stream.close()

    with pytest.raises(DeliveryError) as raised:
        await notifier.notify(a_message())

    assert (raised.value.reason, raised.value.scope) == (Reason.NETWORK, Scope.RECEIVER)
    assert str(raised.value) == "the log cannot be written"


async def test_a_full_disk_is_a_failed_delivery_and_stops_no_line_of_the_daemons_own(
    configure: Configure,
) -> None:
    configure("info", FullDisk())

    with pytest.raises(DeliveryError):
        await opened().notify(a_message())
    telemetry.logger().error("nobody_hears_this")
