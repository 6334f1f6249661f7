"""The lists of the API: what is known, page by page.

Invariants:
- A page begins behind what the one before it ended with, in an order in which nothing moves: what was there when the
  first page was read is read exactly once, whatever is added meanwhile.
- The store is read, and what was found is written as JSON, beside the loop. Events are given as they were told, byte
  by byte.
- Where nothing is found, a filter that names what is not there is an error: a typo would look like peace.
"""

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Final, TypeVar

from aiohttp import web

from taskwatch.config.configuration import Config
from taskwatch.core.quiet import Mute, Silence
from taskwatch.report import rows
from taskwatch.report.known import unknown
from taskwatch.report.standing import Standing
from taskwatch.server.cursor import Cursor, Number
from taskwatch.server.endpoint import JSON, Answer, Asked, Empty, Endpoint, Method, P, endpoint
from taskwatch.server.parameters import OfDeliveries, OfEvents, OfProjects, OfSilences, OfTasks
from taskwatch.server.problem import ProblemError
from taskwatch.server.site import Site
from taskwatch.server.standing import standing_of
from taskwatch.store.reader import StoreReader

EVENT: Final = "Event"  # the schema of events
ALL: Final = 100_000  # projects

PlaceOfProject = tuple[str, bool, str, str, str]  # its name; of those that are configured no more also which
PlaceOfHush = tuple[bool, Number, str]  # windows stand behind silences: the number, the name

_PROJECTS: Final = Cursor("projects", tuple[str, bool, str, str, str])
_TASKS: Final = Cursor("tasks", tuple[Number | None, Number, str])
_EVENTS: Final = Cursor("events", Number)
_DELIVERIES: Final = Cursor("deliveries", tuple[Number, str])
_ALERTS: Final = Cursor("alerts", Number)
_SILENCES: Final = Cursor("silences", tuple[bool, Number, str])

Place = TypeVar("Place")
T = TypeVar("T")
Reading = Callable[[StoreReader], bytes]


def lists(site: Site) -> list[Endpoint]:
    """Declare the lists."""

    def listed(
        noun: str,
        begin: Callable[[Site, Asked[P, Empty]], Reading],
        parameters: type[P],
        shape: type[rows.Row] | str,
        order: str,
    ) -> Endpoint:
        async def answer(asked: Asked[P, Empty]) -> web.Response:
            return web.Response(body=await site.records.read(begin(site, asked)), content_type=JSON)

        return endpoint(
            Method.GET,
            f"/api/v1/{noun}",
            answer,
            name=f"list{noun.capitalize()}",
            summary=f"List {noun}, {order}",
            parameters=parameters,
            body=Empty,
            answer=Answer(status=HTTPStatus.OK, description=f"a page of {noun}", shape=shape, is_page=True),
            refusals={HTTPStatus.NOT_FOUND: "a filter names what is not known"},
            clock=site.clock,
        )

    return [
        listed("projects", _projects, OfProjects, rows.Project, "by their names"),
        listed("tasks", _tasks, OfTasks, rows.Task, "those that were created last first"),
        listed("events", _events, OfEvents, EVENT, "as they were told, the last ones first"),
        listed("deliveries", _deliveries, OfDeliveries, rows.Delivery, "the last ones first"),
        listed("alerts", _alerts, OfEvents, rows.Alert, "those that opened last first"),
        listed("silences", _silences, OfSilences, rows.Hush, "by their numbers; then the mute windows"),
    ]


def _projects(site: Site, asked: Asked[OfProjects, Empty]) -> Reading:
    of, after, config = asked.parameters, _PROJECTS.read(asked.parameters.cursor), site.seen.config
    stand = standing_of(site.seen, asked.at)

    def read(reader: StoreReader) -> bytes:
        found = [one for one in stand(reader.projects(limit=ALL)) if of.project in (None, one.name)]
        if not found:
            _require_known(reader, config, project=of.project)
        placed = _behind(after, [(_place_of_project(one), one) for one in found])
        return _page(placed, of.limit, _PROJECTS, lambda one: _text(rows.Project.of(one)))

    return read


def _tasks(site: Site, asked: Asked[OfTasks, Empty]) -> Reading:
    of, after, config = asked.parameters, _TASKS.read(asked.parameters.cursor), site.seen.config

    def read(reader: StoreReader) -> bytes:
        found = reader.page_of_tasks(
            project=of.project,
            status=of.status,
            name=of.name,
            instance=of.instance,
            since=of.since,
            after=after,
            limit=of.limit + 1,
        )
        if not found:
            _require_known(reader, config, project=of.project, status=of.status)
        return _page(found, of.limit, _TASKS, lambda row: _text(rows.Task.of(row)))

    return read


