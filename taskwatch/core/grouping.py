"""Which events share a message to people.

A group is of one route, and of the events that are alike in what its `group_by` names. Its key is text that says both:
it is stored with what waits, and what holds for the group is looked up under the route it names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from taskwatch.model.event import Event

EACH_ALONE: Final = "..."  # as in Alertmanager: by everything, so that no two share a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """How a route groups. In seconds."""

    by: tuple[str, ...] = ("project",)
    wait: float = 30.0  # from the first event of a group to its message
    interval: float = 300.0  # from one message of a group to the next, at least
    repeat: float | None = (
        None  # from a message to the next reminder of what is still open; None: no reminders
    )


class Group(msgspec.Struct, frozen=True):
    """What a key says."""

    route: str = "route"
    by: dict[str, str] = {}


def group_key(path: str, grouping: Grouping, event: Event) -> str:
    """Name the group of an event on a route."""
    if EACH_ALONE in grouping.by:
        by: Mapping[str, str] = {"event": event.id}
    else:
        by = {name: event.attributes.get(name, "") for name in sorted(grouping.by)}
    return msgspec.json.encode({"route": path, "by": by}).decode()


def in_common(keys: Sequence[str]) -> Group:
    """Return what the groups of these keys have in common: what a message about all of them is about."""
    groups = [read_group(key) for key in keys]
    by = set.intersection(*(set(group.by.items()) for group in groups))
    routes = {group.route for group in groups}
    return Group(route=routes.pop() if len(routes) == 1 else "", by=dict(sorted(by)))


def read_group(key: str) -> Group:
    """Return what the key says; of what has none, or is of another time, the root's group of everything."""
    try:
        return msgspec.json.decode(key or "{}", type=Group)
    except msgspec.DecodeError:
        return Group()
