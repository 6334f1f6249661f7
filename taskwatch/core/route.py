"""Which receivers an event goes to, by which route, and whether that is for now or for later."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from taskwatch.core.grouping import Grouping, group_key
from taskwatch.core.matchers import Matcher
from taskwatch.core.quiet import Mute, Silence, held_by
from taskwatch.model.alert import OPENING
from taskwatch.model.event import Event

TOLD_BEFORE: Final = "told of it before"  # instead of the path of a route: whoever was told hears the end
ROOT: Final = "route"

_STEP: Final = re.compile(r"\.routes\[(\d+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A node of the routing tree, with Alertmanager's meaning; `receivers` is a list."""

    receivers: tuple[str, ...]
    matchers: tuple[Matcher, ...] = ()
    continues: bool = False
    routes: tuple["Route", ...] = ()
    grouping: Grouping = field(default_factory=Grouping)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A receiver that an event goes to, and the route that named it first."""

    receiver: str
    path: str  # as in the configuration: route.routes[1]
    group: str | None = None  # the key of the group in which it is told; None: it is told alone
    held_by: str | None = None  # the silence or window that holds it back; None: it goes now
    hears_end: bool = True  # it is told when an alert that this opens is over


def route(root: Route, attributes: Mapping[str, str]) -> tuple[Hop, ...]:
    """Decide the receivers of an event; each gets one copy, in the order of the tree.

    The first child that matches takes the event; with `continue` the next ones are asked too. What
    no child takes stays with the parent.
    """
    hops: dict[str, Hop] = {}
    for hop in _descend(root, attributes, ROOT):
        hops.setdefault(hop.receiver, hop)
    return tuple(hops.values())


def node_at(root: Route, path: str) -> Route | None:
    """Return the node of this path; None if the tree has none there, or the path is none."""
    if not path.startswith(ROOT):
        return None
    node = root
    for number in _STEP.findall(path):
        if int(number) >= len(node.routes):
            return None
        node = node.routes[int(number)]
    return node


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """All that decides who is told: the tree, the windows in which nobody is, and how receivers are to be told."""

    root: Route
    mutes: tuple[Mute, ...] = ()
    people: frozenset[str] = frozenset()  # receivers that write to people: they are told in groups
    keepers: frozenset[str] = frozenset()  # receivers that are told of alerts alone
    endless: frozenset[str] = frozenset()  # receivers that are not told when an alert is over

    def hops(
        self, event: Event, *, silences: Sequence[Silence], at: datetime, besides: str | None = None
    ) -> tuple[Hop, ...]:
        """Decide who is told of an event, and who later; never the receiver it is about, `besides`.

        Who keeps alerts is not told of what opens none.
        """
        found = tuple(hop for hop in self.reached(event.attributes) if hop.receiver != besides)
        hush = held_by((*silences, *self.mutes), event.attributes, at) if found else None
        return tuple(self.addressed(hop, event, hush) for hop in found)

    def reached(self, attributes: Mapping[str, str]) -> tuple[Hop, ...]:
        """Return whom the routes name for such an event, but for those that it does not concern."""
        left_out = self.keepers if attributes.get("type") not in OPENING else frozenset()
        return tuple(hop for hop in route(self.root, attributes) if hop.receiver not in left_out)

    def addressed(self, hop: Hop, event: Event, hush: Silence | Mute | None = None) -> Hop:
        """Say of a hop in which group it is told, whether it is held, and whether its receiver hears the end."""
        return replace(
            hop,
            group=group_key(hop.path, self.grouping(hop.path), event)
            if hop.receiver in self.people
            else None,
            held_by=None if hush is None else str(hush),
            hears_end=hop.receiver not in self.endless,
        )

    @property
    def groupings(self) -> tuple[Grouping, ...]:
        """How any of the routes groups."""
        return tuple(node.grouping for node in _nodes(self.root))

    def grouping(self, path: str) -> Grouping:
        """Return how the route of this path groups; the root, where there is none."""
        return (node_at(self.root, path) or self.root).grouping


def _nodes(node: Route) -> Iterator[Route]:
    yield node
    for child in node.routes:
        yield from _nodes(child)


def _descend(node: Route, attributes: Mapping[str, str], path: str) -> list[Hop]:
    hops: list[Hop] = []
    taken = False
    for number, child in enumerate(node.routes):
        if not all(matcher.matches(attributes) for matcher in child.matchers):
            continue
        taken = True
        hops += _descend(child, attributes, f"{path}.routes[{number}]")
        if not child.continues:
            break
    if not taken:
        hops = [Hop(receiver=receiver, path=path) for receiver in node.receivers]
    return hops
