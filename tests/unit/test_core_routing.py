"""All that decides who is told of an event: for now, for later, in which group, and whether its end is heard."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from taskwatch.core.grouping import Grouping, read_group
from taskwatch.core.matchers import parse_matcher
from taskwatch.core.quiet import Mute, Silence, parse_span
from taskwatch.core.route import Hop, Route, Routing, node_at
from taskwatch.model.event import Event, EventType
from tests.fakes.builders import T0
from tests.fakes.records import an_event

CRITICAL = Route(
    receivers=("pager", "am"),
    matchers=(parse_matcher("severity = critical"),),
    grouping=Grouping(by=("task",), wait=1.0),
    routes=(
        Route(
            receivers=("mail",), matchers=(parse_matcher("task = Restore"),), grouping=Grouping(repeat=60.0)
        ),
    ),
)
ROOT = Route(receivers=("log", "mail", "am"), routes=(CRITICAL,))
ROUTING = Routing(
    root=ROOT, people=frozenset({"mail"}), keepers=frozenset({"am"}), endless=frozenset({"log"})
)


def event(type_: EventType = EventType.TASK_FAILED, **attributes: str) -> Event:
    made = an_event(type_=type_)
    made.attributes.update({"type": type_, "project": "prod", **attributes})
    return made


def silence(matcher: str, *, number: int = 1, begins: float = -1.0, ends: float = 1.0) -> Silence:
    return Silence(
        id=number,
        matchers=(parse_matcher(matcher),),
        begins_at=T0 + timedelta(hours=begins),
        ends_at=T0 + timedelta(hours=ends),
        by="me",
    )


def hops(
    told: Event, *silences: Silence, routing: Routing = ROUTING, besides: str | None = None
) -> tuple[Hop, ...]:
    return routing.hops(told, silences=silences, at=T0, besides=besides)


def test_each_receiver_of_the_route_is_told_and_only_people_in_groups() -> None:
    log, mail, am = hops(event())
    assert [(hop.receiver, hop.path, hop.held_by) for hop in (log, mail, am)] == [
        ("log", "route", None),
        ("mail", "route", None),
        ("am", "route", None),
    ]
    assert (log.group, am.group) == (None, None)
    assert read_group(mail.group or "").by == {"project": "prod"}
    assert [hop.hears_end for hop in (log, mail, am)] == [False, True, True]


def test_a_group_is_that_of_the_route_that_names_the_receiver() -> None:
    (mail,) = hops(event(severity="critical", task="Restore"))
    assert mail.path == "route.routes[0].routes[0]"
    assert read_group(mail.group or "").route == mail.path


@pytest.mark.parametrize(
    ("type_", "receivers"),
    [
        (EventType.TASK_FAILED, ["log", "mail", "am"]),
        (EventType.RECEIVER_DOWN, ["log", "mail", "am"]),
        (EventType.TASK_STARTED, ["log", "mail"]),
        (EventType.PROJECT_BASELINE, ["log", "mail"]),
    ],
)
def test_who_keeps_alerts_is_told_of_what_opens_one(type_: EventType, receivers: list[str]) -> None:
    assert [hop.receiver for hop in hops(event(type_))] == receivers
    assert [hop.receiver for hop in ROUTING.reached(event(type_).attributes)] == receivers


def test_a_receiver_is_not_told_of_itself() -> None:
    assert [hop.receiver for hop in hops(event(EventType.RECEIVER_DOWN), besides="mail")] == ["log", "am"]


def test_a_silence_that_covers_an_event_holds_all_of_its_deliveries() -> None:
    assert {hop.held_by for hop in hops(event(), silence("project = prod", number=7))} == {"silence 7"}
    assert {hop.held_by for hop in hops(event(), silence("project = test"))} == {None}
    assert {hop.held_by for hop in hops(event(), silence("project = prod", ends=0.0))} == {None}
    assert {hop.held_by for hop in hops(event(), silence("project = prod", begins=0.0))} == {"silence 1"}


def window(name: str, weekly: str) -> Mute:
    return Mute(name=name, matchers=(), weekly=(parse_span(weekly),), zone=ZoneInfo("UTC"))


def test_a_window_of_the_configuration_holds_too_and_the_silence_is_named_first() -> None:
    """T0 is a Monday."""
    mutes = (window("another day", "Tue 00:00 - Wed 00:00"), window("today", "Mon 00:00 - Tue 00:00"))
    muted = Routing(root=ROOT, mutes=mutes)
    assert {hop.held_by for hop in hops(event(), routing=muted)} == {"mute today"}
    assert {hop.held_by for hop in hops(event(), silence("project = prod"), routing=muted)} == {"silence 1"}


def test_how_a_route_groups_is_looked_up_by_its_path_and_else_at_the_root() -> None:
    assert ROUTING.grouping("route") == ROOT.grouping
    assert ROUTING.grouping("route.routes[0]") == CRITICAL.grouping
    assert ROUTING.grouping("route.routes[0].routes[0]").repeat == 60.0
    assert ROUTING.grouping("route.routes[1]") == ROOT.grouping
    assert ROUTING.grouping("told of it before") == ROOT.grouping
    assert [grouping.repeat for grouping in ROUTING.groupings] == [None, None, 60.0]


def test_a_path_that_the_tree_does_not_have_leads_nowhere() -> None:
    assert node_at(ROOT, "route") is ROOT
    assert node_at(ROOT, "route.routes[0]") is CRITICAL
    assert node_at(ROOT, "route.routes[0].routes[1]") is None
    assert node_at(ROOT, "no route names another") is None


def test_a_bare_routing_groups_and_holds_nothing() -> None:
    bare = Routing(root=Route(receivers=("mail",)))
    assert hops(event(), routing=bare) == (Hop(receiver="mail", path="route"),)
