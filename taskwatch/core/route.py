"""Which receivers an event goes to, and by which route."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from taskwatch.core.matchers import Matcher

TOLD_BEFORE: Final = "told of it before"  # instead of the path of a route: whoever was told hears the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A node of the routing tree, with Alertmanager's meaning; `receivers` is a list."""

    receivers: tuple[str, ...]
    matchers: tuple[Matcher, ...] = ()
    continues: bool = False
    routes: tuple["Route", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A receiver that an event goes to, and the route that named it first."""

    receiver: str
    path: str  # as in the configuration: route.routes[1]


def route(root: Route, attributes: Mapping[str, str]) -> tuple[Hop, ...]:
    """Decide the receivers of an event; each gets one copy, in the order of the tree.

    The first child that matches takes the event; with `continue` the next ones are asked too. What
    no child takes stays with the parent.
    """
    hops: dict[str, Hop] = {}
    for hop in _descend(root, attributes, "route"):
        hops.setdefault(hop.receiver, hop)
    return tuple(hops.values())


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
