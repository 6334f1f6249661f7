"""How the projects stand now: by what is on record, and by what the daemon knows better."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from taskwatch.model.project import Identity
from taskwatch.report.standing import Daemon, Standing, standings
from taskwatch.server.view import Observed
from taskwatch.store.ledger import latest
from taskwatch.store.rows import ProjectRow


def standing_of(observed: Observed, now: datetime) -> Callable[[Sequence[ProjectRow]], list[Standing]]:
    """Look at the daemon, and return what puts the store's rows to it: that may be done in another thread."""
    config = observed.config
    live = {
        watch.poller.project.identity: (
            watch.poller.project.name,
            watch.condition,
            (watch.poller.freshness or (0, None))[1],
        )
        for watch in observed.watches
    }
    why = {name: (error.cause.value, str(error)) for name, error in observed.unnamed.items()}

    def row_now(identity: Identity, recorded: ProjectRow | None) -> ProjectRow:
        name, condition, read_at = live[identity]
        row = recorded or ProjectRow(
            identity=identity,
            name=name,
            baseline_at=None,
            observed_at=None,
            tasks=0,
            open_tasks=0,
            condition=None,
        )
        return replace(row, condition=condition, observed_at=latest(row.observed_at, read_at))

    def stand(rows: Sequence[ProjectRow]) -> list[Standing]:
        recorded = {row.identity: row for row in rows}
        now_known = [row_now(identity, recorded.pop(identity, None)) for identity in live]
        past = [replace(row, condition=None) for row in recorded.values()]
        stood = standings(config, [*now_known, *past], now=now, daemon=Daemon.ANSWERS)
        return [_explained(one, why) for one in stood]

    return stand


def _explained(standing: Standing, why: dict[str, tuple[str, str]]) -> Standing:
    """Say why a project that is configured by its name is not watched, as far as is known."""
    if standing.name not in why or standing.interval_seconds is None:
        return standing
    cause, error = why[standing.name]
    return replace(standing, cause=cause, error=error)
