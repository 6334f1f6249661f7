"""`taskwatch receiver test`: tries one receiver."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskwatch.cli.options import config_option, loaded

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.config.receiver import ReceiverOptions
    from taskwatch.model.delivery import Message


@click.group(epilog="Example: taskwatch receiver test pipeline")
def receiver() -> None:
    """Try a receiver with an event that says it is a test."""


@receiver.command(
    short_help="Send a receiver an event that says it is a test.",
    epilog="Example: taskwatch receiver test pipeline",
)
@click.argument("name")
@click.option(
    "--dry-run", is_flag=True, help="Send nothing; print the event, letter or text that it would be told."
)
@config_option
def test(name: str, dry_run: bool, config: Path | None) -> None:
    """Send one event of type taskwatch.receiver.test, which says that nothing has happened, to a receiver.

    The running daemon sends it, if there is one, with its own secrets; and it goes on with a receiver that it had paused (410).
    With --dry-run the event is printed, or what a template or a letter makes of it: not the very bytes of the receiver's protocol.
    """
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
        _print_sample(options)
        return
    event_id, remark = _send(configuration, options)
    click.echo(printable(f"{name} accepted it: event {event_id}"))
    if remark is not None:
        click.echo(printable(f"But {remark}"), err=True)


def _print_sample(options: "ReceiverOptions") -> None:
    """Print what would be sent: the event, or the letter or text that is made of it."""
    import asyncio
    import json

    from taskwatch.cli.output import print_json
    from taskwatch.model.letter import read_letter
    from taskwatch.model.rendered import read_rendered

    body = asyncio.run(_sample(options)).body
    rendered = read_rendered(body)
    if options.writes_to_people:
        letter = read_letter(body)
        click.echo(f"Subject: {letter.subject}\n")
        click.echo(_harmless(letter.text))
    elif rendered is not None:
        click.echo(f"Content-Type: {rendered.content_type}\n")
        click.echo(_harmless(rendered.text))
    else:
        print_json([json.loads(body)])


def _harmless(text: str) -> str:
    from taskwatch.telemetry import printable

    return "\n".join(printable(line) for line in text.rstrip("\n").split("\n"))


async def _sample(options: "ReceiverOptions") -> "Message":
    """Return the message that tries the receiver. Raises TemplateFailedError."""
    from datetime import UTC, datetime

    from taskwatch import telemetry
    from taskwatch.app.ways import sample
    from taskwatch.templates.workshop import Workshop

    workshop = Workshop()
    try:
        return await sample(options, renderer=workshop, at=datetime.now(UTC), log=telemetry.logger())
    finally:
        await workshop.close()


def _send(config: "Config", options: "ReceiverOptions") -> tuple[str, str | None]:
    """Send it, or let it be sent; return the id of the event, and what the receiver did not take of it."""
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
        return str(outcome["event_id"]), outcome.get("remark")
    telemetry.configure(format_=config.log.format, level=config.log.level)

    async def send() -> tuple[str, str | None]:
        message = await _sample(options)
        notifier = open_notifier(options, clock=SystemClock(), log=telemetry.logger())
        told = await try_receiver(notifier, message, timeout=options.timeout)
        return message.event_id, told.remark

    return asyncio.run(send())
