"""What operators do to a running system, beyond what a statement in the store can: one function each."""

from collections.abc import Collection
from datetime import datetime

from taskwatch.engine.attempt import try_once
from taskwatch.engine.ports import DeliveryError, Ledger, Notifier, PollRecord, ProjectState, Routed
from taskwatch.engine.recording import ends_told
from taskwatch.model.alert import Ended, Why
from taskwatch.model.delivery import Delivered, Message
from taskwatch.model.project import Project


async def try_receiver(notifier: Notifier, message: Message, *, timeout: float) -> Delivered:  # noqa: ASYNC109  (the receiver's own)
    """Send a receiver a message once, and close the notifier. Raises DeliveryError."""
    try:
        answer = await try_once(notifier, message, timeout=timeout)
    finally:
        await notifier.close()
    if isinstance(answer, DeliveryError):
        raise answer
    return answer


async def resolve(
    ledger: Ledger, project: Project, jobs: Collection[str], *, by: str, comment: str | None, at: datetime
) -> None:
    """End the open alerts of tasks of a project that nobody polls in this process.

    Raises StaleStateError if somebody does, and StoreFailedError when nothing could be recorded.
    """
    state = await ledger.enrol(project.identity, project.name)
    record = await resolution(ledger, state, project=project, jobs=jobs, by=by, comment=comment, at=at)
    if record is not None:
        await ledger.commit(record)


async def resolution(
    ledger: Ledger,
    state: ProjectState,
    *,
    project: Project,
    jobs: Collection[str],
    by: str,
    comment: str | None,
    at: datetime,
) -> PollRecord | None:
    """Return what is to be recorded when an operator ends the open alerts of these tasks; None: there are none."""
    alerts = [alert for alert in await ledger.open_alerts(state.key) if alert.task.job_id in jobs]
    if not alerts:
        return None
    ended = [Ended(alert=alert, why=Why.OPERATOR, by=by, comment=comment) for alert in alerts]
    known = await ledger.known(state.key, {alert.task.job_id for alert in alerts})
    tasks, told = ends_told(ended, known, project=project, at=at)
    return PollRecord(
        project=state.key,
        revision=state.revision,
        tasks=list(tasks.values()),
        events=[Routed(event=item.event, job_id=item.job_id, hops=(), ends=item.ends) for item in told],
        observed_at=None,
    )