def _events(site: Site, asked: Asked[OfEvents, Empty]) -> Reading:
    of, before, config = asked.parameters, _EVENTS.read(asked.parameters.cursor), site.seen.config

    def read(reader: StoreReader) -> bytes:
        found = reader.page_of_events(
            project=of.project,
            event_type=of.event_type,
            name=of.name,
            instance=of.instance,
            since=of.since,
            before=before,
            limit=of.limit + 1,
        )
        if not found:
            _require_known(reader, config, project=of.project)
        return _page(found, of.limit, _EVENTS, lambda row: row.body)

    return read


def _deliveries(site: Site, asked: Asked[OfDeliveries, Empty]) -> Reading:
    of, before, config = asked.parameters, _DELIVERIES.read(asked.parameters.cursor), site.seen.config

    def read(reader: StoreReader) -> bytes:
        found = reader.page_of_deliveries(
            project=of.project,
            event_type=of.event_type,
            receiver=of.receiver,
            state=of.state,
            since=of.since,
            before=before,
            limit=of.limit + 1,
        )
        if not found:
            _require_known(reader, config, project=of.project, receiver=of.receiver)
        placed = [((row.number, row.receiver), row) for row in found]
        return _page(placed, of.limit, _DELIVERIES, lambda row: _text(rows.Delivery.of(row)))

    return read


def _alerts(site: Site, asked: Asked[OfEvents, Empty]) -> Reading:
    of, before, config = asked.parameters, _ALERTS.read(asked.parameters.cursor), site.seen.config

    def read(reader: StoreReader) -> bytes:
        found = reader.page_of_alerts(
            project=of.project,
            event_type=of.event_type,
            name=of.name,
            instance=of.instance,
            since=of.since,
            before=before,
            limit=of.limit + 1,
        )
        if not found:
            _require_known(reader, config, project=of.project)
        return _page(found, of.limit, _ALERTS, lambda row: _text(rows.Alert.of(row, asked.at)))

    return read


def _silences(site: Site, asked: Asked[OfSilences, Empty]) -> Reading:
    of, after, config = asked.parameters, _SILENCES.read(asked.parameters.cursor), site.seen.config
    since = asked.at - timedelta(seconds=config.store.retention if of.everything else 0.0)

    def read(reader: StoreReader) -> bytes:
        hushes: list[Silence | Mute] = [*reader.silences(since=since), *config.mutes]
        placed = _behind(after, [(_place_of_hush(hush), hush) for hush in hushes])
        return _page(placed, of.limit, _SILENCES, lambda hush: _text(rows.Hush.of(hush, asked.at)))

    return read


def _place_of_project(one: Standing) -> PlaceOfProject:
    is_forgotten = one.configured_interval_seconds is None
    which = (one.service, one.host, one.project_id or "") if is_forgotten else ("", "", "")
    return (one.name, is_forgotten, *which)


def _place_of_hush(hush: Silence | Mute) -> PlaceOfHush:
    return (False, hush.id, "") if isinstance(hush, Silence) else (True, 0, hush.name)


def _behind(after: Place | None, placed: Sequence[tuple[Place, T]]) -> list[tuple[Place, T]]:
    """Return what stands behind the place, in the order of the places."""
    in_order = sorted(placed, key=lambda one: one[0])  # type: ignore[arg-type, return-value]  # places are tuples
    return [(place, one) for place, one in in_order if after is None or place > after]  # type: ignore[operator]  # the same


def _page(
    found: Sequence[tuple[Place, T]], limit: int, cursor: Cursor[Place], text_of: Callable[[T], bytes]
) -> bytes:
    """Write the page: one more than it holds tells that another one follows."""
    shown = found[:limit]
    following = cursor.write(shown[-1][0]) if len(found) > limit else None
    items = b", ".join(text_of(one) for _, one in shown)
    return b'{"items": [%b], "next": %b}' % (items, json.dumps(following).encode())


def _text(row: rows.Row) -> bytes:
    """Write the row in ASCII: shown as it comes, it can harm no terminal."""
    return json.dumps(row.shown()).encode()


def _require_known(
    reader: StoreReader,
    config: Config,
    *,
    project: str | None,
    receiver: str | None = None,
    status: str | None = None,
) -> None:
    if (found := unknown(reader, config, project=project, receiver=receiver, status=status)) is None:
        return
    if found.what == "status":
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"status: no task on record has it; {found.remedy}")
    raise ProblemError(HTTPStatus.NOT_FOUND, f"{found.what}: none of this name is known; {found.remedy}")
