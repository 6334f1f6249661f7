"""What the demo may claim at its end: the cloud's own truth, held against what the receiver got.

A change counts when a poll that is on record read a list that shows it: one poll reads several, one
after the other, and a task that ends after the list of the recent ones is on none of them. A start that was over before the next
poll is nobody's loss; it is counted apart.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from taskwatch.cli.demo.scene import STATUSES, Fact, Left, Watched
from taskwatch.simulator.cloud import Cloud
from taskwatch.simulator.pages import Query
from taskwatch.simulator.work import Transition

HISTORY: Final = timedelta(days=40)  # more than a listing holds


@dataclass(slots=True)
class Heard:
    """What the receiver was told, each event once."""

    kinds: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)  # project, summary
    facts: set[Fact] = field(default_factory=set)
    sequences: dict[str, int] = field(default_factory=dict)  # subject → of its latest event
    disordered: int = 0

    def hear(self, event: Mapping[str, Any]) -> None:
        kind, subject, data = event["type"].rpartition(".")[2], event["subject"], event["data"]
        self.kinds[kind] += 1
        if kind in STATUSES:
            self.facts.add((subject, STATUSES[kind]))
        if kind == "failed":
            self.failures.append((data["project"]["name"], data["summary"]))
        self.disordered += data["sequence"] <= self.sequences.get(subject, 0)
        self.sequences[subject] = data["sequence"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    changes: int  # that polls could read
    unseen: int  # starts that were over before the next poll
    lost: int
    false: int


def account(cloud: Cloud, left: Left, *, speed: float, heard: set[Fact]) -> Account:
    """Compare what was heard, and what the store has left to tell, with what happened."""
    readable: set[Fact] = set()
    happened: set[Fact] = set()
    unseen = 0
    for one in left.watched:
        history = cloud.transitions(cloud.began - HISTORY, project_id=one.project_id)
        happened |= {(change.job_id, change.after) for change in history}
        seen, missed = _readable(cloud, one, history, speed)
        readable |= seen
        unseen += missed
    recorded = heard | left.waiting
    return Account(
        changes=len(readable | recorded & happened),
        unseen=unseen,
        lost=len(readable - recorded),
        false=len(recorded - happened),
    )


def _readable(
    cloud: Cloud, one: Watched, history: Sequence[Transition], speed: float
) -> tuple[set[Fact], int]:
    """Return what some reading since the baseline showed, and how many changes none of them did."""
    readings = [reading for reading in cloud.readings(one.project_id) if reading.at <= one.until]
    if not readings:
        return set(), 0
    first = next((reading for reading in reversed(readings) if reading.at <= one.since), readings[0])
    # The first listing takes a moment to read: what happens meanwhile may count as history or as news.
    baseline = first.moment + (one.since - first.at) * speed
    moments = [reading.moment for reading in readings]
    over = {gone.task.job_id: gone.at for gone in cloud.deletions(cloud.began - HISTORY, one.project_id)}
    found: set[Fact] = set()
    missed = 0
    for change in reversed(history):
        until = over.get(change.job_id)
        over[change.job_id] = change.at
        if not baseline < change.at <= moments[-1]:
            continue
        later = readings[bisect_left(moments, change.at) :]
        showing = next((reading.moment for reading in later if _shows(reading.query, change)), None)
        if showing is None:
            continue
        if until is None or showing < until:
            found.add((change.job_id, change.after))
        else:
            missed += 1
    return found, missed


def _shows(query: Query, change: Transition) -> bool:
    """Tell whether a list that is asked for like this holds a task that has changed so."""
    created = change.created_at.timestamp()
    return (
        query.status in (None, change.after)
        and (query.start is None or query.start <= created)
        and (query.end is None or created <= query.end)
    )
