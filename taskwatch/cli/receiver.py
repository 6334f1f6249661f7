"""`taskwatch receiver test`: tries one receiver."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskwatch.cli.options import config_option, loaded

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.config.receiver import ReceiverOptions


@click.group(epilog="Example: taskwatch receiver test pipeline")
def receiver() -> None:
    """Try a receiver with an event that says it is a test."""


@receiver.command(
    short_help="Send a receiver an event that says it is a test.",
    epilog="Example: taskwatch receiver test pipeline",
)
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
@config_option
def test(name: str, dry_run: bool, config: Path | None) -> None:
    """Send one event of type taskwatch.receiver.test, which says that nothing has happened, to a receiver.

    The running daemon sends it, if there is one, with its own secrets; and it goes on with a receiver that it had paused (410).
    """
    from taskwatch.cli.output import print_json
    from taskwatch.config.fields import nearest
    from taskwatch.telemetry import printable

    configuration = loaded(config)
    names = [options.name for options in configuration.receivers]
    if name not in names:
        raise click.BadParameter(
            f"no receiver {name!r} in {configuration.path}; {nearest(name, names)}", param_hint="NAME"
        )
    options = configuration.receivers[names.index(name)]
    if dry_run:
        print_json([_sample(name)])
        return
    event_id = _send(configuration, options)
    click.echo(printable(f"{name} accepted it: event {event_id}"))


def _sample(name: str) -> dict[str, object]:
    import json
    from datetime import UTC, datetime

    from taskwatch.core.events import receiver_test_event

    return dict(json.loads(receiver_test_event(name, at=datetime.now(UTC)).body))


def _send(config: "Config", options: "ReceiverOptions") -> str:
    import asyncio

    from taskwatch import telemetry
    from taskwatch.app import open_notifier
    from taskwatch.cli.request import ask
    from taskwatch.clock import SystemClock
    from taskwatch.engine.operate import try_receiver
    from taskwatch.model.operation import Action
    from taskwatch.store.lock import is_watched

    if is_watched(config.store.path):
        argument = {"receiver": options.name}
        outcome = ask(config.store.path, Action.RECEIVER_TEST, argument, within=options.timeout)
        return str(outcome["event_id"])
    telemetry.configure(format_=config.log.format, level=config.log.level)
    clock = SystemClock()

    async def send() -> str:
        notifier = open_notifier(options, clock=clock, log=telemetry.logger())
        event = await try_receiver(notifier, receiver=options.name, timeout=options.timeout, clock=clock)
        return event.id

    return asyncio.run(send())
