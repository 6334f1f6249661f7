"""When it is told that something does not work, and when that it works again.

Invariants:
- What is told once is not told again until it was told to be over, but for one that it is critical by now.
- One cause is one outage, however many projects it stops. Those that it stops later are told when their own time has
  come, also where the first were told at once: they find out one by one, and one event names all that did meanwhile.
- An outage is over when all that it stopped works. What still does not, holds up the word of the rest for PARTIAL_SECONDS.
- Of what was not tried yet nothing is concluded. Time is monotonic.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from taskwatch.model.event import Severity
from taskwatch.model.outage import Ailment, Kind, Outage, Place

DEGRADED_INTERVALS: Final = 3
DEGRADED_SECONDS: Final = 300.0
CRITICAL_SECONDS: Final = 3600.0  # since it was told first
DOWN_SECONDS: Final = 900.0  # of a receiver
PARTIAL_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """An outage that is not over, and since when it is known, by the monotonic clock of this run."""

    outage: Outage
    known_since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Begins:
    """Tell that these do not work. `outage` is the one they belong to, if there is one already."""

    outage: Outage | None
    place: Place
    things: tuple[str, ...]
    severity: Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Tell that these work again; none: there is nothing to tell, and nothing left of the outage."""

    outage: Outage
    things: tuple[str, ...]
    is_over: bool


def patience(interval: float) -> float:
    """Return for how long a project that is polled so often may be unreadable before that is told."""
    return max(DEGRADED_INTERVALS * interval, DEGRADED_SECONDS)


def judge(
    outages: Sequence[Open],
    *,
    watched: Collection[str],
    ailing: Mapping[str, Ailment],
    well: Mapping[str, float],
    now: float,
) -> list[Begins | Ends]:
    """Return what is to be told now. `watched` is all there is; `well` says since when something works."""
    steps: list[Begins | Ends] = []
    for current in outages:
        steps += _judge(current, frozenset(watched), ailing, well, now)
    told = frozenset[str]().union(*(current.outage.things for current in outages))
    steps += _begin(outages, {thing: found for thing, found in ailing.items() if thing not in told}, now)
    return steps


def _judge(
    current: Open,
    watched: frozenset[str],
    ailing: Mapping[str, Ailment],
    well: Mapping[str, float],
    now: float,
) -> Iterator[Begins | Ends]:
    outage = current.outage
    left = outage.things & watched
    mended = left & well.keys()
    ill = left - mended
    if not ill:
        yield Ends(outage=outage, things=tuple(sorted(mended)), is_over=True)
        return
    if mended and now - min(well[thing] for thing in mended) >= PARTIAL_SECONDS:
        yield Ends(outage=outage, things=tuple(sorted(mended)), is_over=False)
    ill &= ailing.keys()
    if not ill or outage.severity is Severity.CRITICAL or outage.place.kind is Kind.RECEIVER:
        return
    if now - current.known_since >= CRITICAL_SECONDS or any(ailing[thing].is_lasting for thing in ill):
        yield Begins(outage=outage, place=outage.place, things=tuple(sorted(ill)), severity=Severity.CRITICAL)


def _begin(outages: Sequence[Open], untold: Mapping[str, Ailment], now: float) -> Iterator[Begins]:
    known = {current.outage.place: current.outage for current in outages}
    critical = {place for place, outage in known.items() if outage.severity is Severity.CRITICAL}
    ripe = {
        found.place
        for found in untold.values()
        if now - found.began >= found.patience or (found.is_lasting and found.place not in critical)
    }
    for place in sorted(ripe):
        outage = known.get(place)
        alike = {thing: found for thing, found in untold.items() if found.place == place}
        is_critical = any(found.is_lasting for found in alike.values()) or (
            outage is not None and outage.severity is Severity.CRITICAL
        )
        yield Begins(
            outage=outage,
            place=place,
            things=tuple(sorted(alike)),
            severity=Severity.CRITICAL if is_critical else Severity.WARNING,
        )
