"""`taskwatch deliveries`: who was told what; `replay` and `drop` of what was not."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from taskwatch.cli.options import Footing, config_option, footing
from taskwatch.cli.output import print_json, print_table
from taskwatch.cli.query import SHORT_ID, filters, found, type_option
from taskwatch.report.words import counted

if TYPE_CHECKING:
    from taskwatch.model.delivery import DeliveryState
    from taskwatch.store.rows import DeliveryRow

WAITS = "waits for its group"
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
    """List who was told what, when, after how many tries; the newest first.

    With a command: send again what is dead, or drop what is not to be sent any more. The options of a
    command stand behind it.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        _require_no_filter(context)
        context.obj = config
        return
    where = footing(config)
    with found(where, lambda reader: reader.deliveries, **chosen) as rows:
        _print(rows, where, as_json=as_json)


def _print(rows: "Sequence[DeliveryRow]", where: Footing, *, as_json: bool) -> None:
    if as_json:
        from taskwatch.report.rows import Delivery

        print_json(Delivery.of(row).shown() for row in rows)
        return
    people = _people(rows, where)
    print_table(
        (
            "STATE", "RECEIVER", "TRIES", "WHY", "SUMMARY", "EVENT ID",
            "EVENT", "PROJECT", "RECORDED", "DONE", "LAST TROUBLE",
        ),
        [
            (
                row.state,
                row.receiver,
                row.attempts,
                _why(row, people),
                row.summary,
                row.event_id[:SHORT_ID],
                row.type.removeprefix("taskwatch."),
                row.project,
                row.time,
                row.done_at,
                row.last_detail,
            )
            for row in rows
        ],
        empty="No deliveries match.",
        spare=("LAST TROUBLE", "DONE", "RECORDED", "PROJECT", "EVENT", "EVENT ID"),
    )  # fmt: skip


def _people(rows: "Sequence[DeliveryRow]", where: Footing) -> frozenset[str]:
    """Return the receivers that are told in groups; where only the store is known, those that were meant to be."""
    if where.config is not None:
        return where.config.routing.people
    return frozenset(row.receiver for row in rows if row.group is not None)


def _why(row: "DeliveryRow", people: frozenset[str]) -> str | None:
    if row.state == "held":
        return row.held_by
    return WAITS if row.waits_for_its_group(people) else row.why or row.last_reason


def _require_no_filter(context: click.Context) -> None:
    """Refuse what would choose nothing: a command has its own options, and `--all` would mean all."""
    given = [
        parameter.opts[-1]
        for parameter in context.command.params
        if parameter.name != "config"
        and context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    ]
    if given:
        command = context.invoked_subcommand
        raise click.UsageError(
            f"{given[0]} before {command} has no effect there; put it behind, and see what {command} --help knows"
        )


_events = click.argument("event_ids", nargs=-1, metavar="[EVENT_ID]...")
_receiver = click.option("--receiver", metavar="NAME", help="Only those to this receiver.")
_all = click.option("--all", "everything", is_flag=True, help="All of them.")


@deliveries.command(
    short_help="Send dead deliveries again.",
    epilog="Example: taskwatch deliveries replay --receiver pipeline",
)
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

    Name events (the beginning of an id is enough; that of a message is all its events), a receiver, or --all.
    They go to the end of the queue.
    """
    from taskwatch.model.delivery import DeliveryState

    _require_choice(event_ids, receiver, everything=everything)
    where = _footing(config)
    queued = _changed(where, "replay", state=DeliveryState.DEAD, event_ids=event_ids, receiver=receiver)
    if not queued:
        click.echo("No dead deliveries match.")
        return
    click.echo(f"{_number(queued)} queued again")
    _say_when(where, queued)


@deliveries.command(
    short_help="Put deliveries away for good.",
    epilog="Example: taskwatch deliveries drop --receiver gone --state pending",
)
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
    dropped = _changed(
        _footing(config), "drop", state=DeliveryState(state), event_ids=event_ids, receiver=receiver
    )
    click.echo(f"{_number(dropped)} dropped" if dropped else f"No {state} deliveries match.")


def _require_choice(event_ids: tuple[str, ...], receiver: str | None, *, everything: bool) -> None:
    if not (event_ids or receiver or everything):
        raise click.UsageError("say which: EVENT_ID, --receiver NAME, or --all")


def _footing(config: Path | None) -> Footing:
    return footing(config or click.get_current_context().obj)  # as in: taskwatch deliveries -c FILE replay


def _changed(
    where: Footing,
    change: str,
    *,
    state: "DeliveryState",
    event_ids: tuple[str, ...],
    receiver: str | None,
) -> Counter[str]:
    """Let the change be done, and say what else is the matter with what was named; return how many of each receiver it changed."""
    from datetime import UTC, datetime

    from taskwatch.cli import unchanged
    from taskwatch.cli.explain import find_events
    from taskwatch.cli.query import require_known
    from taskwatch.store.desk import Desk
    from taskwatch.store.operations import operator
    from taskwatch.store.reader import StoreReader

    with StoreReader(where.store.path) as reader, Desk(where.store.path, by=operator()) as desk:
        events = [found_id for event_id in event_ids for found_id in find_events(reader, event_id)]
        left = unchanged.lines(reader, events, receiver=receiver, state=state)
        changed: Counter[str] = getattr(desk, change)(
            events=events, at=datetime.now(UTC), state=state, receiver=receiver
        )
        if not changed:
            require_known(where, reader, receiver=receiver)
    for line in left:
        click.echo(line, err=True)
    return changed


def _number(changed: Counter[str]) -> str:
    return counted(changed.total(), "delivery", "deliveries")


def _say_when(where: Footing, queued: Counter[str]) -> None:
    """Say what the deliveries wait for, if it is more than their turn."""
    from taskwatch.store.lock import is_watched
    from taskwatch.telemetry import printable

    served = queued if where.config is None else {receiver.name for receiver in where.config.receivers}
    unknown = queued.keys() - set(served)
    for name in sorted(unknown):
        click.echo(
            printable(f"{name} is configured no more: its deliveries wait for a receiver of that name"),
            err=True,
        )
    if queued.keys() - unknown and not is_watched(where.store.path):
        click.echo("No daemon is running: the next taskwatch run sends them.", err=True)
