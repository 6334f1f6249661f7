"""The boundary of a poll: nothing a project does leaves it, and only edges are logged.

The first failure, each further cause, and the recovery are told; repeats are for debugging. A refused
login is no project's trouble alone: it is told once, by the login.
"""

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Final

from taskwatch.clock import Clock
from taskwatch.core.health import patience
from taskwatch.engine.budget import Budget
from taskwatch.engine.poller import Poll, Poller
from taskwatch.engine.ports import StaleStateError
from taskwatch.engine.tally import PollResult, Result, Tally
from taskwatch.errors import CloudCause, CloudError, StoreFailedError, StoreLostError, TaskwatchError
from taskwatch.model.outage import Ailment, Kind, Place
from taskwatch.model.project import Condition, Trouble
from taskwatch.telemetry import Logger

_QUARANTINE: Final = "quarantine"
_SHRUNK: Final = "shrink"
_SHRINKING: Final = (
    "more than ten tasks and a fifth of them are missing at once; nothing is concluded for an hour"
)
# What fails like this fails for all projects at the host.
_OF_THE_HOST: Final = frozenset(
    {
        CloudCause.NETWORK,
        CloudCause.TLS,
        CloudCause.TIMEOUT,
        CloudCause.CLOUD,
        CloudCause.THROTTLED,
        CloudCause.BAD_ANSWER,
    }
)


