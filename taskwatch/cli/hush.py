"""What kept an event from being told, or did not: silences, and windows of the configuration."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from taskwatch.cli.page import hanging, moment
from taskwatch.cli.tree import refusal
from taskwatch.core.matchers import Matcher
from taskwatch.core.quiet import Mute, Silence
from taskwatch.store.rows import EventRow

Hush = Silence | Mute


def described(name: str, hushes: Sequence[Hush]) -> str:
    """Say what a delivery is held back by, as far as it is known. Not printable yet."""
    hush = next((hush for hush in hushes if str(hush) == name), None)
    if hush is not None:
        return f"{hush} {_particulars(hush)}"
    place = "in the configuration" if name.startswith("mute ") else "on record"
    return f"{name}, which is not {place} any more"


def lines(event: EventRow, attributes: Mapping[str, str], hushes: Sequence[Hush]) -> Iterator[str]:
    """Say of each that was in force when the event was recorded whether it covers it, and why not."""
    in_force = [hush for hush in hushes if hush.is_in_force(event.time)]
    if in_force:
        yield ""
        yield "In force when it was recorded:"
    for hush in in_force:
        refused = _refused_by(hush, attributes)
        said = f"covers it {_particulars(hush)}" if refused is None else f"no: {refusal(refused, attributes)}"
        yield from hanging(f"{hush}: {said}", indent=2)


def rows(
    event: EventRow, attributes: Mapping[str, str], hushes: Sequence[Hush], *, holding: Collection[str]
) -> list[dict[str, object]]:
    """Return those that were in force when the event was recorded, and those that hold it back, or did."""
    return [
        _row(hush, attributes) | {"was_in_force": hush.is_in_force(event.time)}
        for hush in hushes
        if hush.is_in_force(event.time) or str(hush) in holding
    ]


def _row(hush: Hush, attributes: Mapping[str, str]) -> dict[str, object]:
    refused = _refused_by(hush, attributes)
    return {
        "name": str(hush),
        "covers": refused is None,
        "refused_by": None if refused is None else str(refused),
        **_said(hush),
    }


def _said(hush: Hush) -> dict[str, object]:
    matchers = [str(matcher) for matcher in hush.matchers]
    if isinstance(hush, Silence):
        return {
            "matchers": matchers,
            "begins_at": hush.begins_at,
            "ends_at": hush.ends_at,
            "by": hush.by,
            "comment": hush.comment,
        }
    weekly = [str(span) for span in hush.weekly]
    return {"matchers": matchers, "weekly": weekly, "timezone": str(hush.zone)}


def _refused_by(hush: Hush, attributes: Mapping[str, str]) -> Matcher | None:
    return next((matcher for matcher in hush.matchers if not matcher.matches(attributes)), None)


def _particulars(hush: Hush) -> str:
    matchers = f"({', '.join(map(str, hush.matchers)) or 'it takes every event'})"
    if isinstance(hush, Mute):
        return f"{matchers}, each week {', '.join(map(str, hush.weekly))} in {hush.zone}"
    comment = "" if hush.comment is None else f": {hush.comment}"
    return f"{matchers} until {moment(hush.ends_at)}, set by {hush.by}{comment}"
