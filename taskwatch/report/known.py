"""Whether there is what a filter names: where nothing is found, a typo would look like peace."""

from dataclasses import dataclass
from typing import Final

from taskwatch.config.configuration import Config
from taskwatch.config.fields import nearest
from taskwatch.model.task import CANCELED, COMPLETED, FAILED, PENDING, RUNNING
from taskwatch.store.reader import StoreReader

STATUSES: Final = (PENDING, RUNNING, COMPLETED, FAILED, CANCELED)
_ALL: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A name of a filter that nobody knows."""

    what: str  # project, receiver, status
    written: str
    remedy: str


def unknown(
    reader: StoreReader,
    config: Config | None,
    *,
    project: str | None = None,
    receiver: str | None = None,
    status: str | None = None,
) -> Unknown | None:
    """Return the first of these that is neither configured nor on record, if any is.

    Of statuses also those count that every service has: which others there are is for the cloud to say.
    """
    if project is not None:
        names = [] if config is None else [watched.name for watched in config.configured]
        names += [row.name for row in reader.projects(limit=_ALL)]
        if project not in names:
            return Unknown(what="project", written=project, remedy=nearest(project, names))
    if receiver is not None and config is not None and not reader.deliveries(receiver=receiver, limit=1):
        names = [row.name for row in config.receivers]
        if receiver not in names:
            return Unknown(what="receiver", written=receiver, remedy=nearest(receiver, names))
    if (
        status is not None
        and status.capitalize() not in STATUSES
        and not reader.tasks(status=status, limit=1)
    ):
        return Unknown(what="status", written=status, remedy=nearest(status.capitalize(), STATUSES))
    return None
