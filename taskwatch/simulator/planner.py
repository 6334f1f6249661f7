"""Decides what will happen in a project, one day after the other.

The same seed and project give the same days: every draw comes from one generator, and days are
written in order. An instance does one thing at a time, is created before it is used, and is never
heard of again after its deletion.
"""

import heapq
import itertools
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from random import Random

from taskwatch.simulator.catalogue import (
    BACKUP,
    COMPLETED,
    CREATE,
    DELETE,
    FAILED,
    KINDS,
    MAKERS,
    RESTORES,
    Kind,
)
from taskwatch.simulator.work import Work

DAY = 86_400.0
_HOUR = 3_600.0
_BACKUP_SHARE = 0.65
_NIGHT_SHARE = 0.75  # of the backups
_NIGHT = 2.5 * _HOUR
_TASKS_PER_INSTANCE = 4  # a day
_RETRIED_SHARE = 0.6  # of the failures: somebody tries the same again
_BRIEF_SHARE = 0.03
_STUCK_SHARE = 0.002
_STUCK_HOURS = (6, 30)
_LONG_SHARE = 0.2  # of the restores: large ones, that show for hours how far they are
_LONG_HOURS = (3, 9)
_BURST_SHARE = 0.15  # of the days: somebody has many backups made at once
_BURST_SECONDS = 30.0
# A person deletes the record of a task that has ended. Never of a running one: no reader could tell
# that from a page that lies.
_DELETED_SHARE = 0.01
_KEPT_HOURS = (1, 120)
_REST = 60.0  # between two tasks of one instance

_RARE = [kind for kind in KINDS.values() if kind.weight]
_WEIGHTS = [kind.weight for kind in _RARE]
_WORDS = (
    "orders",
    "billing",
    "ledger",
    "catalog",
    "search",
    "crm",
    "reports",
    "events",
    "auth",
    "stock",
    "fleet",
)


@dataclass(slots=True, kw_only=True, eq=False)
class Instance:
    """A database instance and when its present task leaves it alone."""

    id: str
    name: str
    free_at: float = 0.0


@dataclass(order=True, slots=True)
class _Wish:
    at: float
    number: int  # breaks ties in the order of making
    kind: Kind = field(compare=False)
    instance: Instance | None = field(default=None, compare=False)


