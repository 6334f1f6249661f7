"""One ping of the heartbeat: an empty POST, over a connection of its own; it is sent once a minute or less."""

from taskwatch.clock import Clock
from taskwatch.config.serving import Heartbeat
from taskwatch.notifiers.connection import open_session
from taskwatch.notifiers.endpoint import Endpoint
from taskwatch.notifiers.http_options import HttpOptions
from taskwatch.telemetry import Logger
from taskwatch.tls import Tls


async def ping(heartbeat: Heartbeat, *, clock: Clock, log: Logger) -> None:
    """Post to the URL of the heartbeat. Raises DeliveryError, which does not show the URL."""
    options = HttpOptions.model_validate({"name": "heartbeat", "type": "heartbeat"})
    async with open_session(options.timeout) as session:
        tls = Tls(options.tls.trust, log=log)
        await Endpoint(options, url=heartbeat.url, session=session, clock=clock, tls=tls).post(b"", {})
