"""Routing, for any tree."""

from hypothesis import given
from hypothesis import strategies as st

from taskwatch.core.matchers import Matcher, Operator, parse_matcher
from taskwatch.core.route import Route, route

names = st.sampled_from(["type", "severity", "project", "label_env"])
values = st.sampled_from(["", "a", "b", "taskwatch.a"])
matchers = st.builds(
    lambda name, operator, value: parse_matcher(str(Matcher(name=name, operator=operator, value=value))),
    names,
    st.sampled_from(Operator),
    values,
)
receivers = st.lists(st.sampled_from("uvwxyz"), max_size=3).map(tuple)
leaves = st.builds(
    Route,
    receivers=receivers,
    matchers=st.lists(matchers, max_size=2).map(tuple),
    continues=st.booleans(),
)
trees = st.recursive(
    leaves,
    lambda children: st.builds(
        Route,
        receivers=receivers,
        matchers=st.lists(matchers, max_size=2).map(tuple),
        continues=st.booleans(),
        routes=st.lists(children, max_size=3).map(tuple),
    ),
    max_leaves=8,
)
attributes = st.dictionaries(names, values)


def node_at(root: Route, path: str) -> Route:
    node = root
    for step in path.split(".")[1:]:
        node = node.routes[int(step.removeprefix("routes[").removesuffix("]"))]
    return node


@given(trees, attributes)
def test_each_receiver_is_named_once_by_a_route_that_has_it(root: Route, seen: dict[str, str]) -> None:
    hops = route(root, seen)
    told = [hop.receiver for hop in hops]
    assert len(told) == len(set(told))
    for hop in hops:
        assert hop.receiver in node_at(root, hop.path).receivers


@given(trees, attributes)
def test_every_route_on_the_way_is_met(root: Route, seen: dict[str, str]) -> None:
    for hop in route(root, seen):
        steps = hop.path.split(".")
        for depth in range(2, len(steps) + 1):
            node = node_at(root, ".".join(steps[:depth]))
            assert all(matcher.matches(seen) for matcher in node.matchers)


@given(trees, attributes)
def test_a_catch_all_at_the_end_leaves_nothing_untold(root: Route, seen: dict[str, str]) -> None:
    if root.receivers and not root.routes:
        assert route(root, seen)
    last = Route(receivers=("last",))
    asked = Route(receivers=(), routes=(*(without_stop(child) for child in root.routes), last))
    assert "last" in [hop.receiver for hop in route(asked, seen)]


def without_stop(child: Route) -> Route:
    return Route(receivers=child.receivers, matchers=child.matchers, continues=True, routes=child.routes)


@given(matchers, attributes)
def test_a_negation_is_the_opposite(matcher: Matcher, seen: dict[str, str]) -> None:
    opposite = {"=": "!=", "!=": "=", "=~": "!~", "!~": "=~"}[matcher.operator]
    other = parse_matcher(f'{matcher.name} {opposite} "{matcher.value}"')
    assert matcher.matches(seen) != other.matches(seen)


@given(matchers)
def test_what_a_matcher_prints_is_read_back(matcher: Matcher) -> None:
    assert str(parse_matcher(str(matcher))) == str(matcher)
