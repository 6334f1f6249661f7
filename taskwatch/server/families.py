"""What /metrics says, as plain values: names, meanings, and the numbers of one moment.

- Labels are configured names and closed choices: how many series there are depends on the configuration alone,
  never on what a cloud lists or a store holds.
- Counts begin at 0 with the process. What can be counted for a receiver is there from the beginning, so that a
  rate sees the first one too.
"""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import product
from typing import Final

from taskwatch import __version__
from taskwatch.config.network import find_tls
from taskwatch.engine.tally import PollResult
from taskwatch.errors import CloudCause
from taskwatch.model.alert import OPENING
from taskwatch.model.delivery import DeliveryState, Reason
from taskwatch.model.event import EventType, Severity
from taskwatch.server.family import Family, Samples, counter, gauge, histogram
from taskwatch.server.view import Observed, Vitals
from taskwatch.store.counts import Counts

_ENDS: Final = (DeliveryState.DELIVERED, DeliveryState.DEAD)
_RECORDED: Final = sorted(set(EventType) - {EventType.RECEIVER_TEST})  # that one is sent, and never recorded


def families(observed: Observed | None, counts: Counts | None, *, now: datetime) -> list[Family]:
    """Return all there is to say now. Without `counts` the store was not read, and what is read of it is left out."""
    said = [
        gauge(
            "build_info", "1, by version", {(__version__, platform.python_version()): 1}, "version", "python"
        ),
        gauge(
            "watching",
            "1: the daemon watches; 0: it waits for its store, or stops",
            {(): observed is not None},
        ),
    ]
    if observed is None:
        return said
    vitals = observed.vitals
    return [
        *said,
        *_projects(observed, vitals),
        *_receivers(observed, vitals),
        *_unverified(observed),
        *_logins(observed, vitals),
        *_itself(observed, vitals, is_read=counts is not None),
        *(() if counts is None else _recorded(observed, counts, now)),
    ]


def _projects(observed: Observed, vitals: Vitals) -> Iterator[Family]:
    watches = {watch.poller.project.name: watch for watch in observed.watches}
    unnamed = {one.name: one for one in observed.config.named if one.name not in watches}

    def of_each(of: Callable[[str], float]) -> Samples:
        return {(name,): of(name) for name in watches}

    def nowhere(value: float) -> Samples:
        return {(name,): value for name in unnamed}

    idle: Samples = {(name,): one.interval.idle for name, one in unnamed.items()}
    yield gauge(
        "project_age_seconds",
        "seconds since the task list was last read completely; if it never was, since it is watched",
        {**of_each(lambda name: watches[name].poller.age_seconds), **nowhere(vitals.running_seconds)},
        "project",
    )
    yield gauge(
        "project_up",
        "1: the last poll read the task list, and what it found is on record; 0: it did not",
        {
            **{
                (name,): watch.result is PollResult.OK
                for name, watch in watches.items()
                if watch.result is not None
            },
            **{(name,): 0 for name in unnamed if name in observed.unnamed},
        },
        "project",
    )
    yield gauge(
        "project_interval_seconds",
        "seconds from poll to poll as it is kept now, longer than configured where the rate carries no more",
        {**of_each(lambda name: watches[name].condition.interval), **idle},
        "project",
    )
    yield gauge(
        "project_configured_interval_seconds",
        "seconds from poll to poll as it is configured for now: with or without running tasks",
        {**of_each(lambda name: watches[name].configured_interval), **idle},
        "project",
    )
    yield gauge(
        "project_running_tasks",
        "tasks that have not ended, as far as is known",
        {**of_each(lambda name: watches[name].poller.running), **nowhere(0)},
        "project",
    )
    polls: Samples = {(name, PollResult.OK.value): 0.0 for name in watches}
    polls |= {
        (name, result.value): count for (name, result), count in vitals.tally.polls.items() if name in watches
    }
    yield counter("polls_total", "polls that ended, by what came of them", polls, "project", "result")
    yield histogram(
        "poll_duration_seconds", "seconds that polls took, whatever came of them", vitals.tally.poll_seconds
    )
    yield histogram(
        "detection_lag_seconds",
        "seconds from the moment at which the cloud says that a task began or ended until that is on record; not of what was"
        " read late, after a pause or a restart",
        vitals.tally.detection_seconds,
    )
    yield counter(
        "events_total",
        "events that were recorded",
        {(type_.value,): vitals.tally.events[type_] for type_ in _RECORDED},
        "type",
    )


def _receivers(observed: Observed, vitals: Vitals) -> Iterator[Family]:
    lanes = {lane.receiver: lane for lane in observed.lanes}
    yield gauge(
        "receiver_up",
        "0: the last attempt failed, or it waits for an operator; 1: it did not, or there was none",
        {(name,): lane.ailment is None for name, lane in lanes.items()},
        "receiver",
    )
    yield counter(
        "deliveries_total",
        "deliveries that came to their end: delivered, or dead; a message that tells people several events is one",
        {(name, end.value): vitals.tally.deliveries[name, end] for name, end in product(lanes, _ENDS)},
        "receiver",
        "outcome",
    )
    yield counter(
        "delivery_failures_total",
        "attempts that failed",
        {(name, why.value): vitals.tally.failures[name, why] for name, why in product(lanes, Reason)},
        "receiver",
        "reason",
    )


