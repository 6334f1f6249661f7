"""What became of an event at each receiver: held, told in a message, tried, and how it ended."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from shlex import quote
from typing import Final

from taskwatch.cli import hush
from taskwatch.cli.output import coloured
from taskwatch.cli.page import beside, moment
from taskwatch.cli.query import SHORT_ID
from taskwatch.config.configuration import Config
from taskwatch.core.grouping import read_group
from taskwatch.core.route import ROOT, Route
from taskwatch.engine.groups import BURST, REFILL_SECONDS
from taskwatch.engine.ports import WaitingGroup
from taskwatch.model.alert import OPENING
from taskwatch.model.delivery import DeliveryState, Reason
from taskwatch.model.event import LABEL_PREFIX
from taskwatch.report.words import counted
from taskwatch.store.rows import DeliveryRow, FailingRow, MessageRow, ToldRow
from taskwatch.telemetry import printable

# By Reason: what a person can do about it. What the receiver said stands before it.
REMEDIES: Final[Mapping[str, str]] = {
    "network": "see that this host can reach the receiver's",
    "timeout": "see why the receiver is slow, or give it a longer timeout",
    "tls": "see to the receiver's certificate: its name, its dates, and who signed it",
    "server_error": "the receiver itself is in trouble: see its log",
    "throttled": "the receiver takes no more for now: it is tried again when it asked to be",
    "unauthorized": "see to the receiver's secret, bearer or basic, and its rights there",
    "not_found": "see to the receiver's url",
    "gone": "the receiver says it is gone for good: give it another url, or remove it",
    "redirected": "redirects are not followed: write the url that it names",
    "rejected": "see in the receiver's log what it has against this event",
    "local": "see to the file or the program that the receiver names: is it there, may the daemon use it, is there room",
    "broken": "a bug of the notifier: the daemon's log says where",
}
ENDS: Final[Mapping[str, str]] = {
    "horizon": "it was tried for as long as its receiver's retry.horizon says",
    "poison": "it failed again and again while other events passed",
    "operator": "an operator dropped it",
    "receiver_removed": "its receiver was removed from the configuration",
    "in_part": "some of those it was for do not have it, refused for good or put off for too long, and the others do; see to whom the receiver writes",
}
SOME_WAIT: Final = "the others have it; those named are asked again, alone, and nothing else waits for that"
ATTEMPT_LINES: Final = 2


def lines(told: Sequence[ToldRow], config: Config | None, hushes: Sequence[hush.Hush]) -> Iterator[str]:
    """Say of each receiver what became of the event there."""
    if not told:
        yield "No delivery is on record: retention forgot them, or no receiver was named."
    served = None if config is None else {receiver.name for receiver in config.receivers}
    for row in told:
        is_served = served is None or row.delivery.receiver in served
        yield from _delivery(row, config, hushes, is_served=is_served)


def rows(told: Sequence[ToldRow], route: Route | None) -> list[dict[str, object]]:
    """Return the same as values."""
    return [_row(row, route) for row in told]


def _row(told: ToldRow, route: Route | None) -> dict[str, object]:
    row = told.delivery
    group = None if row.group is None else read_group(row.group)
    return {
        "receiver": row.receiver,
        "route": row.path,
        "matchers": None if route is None else _matchers(route, row.path),
        "state": row.state,
        "attempts": row.attempts,
        "replay": row.replay,
        "first_attempt_at": row.first_attempt_at,
        "last_attempt_at": row.last_attempt_at,
        "done_at": row.done_at,
        "reason": row.last_reason,
        "detail": row.last_detail,
        "remedy": REMEDIES.get(row.last_reason or ""),
        "why": row.why,
        "held_by": row.held_by,
        "group": None if group is None else {"route": group.route, "by": group.by},
        "waiting": None if told.waiting is None else _waiting_row(told.waiting),
        "behind": told.behind,
        "receiver_failing": None if told.failing is None else _failing_row(told.failing),
        "message": None if told.message is None else _message_row(told.message),
        "attempts_on_record": [
            {"at": tried.at, "reason": tried.reason, "detail": tried.detail} for tried in told.failed
        ],
    }


def _waiting_row(waiting: WaitingGroup) -> dict[str, object]:
    return {
        "since": waiting.since,
        "last_message_at": waiting.last_at,
        "last_message_is_pending": waiting.is_open,
    }


def _failing_row(failing: FailingRow) -> dict[str, object]:
    last = failing.last
    return {"since": failing.since, "last_at": last.at, "reason": last.reason, "detail": last.detail}


def _message_row(message: MessageRow) -> dict[str, object]:
    return {
        "number": message.number,
        "id": message.event_id,
        "composed_at": message.at,
        "events": message.events,
        "state": message.state,
        "attempts": message.attempts,
    }


def _delivery(
    told: ToldRow, config: Config | None, hushes: Sequence[hush.Hush], *, is_served: bool
) -> Iterator[str]:
    row = told.delivery
    tries = f" after {counted(row.attempts, 'attempt')}" if row.attempts else ""
    yield f"{printable(row.receiver)}: {coloured(row.state)}{tries}"
    yield from beside("  by", _by(row, None if config is None else config.route))
    if row.held_by is not None:
        yield from beside("  held", _held(row, hushes))
    if told.message is not None:
        yield from beside("  message", _message(told.message))
    if told.waiting is not None:
        yield from beside("  waits", _waits(told.waiting, config, told.last_messages))
    if is_served:
        yield from _turn(told)
    if row.replay:
        yield from beside("  replay", "an operator sent it again; attempts are counted from there")
    if row.first_attempt_at is not None:
        yield from beside("  tried", _tried(row))
    yield from _failed(told)
    yield from _end(row, is_served=is_served, is_listed=bool(told.failed), is_for_some=_is_for_some(told))


def _by(row: DeliveryRow, route: Route | None) -> str:
    if route is None or not row.path.startswith(ROOT):
        return row.path  # no route: it says itself why
    matchers = _matchers(route, row.path)
    if matchers is None:
        return f"{row.path}, which is not in the configuration any more"
    if not matchers:
        return f"{row.path}, which takes everything"
    return f"{row.path}: {', '.join(matchers)}"


def _matchers(route: Route, path: str) -> list[str] | None:
    """Return the matchers on the way to the route; None if the configuration has no such route now."""
    found = [str(matcher) for matcher in route.matchers]
    for number in re.findall(r"\.routes\[(\d+)\]", path):
        if int(number) >= len(route.routes):
            return None
        route = route.routes[int(number)]
        found += [str(matcher) for matcher in route.matchers]
    return found


def _held(row: DeliveryRow, hushes: Sequence[hush.Hush]) -> str:
    by = hush.described(row.held_by or "", hushes)
    if row.state != DeliveryState.HELD:
        return f"back at first, by {by}"
    if row.type in OPENING:
        return f"by {by}; told at its end, unless what it is about is over by then"
    return f"by {by}; it needs no attention, so nobody is told of it at the end"


def _message(message: MessageRow) -> str:
    events = (
        "this event alone"
        if message.events <= 1
        else f"{message.events} events of its group, {_named(message.group)}"
    )
    tries = f" after {counted(message.attempts, 'attempt')}" if message.attempts else ""
    return (
        f"{message.event_id}, composed {moment(message.at)}; it tells {events}, and is {message.state}{tries}"
    )


def _waits(waiting: WaitingGroup, config: Config | None, last_messages: Sequence[datetime]) -> str:
    group = f"for its group, {_named(waiting.key)}, since {moment(waiting.since)}"
    if waiting.is_open:
        return f"{group}: its group has a message that is not delivered yet, and this is told in the next one"
    if config is None:
        return group
    grouping = config.routing.grouping(read_group(waiting.key).route)
    ready = [waiting.since + timedelta(seconds=grouping.wait)]
    if waiting.last_at is not None:
        ready.append(waiting.last_at + timedelta(seconds=grouping.interval))
    now = datetime.now(UTC)
    if max(ready) <= now and (room_at := _room_at(last_messages, now)) is not None:
        return (
            f"{group}: its time came at {moment(max(ready))}, and the limit of messages holds it, {BURST} at once and one "
            f"each {REFILL_SECONDS:g} s after that; there is room at {moment(room_at)} at the latest"
        )
    before = (
        ""
        if waiting.last_at is None
        else f", and {grouping.interval:g} s after the message before, of {moment(waiting.last_at)}"
    )
    return f"{group}: it is told {grouping.wait:g} s after that{before}, at the earliest"


def _room_at(last_messages: Sequence[datetime], now: datetime) -> datetime | None:
    """Return by when there is room for one more message, where there may be none now.

    Without it there were as many messages, but for one, as find room in the time in which room for all comes.
    """
    enough = last_messages[BURST - 2 : BURST - 1]
    if not enough or now - enough[0] > timedelta(seconds=BURST * REFILL_SECONDS):
        return None
    room_at = last_messages[0] + timedelta(seconds=REFILL_SECONDS)
    return room_at if room_at > now else None


def _turn(told: ToldRow) -> Iterator[str]:
    """Say what one waits for that was never tried, where that is known."""
    if told.behind is not None:
        yield from beside(
            "  waits", f"for {told.behind}, an earlier event of the same task, to be told first"
        )
    if (failing := told.failing) is not None:
        name = told.delivery.receiver
        prospect = (
            f"it is tried no more until a reload, or taskwatch receiver test {quote(name)}"
            if failing.last.reason == Reason.GONE
            else "until it works again it is tried with one at a time"
        )
        yield from beside(
            "" if told.behind is not None else "  waits",
            f"{name} has been failing since {moment(failing.since)}, last {moment(failing.last.at)} "
            f"{failing.last.reason}: {failing.last.detail}; {prospect}",
        )


def _named(key: str) -> str:
    """Name a group as people know it: project prod."""
    group = read_group(key)
    if "event" in group.by:
        return "this event alone"
    by = [f"{name.removeprefix(LABEL_PREFIX)} {value or '(none)'}" for name, value in group.by.items()]
    return ", ".join(by) or f"all of {group.route}"


def _tried(row: DeliveryRow) -> str:
    assert row.first_attempt_at is not None  # noqa: S101 - the caller has looked
    if row.last_attempt_at is None or row.attempts <= 1:
        return moment(row.first_attempt_at)
    return f"first {moment(row.first_attempt_at)}, last {moment(row.last_attempt_at)}"


def _failed(told: ToldRow) -> Iterator[str]:
    """Say of each failed attempt when and why; once of those that failed alike one after the other."""
    row = told.delivery
    forgotten = row.attempts - (row.state == DeliveryState.DELIVERED) - len(told.failed)
    texts = [f"{counted(forgotten, 'earlier one')} not on record any more"] if forgotten > 0 else []
    for (reason, detail), alike in groupby(told.failed, key=lambda tried: (tried.reason, tried.detail)):
        first, *more = alike
        texts.append(f"{moment(first.at)} {reason}: {detail}")
        if more:
            texts.append(f"{len(more)} more like it, until {moment(more[-1].at)}")
    for number, text in enumerate(texts):
        yield from beside("" if number else "  failed", text, at_most=ATTEMPT_LINES)


def _is_for_some(told: ToldRow) -> bool:
    """Tell whether some have it, and others are asked again."""
    message = told.message
    return told.delivery.why == "in_part" and message is not None and message.state == DeliveryState.PENDING


def _end(row: DeliveryRow, *, is_served: bool, is_listed: bool, is_for_some: bool) -> Iterator[str]:
    """Say how it ended, and what there is to do. Trouble that is listed and over needs no second word.

    Of what was delivered in part it is no failed attempt, and so not listed.
    """
    is_delivered = row.state == DeliveryState.DELIVERED
    if row.done_at is not None:
        yield from beside("  ended", f"{moment(row.done_at)}, {row.state}")
    if row.last_detail and not (is_delivered and is_listed and row.why is None):
        remedy = None if is_delivered else REMEDIES.get(row.last_reason or "")
        yield from beside("  trouble", row.last_detail if remedy is None else f"{row.last_detail}; {remedy}")
    if row.why:
        yield from beside("  why", SOME_WAIT if is_for_some else _why(row))
    if row.state == DeliveryState.DEAD:
        again = f"taskwatch deliveries replay {row.event_id[:SHORT_ID]} --receiver {quote(row.receiver)}"
        yield from beside("  again", again)
    if row.state == DeliveryState.PENDING and not is_served:
        yield from beside("  waits", "no receiver has this name now; configure one again, and it gets it")


def _why(row: DeliveryRow) -> str:
    if row.why != "over":
        return ENDS.get(row.why or "", row.why or "")
    if row.type in OPENING:
        return "what it is about was over when that ended, so nobody was told of it"
    return "it needed no attention, so nobody was told of it when that ended"
