"""`taskwatch deliveries`: who was told what; `replay` and `drop` of what was not."""

from pathlib import Path
from typing import Any

import click

from taskwatch.cli.options import config_option
from taskwatch.cli.output import print_json, print_table
from taskwatch.cli.query import SHORT_ID, filters, opened_reader, type_option

DROPPABLE = ("dead", "pending", "held")


@click.group(invoke_without_command=True, epilog="Example: taskwatch deliveries --state dead")
@filters(
    click.option("--receiver", metavar="NAME", help="To this receiver."),
    click.option(
        "--state",
        type=click.Choice(["pending", "held", "delivered", "dead", "dropped", "suppressed"]),
        help="In this state.",
    ),
    type_option,
)
def deliveries(config: Path | None, as_json: bool, **chosen: Any) -> None:
    """List who was told what, when, after how many tries; the newest first."""
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        context.obj = config
        return
    with opened_reader(config) as reader:
        rows = reader.deliveries(**chosen)
    if as_json:
        print_json(
            {
                "event_id": row.event_id,
                "type": row.type,
                "project": row.project,
                "subject": row.subject,
                "receiver": row.receiver,
                "route": row.path,
                "state": row.state,
                "attempts": row.attempts,
                "replay": row.replay,
                "first_attempt_at": row.first_attempt_at,
                "last_attempt_at": row.last_attempt_at,
                "done_at": row.done_at,
                "reason": row.last_reason,
                "detail": row.last_detail,
                "why": row.why,
            }
            for row in rows
        )
        return
    print_table(
        ("STATE", "RECEIVER", "TRIES", "EVENT", "PROJECT", "RECORDED", "DONE", "LAST TROUBLE", "EVENT ID"),
        [
            (
                row.state,
                row.receiver,
                row.attempts,
                row.type.removeprefix("taskwatch."),
                row.project,
                row.time,
                row.done_at,
                row.last_detail,
                row.event_id[:SHORT_ID],
            )
            for row in rows
        ],
        empty="No deliveries match.",
        spare=("EVENT ID", "RECORDED", "PROJECT", "DONE"),
    )


_events = click.argument("event_ids", nargs=-1, metavar="[EVENT_ID]...")
_receiver = click.option("--receiver", metavar="NAME", help="Only those to this receiver.")
_all = click.option("--all", "everything", is_flag=True, help="All of them.")


@deliveries.command(epilog="Example: taskwatch deliveries replay --receiver pipeline")
@_events
@_receiver
@_all
@config_option
def replay(
    config: Path | None,
    event_ids: tuple[str, ...],
    receiver: str | None,
    everything: bool,
) -> None:
    """Send dead deliveries again: the same event under the same id, with the header webhook-replay: 1.

    Name events (the beginning of an id is enough), a receiver, or --all. They go to the end of the queue.
    """
    from taskwatch.model.delivery import DeliveryState

    _require_choice(event_ids, receiver, everything=everything)
    count = _changed(config, "replay", state=DeliveryState.DEAD, event_ids=event_ids, receiver=receiver)
    click.echo(f"{_counted(count)} queued again" if count else "No dead deliveries match.")


@deliveries.command(epilog="Example: taskwatch deliveries drop --receiver gone --state pending")
@_events
@_receiver
@_all
@click.option(
    "--state", type=click.Choice(DROPPABLE), default="dead", show_default=True, help="In this state."
)
@config_option
def drop(
    config: Path | None,
    event_ids: tuple[str, ...],
    receiver: str | None,
    everything: bool,
    state: str,
) -> None:
    """Put deliveries away for good: nobody is told of these events by them. They stay listed as dropped.

    Name events (the beginning of an id is enough), a receiver, or --all. What is being sent at this moment may still arrive.
    """
    from taskwatch.model.delivery import DeliveryState

    _require_choice(event_ids, receiver, everything=everything)
    count = _changed(config, "drop", state=DeliveryState(state), event_ids=event_ids, receiver=receiver)
    click.echo(f"{_counted(count)} dropped" if count else f"No {state} deliveries match.")


def _require_choice(event_ids: tuple[str, ...], receiver: str | None, *, everything: bool) -> None:
    if not (event_ids or receiver or everything):
        raise click.UsageError("say which: EVENT_ID, --receiver NAME, or --all")


def _changed(config: Path | None, change: str, *, event_ids: tuple[str, ...], **chosen: Any) -> int:
    from datetime import UTC, datetime

    from taskwatch.app import kinds
    from taskwatch.cli.explain import find_event
    from taskwatch.config.load import find, load
    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator
    from taskwatch.store.reader import StoreReader

    before = click.get_current_context().obj  # as in: taskwatch deliveries -c FILE replay
    path = load(find(config or before), kinds()).store.path
    with StoreReader(path) as reader:
        events = [find_event(reader, event_id).id for event_id in event_ids]
    with Desk(path, by=operator()) as desk:
        return int(getattr(desk, change)(events=events, at=datetime.now(UTC), **chosen))


def _counted(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count} deliveries"