def _unverified(observed: Observed) -> Iterator[Family]:
    config = observed.config
    found: Samples = {("project", one.name): 1.0 for one in config.configured if not one.tls.verify}
    found |= {
        ("receiver", one.name): 1.0
        for one in config.receivers
        if not all(section.verify for _, section in find_tls(one))
    }
    yield gauge(
        "tls_verification_off",
        "1 for each project and receiver that takes whoever answers for its host: tls: {verify: false}",
        found,
        "kind",
        "name",
    )


def _logins(observed: Observed, vitals: Vitals) -> Iterator[Family]:
    refused = {name for name, state in vitals.logins.items() if state.is_refused}
    refused |= {
        watch.credential
        for watch in observed.watches
        if (found := watch.ailment) is not None and found.is_lasting
    }
    refused |= {
        one.credential
        for one in observed.config.named
        if (error := observed.unnamed.get(one.name)) is not None and error.cause is CloudCause.LOGIN
    }
    used = {one.credential for one in observed.config.configured}
    yield gauge(
        "credential_expiry_seconds",
        "seconds until the first token expires that is in use; none of a credential without tokens, or with ready-made ones",
        {
            (name,): state.expires_in_seconds
            for name, state in vitals.logins.items()
            if state.expires_in_seconds is not None
        },
        "credential",
    )
    yield gauge(
        "credential_refused",
        "1: the login, or what it signs, was refused since it was accepted last",
        {(name,): name in refused for name in sorted(used | vitals.logins.keys())},
        "credential",
    )


def _itself(observed: Observed, vitals: Vitals, *, is_read: bool) -> Iterator[Family]:
    yield gauge("store_writable", "0: the last commit was refused", {(): observed.unwritable() is None})
    yield counter("store_commits_total", "commits that became durable", {(): vitals.commits})
    yield gauge(
        "store_read_success",
        "0: the store could not be read in time for this answer, and what is read of it is left out",
        {(): is_read},
    )
    yield gauge(
        "event_loop_lag_seconds",
        "seconds by which the event loop was late, at worst, in the last minute",
        {(): vitals.loop_lag_seconds},
    )
    yield gauge(
        "config_last_reload_successful",
        "0: the last reload was refused, and the configuration before it goes on",
        {(): not vitals.is_reload_refused},
    )
    yield gauge(
        "config_last_reload_success_timestamp_seconds",
        "when the configuration that is in force was read, in seconds since 1970",
        {(): vitals.reloaded_at.timestamp()},
    )
    heartbeat, age = observed.config.heartbeat, vitals.heartbeat_age_seconds
    yield gauge(
        "heartbeat_age_seconds",
        "seconds since a heartbeat was last taken, or since the start; none where no heartbeat is configured",
        {} if age is None else {(): age},
    )
    yield gauge(
        "heartbeat_interval_seconds",
        "seconds from heartbeat to heartbeat, as configured",
        {} if heartbeat is None else {(): heartbeat.every},
    )


def _recorded(observed: Observed, counts: Counts, now: datetime) -> Iterator[Family]:
    served = [lane.receiver for lane in observed.lanes]
    for state, name, text in (
        (DeliveryState.PENDING, "queued_deliveries", "deliveries that wait to be made"),
        (DeliveryState.HELD, "held_deliveries", "deliveries that a silence or a mute window holds back"),
        (DeliveryState.DEAD, "dead_deliveries", "deliveries on record that were given up"),
    ):
        found: Samples = {(receiver,): counts.queues.get((receiver, state.value), 0) for receiver in served}
        yield gauge(name, text, found, "receiver")
    ages = {receiver: (now - since).total_seconds() for receiver, since in counts.waiting_since.items()}
    yield gauge(
        "queue_age_seconds",
        "seconds for which the first event, or message to people, has waited for a receiver; 0: nothing waits, but for"
        " what waits in its group",
        {(receiver,): max(ages.get(receiver, 0.0), 0.0) for receiver in served},
        "receiver",
    )
    yield gauge(
        "unserved_deliveries",
        "deliveries that wait for receivers which are configured no more",
        {
            (): sum(
                count
                for (name, state), count in counts.queues.items()
                if state == "pending" and name not in served
            )
        },
    )
    alerts = [(type_.value, severity.value) for type_, severity in product(sorted(OPENING), Severity)]
    labels = ("type", "severity")
    yield gauge("open_alerts", "alerts that are open", _chosen(counts.alerts, alerts), *labels)
    yield gauge(
        "acknowledged_alerts",
        "those of them that somebody has",
        _chosen(counts.acknowledged, alerts),
        *labels,
    )
    yield gauge("active_silences", "silences in force", {(): counts.silences})
    sizes: Samples = {(file,): size for file, size in counts.sizes.items()}
    yield gauge(
        "store_size_bytes", "bytes of the store's files: the database, and its write-ahead log", sizes, "file"
    )


def _chosen(found: Mapping[tuple[str, str], int], keys: Iterable[tuple[str, str]]) -> Samples:
    return {key: found.get(key, 0) for key in keys}
