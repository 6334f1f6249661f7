"""The boundary of a poll: nothing a project does leaves it, and only edges are logged.

The first failure, each further cause, and the recovery are told; repeats are for debugging.
"""

from taskwatch.clock import Clock
from taskwatch.engine.poller import Poll, Poller
from taskwatch.engine.ports import StaleStateError
from taskwatch.errors import CloudError, StoreFailedError, StoreLostError, TaskwatchError
from taskwatch.telemetry import Logger


class Watch:
    """Watches one project: polls it, keeps its trouble to itself, says when to poll again."""

    def __init__(self, *, poller: Poller, clock: Clock, log: Logger) -> None:
        self.poller = poller
        self._clock = clock
        self._log = log.bind(project=poller.project.name)
        self._causes: set[str] = set()  # logged since the trouble began; empty: there is none
        self._since = 0.0

    async def tick(self) -> float:
        """Poll once. Returns the interval in seconds; raises only what ends the daemon."""
        try:
            self._judge(await self.poller.poll())
        except StoreLostError:
            raise
        except CloudError as error:
            self._fails(
                "project_unreadable",
                cause=error.cause.value,
                error=str(error),
                http_status=error.http_status,
                error_code=error.error_code,
                request_id=error.request_id,
            )
        except (StoreFailedError, StaleStateError) as error:
            self._fails("poll_not_recorded", cause="store", error=str(error))
        except TaskwatchError as error:
            self._fails("project_unreadable", cause=type(error).__name__, error=str(error))
        except Exception as error:  # noqa: BLE001  (a mistake of ours in one project must not stop the others)
            self._fails(
                "poll_broken",
                cause=type(error).__name__,
                error=f"{type(error).__name__} (a bug in taskwatch)",
                bug=error,
            )
        return self.poller.rules.cadence.interval(is_active=self.poller.is_active)

    def _judge(self, poll: Poll) -> None:
        listing = poll.listing
        self._log.debug(
            "polled",
            rows=listing.rows,
            pages=listing.pages,
            requests=listing.requests,
            events=len(poll.events),
        )
        if not listing.complete:
            failure = listing.failure
            cause = failure.cause.value if isinstance(failure, CloudError) else "moving_list"
            self._fails(
                "listing_incomplete", cause=f"incomplete {cause}", error=str(failure), rows=listing.rows
            )
        elif not listing.clean:
            self._fails("rows_quarantined", cause="quarantine", rows=listing.quarantined)
        elif self._causes:
            seconds = round(self._clock.monotonic() - self._since, 1)
            self._log.info(
                "project_readable_again", after_seconds=seconds, cause=", ".join(sorted(self._causes))
            )
            self._causes.clear()

    def _fails(self, event: str, *, cause: str, bug: Exception | None = None, **fields: object) -> None:
        if not self._causes:
            self._since = self._clock.monotonic()
        log = self._log.debug if cause in self._causes else self._log.warning
        self._causes.add(cause)
        shown = {name: value for name, value in fields.items() if value is not None}
        log(event, cause=cause, **shown, **({"exc_info": bug} if bug is not None else {}))