class Planner:
    """Writes the works of a project. `until` is the moment up to which they are decided."""

    def __init__(self, *, seed: int, project_id: str, first_day: float, tasks_per_day: int) -> None:
        self.until = first_day
        self._random = Random(f"{seed}/{project_id}")
        self._tasks_per_day = tasks_per_day
        self._failing_share = self._random.uniform(0.04, 0.08)
        self._usual_fleet = max(3, tasks_per_day // _TASKS_PER_INSTANCE)
        self._fleet = [new_instance(self._random) for _ in range(self._usual_fleet)]
        self._wishes: list[_Wish] = []
        self._numbers = itertools.count()

    def next_day(self) -> list[Work]:
        """Return what is created on the next day, in order of creation."""
        self._wish_for_a_day(self.until)
        self.until += DAY
        works = []
        while self._wishes and self._wishes[0].at < self.until:
            work = self._fulfil(heapq.heappop(self._wishes))
            if work is not None:
                works.append(work)
        return works

    def _wish_for_a_day(self, start: float) -> None:
        total = round(self._tasks_per_day * self._random.uniform(0.85, 1.15))
        backups = round(total * _BACKUP_SHARE)
        for moment in self._backup_moments(backups):
            self._wish(start + moment, KINDS[BACKUP])
        for kind in self._random.choices(_RARE, _WEIGHTS, k=total - backups):
            self._wish(start + self._random.uniform(0, DAY), kind)

    def _backup_moments(self, count: int) -> Iterator[float]:
        at_once = min(count, len(self._fleet)) if self._random.random() < _BURST_SHARE else 0
        burst = self._random.uniform(0, DAY - _BURST_SECONDS)
        for _ in range(at_once):
            yield burst + self._random.uniform(0, _BURST_SECONDS)
        for _ in range(count - at_once):
            if self._random.random() < _NIGHT_SHARE:
                yield self._random.gauss(_NIGHT, _HOUR) % DAY
            else:
                yield self._random.uniform(0, DAY)

    def _wish(self, at: float, kind: Kind, instance: Instance | None = None) -> None:
        heapq.heappush(self._wishes, _Wish(float(int(at)), next(self._numbers), kind, instance))

    def _fulfil(self, wish: _Wish) -> Work | None:
        """Turn a wish into a work, or drop it when no instance is free for it."""
        kind = wish.kind if wish.instance else self._balanced(wish.kind)
        instance = wish.instance or self._instance_for(kind, wish.at)
        if instance is None or not self._is_usable(kind, instance, wish.at):
            return None
        work = self._work(kind, instance, wish.at)
        instance.free_at = work.ended + _REST
        if work.outcome == COMPLETED:
            self._settle(kind, instance)
        elif self._random.random() < _RETRIED_SHARE:
            self._retry(kind, instance, work.ended)
        return work

    def _balanced(self, kind: Kind) -> Kind:
        """Keep the fleet near its usual size: who would shrink it too far creates instead, and vice versa."""
        if kind.name == DELETE and len(self._fleet) < self._usual_fleet * 0.8:
            return KINDS[CREATE]
        if kind.name in MAKERS and len(self._fleet) > self._usual_fleet * 1.2:
            return KINDS[DELETE]
        return kind

    def _instance_for(self, kind: Kind, at: float) -> Instance | None:
        if kind.name in MAKERS:
            return new_instance(self._random)
        first = self._random.randrange(len(self._fleet)) if self._fleet else 0
        in_turn = itertools.chain(self._fleet[first:], self._fleet[:first])
        return next((instance for instance in in_turn if instance.free_at <= at), None)

    def _is_usable(self, kind: Kind, instance: Instance, at: float) -> bool:
        """Tell whether it is there and idle: a retry may find its instance busy, or gone."""
        exists = kind.name in MAKERS or instance in self._fleet
        return exists and instance.free_at <= at

    def _work(self, kind: Kind, instance: Instance, at: float) -> Work:
        is_long = kind.name in RESTORES and self._random.random() < _LONG_SHARE
        seconds = self._hours(_LONG_HOURS) if is_long else self._seconds(kind)
        fails = self._random.random() < self._failing_share
        work = make_work(
            self._random,
            kind=kind,
            instance=instance,
            created=at,
            seconds=max(1, int(seconds * self._random.uniform(0.1, 0.95))) if fails else seconds,
            full_seconds=seconds if is_long or self._random.random() < kind.progress else None,
            fail_reason=self._random.choice(kind.reasons) if fails else None,
        )
        if self._random.random() < _DELETED_SHARE:
            work = replace(work, deleted=work.ended + self._hours(_KEPT_HOURS))
        return work

    def _hours(self, bounds: tuple[int, int]) -> int:
        low, high = bounds
        return self._random.randint(int(low * _HOUR), int(high * _HOUR))

    def _seconds(self, kind: Kind) -> int:
        draw = self._random.random()
        if draw < _BRIEF_SHARE:
            return self._random.randint(5, 55)
        if draw > 1 - _STUCK_SHARE:
            return self._hours(_STUCK_HOURS)
        low, high = kind.minutes
        return self._random.randint(int(low * 60), int(high * 60))

    def _settle(self, kind: Kind, instance: Instance) -> None:
        if kind.name in MAKERS:
            self._fleet.append(instance)
        elif kind.name == DELETE:
            self._fleet.remove(instance)

    def _retry(self, kind: Kind, instance: Instance, failed_at: float) -> None:
        if kind.name in MAKERS:  # the cloud makes a new one under the old name
            instance = Instance(id=_instance_id(self._random), name=instance.name)
        self._wish(failed_at + self._random.uniform(600, _HOUR), kind, instance)


def make_work(
    random: Random,
    *,
    kind: Kind,
    instance: Instance,
    created: float,
    seconds: float,
    full_seconds: float | None,
    fail_reason: str | None,
) -> Work:
    """Return a work with an id of its own. It fails if it has a reason to."""
    return Work(
        job_id=str(uuid.UUID(int=random.getrandbits(128), version=4)),
        name=kind.name,
        instance_id=instance.id,
        instance_name=instance.name,
        instance_status=kind.while_running,
        instance_status_after=kind.when_completed if fail_reason is None else kind.when_failed,
        created=created,
        ended=round(created + seconds, 3),
        full_seconds=full_seconds,
        outcome=COMPLETED if fail_reason is None else FAILED,
        fail_reason=fail_reason,
    )


def new_instance(random: Random, name: str | None = None) -> Instance:
    """Return an instance nobody has heard of."""
    return Instance(
        id=_instance_id(random), name=name or f"gauss-{random.choice(_WORDS)}-{random.randrange(16**4):04x}"
    )


def _instance_id(random: Random) -> str:
    return f"{random.getrandbits(128):032x}in14"  # in14 marks an openGauss instance