class Watch:
    """Watches one project: polls it, keeps its trouble to itself, says when to poll again."""

    def __init__(
        self,
        *,
        poller: Poller,
        credential: str,
        clock: Clock,
        log: Logger,
        edge: Callable[[], None] = lambda: None,
        tally: Tally | None = None,
    ) -> None:
        """`edge` is called when trouble begins and when it ends. Polls are counted in `tally`."""
        self.poller = poller
        self.credential = credential
        self._clock = clock
        self._unbound_log = log
        self._bound_log: tuple[str, Logger] | None = None  # and the name it is bound to
        self._edge = edge
        self._tally = tally or Tally()
        self._turn = asyncio.Lock()
        # Causes since the trouble began, and which of them are logged at warning; empty: there is no trouble.
        self._causes: dict[str, bool] = {}
        self._since = 0.0
        self._trouble: Trouble | None = None
        self.ailment: Ailment | None = None  # what kept the last poll from reading the list rightly
        self.works_since: float | None = None  # monotonic; None: the last poll did not, or there was none
        self.result: Result | None = None  # of the last poll; None: there was none
        # Before the first complete reading of this run, or of those that ended a trouble.
        self.gap_seconds: float | None = None
        self._budget: Budget | None = None
        self._has_told_cost = False
        self._next_poll = clock.now(), 0.0  # so many seconds after that

    @property
    def _log(self) -> Logger:
        name = self.poller.project.name
        if self._bound_log is None or self._bound_log[0] != name:
            self._bound_log = name, self._unbound_log.bind(project=name)
        return self._bound_log[1]

    @property
    def condition(self) -> Condition:
        """How the watching goes."""
        began, wait = self._next_poll
        next_poll_at = began + timedelta(seconds=wait)
        return Condition(interval=self._interval, next_poll_at=next_poll_at, trouble=self._trouble)

    @property
    def configured_interval(self) -> float:
        """The interval that is asked for."""
        return self.poller.rules.cadence.interval(is_active=self.poller.is_active)

    @property
    def _interval(self) -> float:
        """The interval that is kept: longer than the configured one where the rate carries no more."""
        return self.configured_interval * self._stretched

    @property
    def _stretched(self) -> float:
        return 1.0 if self._budget is None else self._budget.factor

    def share(self, budget: Budget | None) -> None:
        """Poll at the expense of this budget from now on; None: of none, as when it is watched no more."""
        if self._budget is not None and self._budget is not budget:
            self._budget.leave(self)
        self._budget = budget

    async def tick(self) -> float:
        """Poll once. Returns the interval in seconds; raises only what ends the daemon."""
        began = self._clock.now()
        await self.poll()
        interval = self._interval
        self._next_poll = began, interval
        return interval

    async def poll(self) -> Poll | None:
        """Poll once, after a poll that is under way. None: it failed, and `condition` says why.

        Raises only what ends the daemon.
        """
        async with self._turn:
            self.poller.stretched = self._stretched
            return await self._poll()

    async def resolve(self, jobs: Collection[str], *, by: str, comment: str | None) -> None:
        """End the open alerts of these tasks, after a poll that is under way. Raises StoreFailedError."""
        async with self._turn:
            await self.poller.resolve(jobs, by=by, comment=comment)

    async def _poll(self) -> Poll | None:
        began = self._clock.monotonic()
        try:
            poll = await self.poller.poll()
        except StoreLostError:
            raise
        except CloudError as error:
            self._count(error.cause, began)
            self._spend(1)  # one at least, had the cloud let it
            self._ails(error.cause.value, error)
            self._fails(
                "project_unreadable",
                cause=error.cause.value,
                error=str(error),
                http_status=error.http_status,
                error_code=error.error_code,
                request_id=error.request_id,
                is_told=error.is_told,
            )
        except (StoreFailedError, StaleStateError) as error:
            self._count(PollResult.NOT_RECORDED, began)
            # The cloud was read; and while nothing can be recorded, nobody can be told.
            self._fails("poll_not_recorded", cause="store", error=str(error))
        except TaskwatchError as error:
            self._count(PollResult.UNREADABLE, began)
            self._ails(type(error).__name__, error)
            self._fails("project_unreadable", cause=type(error).__name__, error=str(error))
        except Exception as error:  # noqa: BLE001  (a mistake of ours in one project must not stop the others)
            self._count(PollResult.BROKEN, began)
            bug = f"{type(error).__name__} (a bug in taskwatch)"
            self._ails(type(error).__name__, bug)
            self._fails("poll_broken", cause=type(error).__name__, error=bug, bug=error)
        else:
            self._count(_result_of(poll), began)
            self._judge(poll)
            return poll
        return None

    def _count(self, result: Result, began: float) -> None:
        self.result = result
        self._tally.polls[self.poller.project.name, result] += 1
        self._tally.poll_seconds.add(self._clock.monotonic() - began)

    def _spend(self, requests: int) -> None:
        if self._budget is not None:
            self._budget.spend(self, requests=requests, interval=self.configured_interval)

    def _judge(self, poll: Poll) -> None:
        listing = poll.listing
        self._log.debug(
            "polled",
            rows=listing.rows,
            pages=listing.pages,
            requests=listing.requests,
            full=listing.full,
            events=len(poll.events),
        )
        self._spend(listing.requests)
        has_told_cost, self._has_told_cost = self._has_told_cost, self.poller.reads_whole_lists
        if self._has_told_cost and not has_told_cost:
            self._log.warning("incremental_polls_given_up", rows=listing.rows, requests=listing.requests)
        if not listing.complete:
            failure = listing.failure
            cause = failure.cause.value if isinstance(failure, CloudError) else "moving_list"
            error = failure or "the list moved while it was read"
            self._ails(f"incomplete {cause}", error)
            self._fails(
                "listing_incomplete",
                cause=f"incomplete {cause}",
                error=str(error),
                rows=listing.rows,
                is_told=isinstance(failure, CloudError) and failure.is_told,
            )
            return
        if poll.shrinks:
            self._ails(_SHRUNK, _SHRINKING)
            self._fails("listing_shrunk", cause=_SHRUNK, error=_SHRINKING, rows=listing.rows)
            return
        self._works(poll)
        if not listing.clean:
            self._fails(
                "rows_quarantined",
                cause=_QUARANTINE,
                error="rows without a usable id or status; the others count",
                rows=listing.quarantined,
            )
        elif self._causes and (listing.full or _QUARANTINE not in self._causes):
            # A bad row may stand where an incremental poll does not look: only the whole list says that it is gone.
            seconds = round(self._clock.monotonic() - self._since, 1)
            log = self._log.info if any(self._causes.values()) else self._log.debug
            log("project_readable_again", after_seconds=seconds, cause=", ".join(sorted(self._causes)))
            self._causes.clear()
            self._trouble = None
            self._edge()

    def _works(self, poll: Poll) -> None:
        """Take that the list was read rightly, whatever became of single rows."""
        self.ailment = None
        if self.works_since is None:
            self.works_since = self._clock.monotonic()
            self.gap_seconds = poll.gap_seconds

    def _ails(self, cause: str, failure: Exception | str) -> None:
        """Take that the list was not read rightly, and why."""
        before = self.ailment
        self.works_since = None
        self.ailment = Ailment(
            place=self._place_of(failure),
            cause=cause,
            error=str(failure),
            since=self._clock.now() if before is None else before.since,
            began=self._clock.monotonic() if before is None else before.began,
            patience=patience(self._interval),
            is_lasting=isinstance(failure, CloudError) and failure.cause is CloudCause.LOGIN,
        )

    def _place_of(self, failure: Exception | str) -> Place:
        identity = self.poller.project.identity
        if isinstance(failure, CloudError):
            is_throttled = failure.cause is CloudCause.THROTTLED
            if failure.cause is CloudCause.LOGIN or (failure.is_told and not is_throttled):
                return Place(Kind.LOGIN, self.credential)
            if failure.cause in _OF_THE_HOST:
                return Place(Kind.HOST, identity.host)
        return Place(Kind.PROJECT, str(identity))

    def _fails(
        self,
        event: str,
        *,
        cause: str,
        bug: Exception | None = None,
        is_told: bool = False,
        **fields: object,
    ) -> None:
        is_first = not self._causes
        if is_first:
            self._since = self._clock.monotonic()
        since = self._trouble.since if self._trouble is not None else self._clock.now()
        self._trouble = Trouble(cause=cause, error=str(fields.get("error", "")), since=since)
        is_logged = self._causes.get(cause, False)
        log = self._log.debug if is_told or is_logged else self._log.warning
        self._causes[cause] = is_logged or not is_told
        shown = {name: value for name, value in fields.items() if value is not None}
        log(event, cause=cause, **shown, **({"exc_info": bug} if bug is not None else {}))
        if is_first:
            self._edge()


def _result_of(poll: Poll) -> PollResult:
    if not poll.listing.complete:
        return PollResult.INCOMPLETE
    return PollResult.SHRUNK if poll.shrinks else PollResult.OK
