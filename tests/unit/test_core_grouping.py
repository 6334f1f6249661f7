"""Which events share a message, and by what name a group is known."""

import json

import pytest

from taskwatch.core.grouping import Group, Grouping, group_key, in_common, read_group
from taskwatch.model.event import Event
from tests.fakes.records import an_event


def event(event_id: str = "tw_1", **attributes: str) -> Event:
    made = an_event(event_id)
    made.attributes.update(attributes)
    return made


def key(by: tuple[str, ...], path: str = "route", **attributes: str) -> str:
    return group_key(path, Grouping(by=by), event(**attributes))


def test_events_that_are_alike_in_what_is_named_share_a_group() -> None:
    assert key(("project",), project="a", severity="info") == key(
        ("project",), project="a", severity="critical"
    )
    assert key(("project",), project="a") != key(("project",), project="b")
    assert key(("project", "task"), project="a", task="x") != key(("project", "task"), project="a", task="y")


def test_the_order_of_names_makes_no_other_group_and_another_route_does() -> None:
    assert key(("task", "project"), project="a", task="x") == key(("project", "task"), project="a", task="x")
    assert key(("project",), "route", project="a") != key(("project",), "route.routes[0]", project="a")


def test_what_an_event_does_not_have_is_empty_text() -> None:
    assert read_group(key(("label_team",))).by == {"label_team": ""}


def test_nothing_named_is_one_group_and_three_dots_are_one_for_each_event() -> None:
    assert key((), project="a") == key((), project="b")
    first = group_key("route", Grouping(by=("...", "project")), event("tw_1", project="a"))
    second = group_key("route", Grouping(by=("...", "project")), event("tw_2", project="a"))
    assert first != second
    assert read_group(first).by == {"event": "tw_1"}


def test_a_key_says_its_route_and_its_values_whatever_they_are() -> None:
    hostile = 'a"}],{\n\u202e'
    found = read_group(key(("project",), "route.routes[3].routes[0]", project=hostile))
    assert (found.route, found.by) == ("route.routes[3].routes[0]", {"project": hostile})


@pytest.mark.parametrize(
    "text", ["", "{}", "no json", "[1]", json.dumps({"route": 3}), json.dumps({"by": []})]
)
def test_a_key_of_another_time_is_the_roots_group_of_everything(text: str) -> None:
    assert read_group(text) == Group(route="route", by={})


def test_groups_have_in_common_what_is_the_same_in_all_of_them() -> None:
    keys = [key(("project", "task"), project="a", task=task) for task in ("x", "y")]
    assert in_common(keys) == Group(route="route", by={"project": "a"})
    assert in_common(keys[:1]).by == {"project": "a", "task": "x"}
    assert in_common([*keys, key(("project",), project="b")]).by == {}
    assert in_common([keys[0], key(("project",), "route.routes[0]", project="a")]).route == ""


def test_the_defaults_are_those_that_the_configuration_names() -> None:
    assert Grouping() == Grouping(by=("project",), wait=30.0, interval=300.0, repeat=None)
