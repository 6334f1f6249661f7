"""The way of an event through the tree of routes, node by node, as people are shown it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taskwatch.core.matchers import Matcher
    from taskwatch.core.route import Route

DEEPEST: Final = 24  # columns by which a page sets in what lies deep


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node of the tree, and what became of the event there."""

    path: str
    depth: int
    node: "Route"
    taken_by: str | None  # the route before it that kept the event from it
    refused: "Matcher | None"  # the matcher that did not match
    keeps: bool  # its own receivers get the event

    @property
    def is_matched(self) -> bool:
        return self.taken_by is None and self.refused is None

    def row(self) -> dict[str, object]:
        return {
            "path": self.path,
            "asked": self.taken_by is None,
            "matched": self.is_matched,
            "refused_by": None if self.refused is None else str(self.refused),
            "continue": self.node.continues,
            "receivers": list(self.node.receivers) if self.keeps else [],
        }

    def verdict(self, attributes: Mapping[str, str]) -> str:
        """Say in words what became of an event with these attributes. Not printable yet."""
        if self.taken_by is not None:
            return f"not asked, {self.taken_by} has taken it"
        if self.refused is not None:
            return f"no: {refusal(self.refused, attributes)}"
        said = "goes to " + ", ".join(self.node.receivers) if self.keeps else "matched"
        return f"{said}, and on (continue)" if self.node.continues else said


def walk(
    node: "Route",
    attributes: Mapping[str, str],
    path: str = "route",
    depth: int = 0,
    taken_by: str | None = None,
) -> Iterator[Step]:
    """Yield the route and, if the event comes to them, those below it, in the order of the file."""
    refused = next((matcher for matcher in node.matchers if not matcher.matches(attributes)), None)
    below: list[Step] = []
    if taken_by is None and refused is None:
        taken: str | None = None
        for number, child in enumerate(node.routes):
            steps = list(walk(child, attributes, f"{path}.routes[{number}]", depth + 1, taken))
            below += steps
            if steps[0].is_matched and not child.continues:
                taken = steps[0].path
    is_matched = taken_by is None and refused is None
    keeps = is_matched and not any(step.is_matched for step in below)
    yield Step(
        path=path,
        depth=depth,
        node=node,
        taken_by=taken_by,
        refused=refused if taken_by is None else None,
        keeps=keeps,
    )
    yield from below


def pictured(steps: Iterable[Step], attributes: Mapping[str, str]) -> Iterator[str]:
    """Yield the way in lines that fit a page."""
    from taskwatch.cli.page import hanging

    for step in steps:
        yield from hanging(
            f"{step.path}: {step.verdict(attributes)}", indent=min(2 + 2 * step.depth, DEEPEST)
        )


def refusal(matcher: "Matcher", attributes: Mapping[str, str]) -> str:
    """Say why a matcher does not match. Not printable yet."""
    return f'{matcher}, and it is "{attributes.get(matcher.name, "")}"'
