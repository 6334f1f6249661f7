"""`taskwatch reload`: the running daemon reads its configuration again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from taskwatch.cli.options import config_option, footing

SHOWN: Final = 10  # mistakes; `taskwatch check` has all


@click.command(epilog="Example: taskwatch reload")
@config_option
def reload(config: Path | None) -> None:
    """Let the running daemon read its configuration again; print what changed.

    As SIGHUP does, but it says what came of it. A wrong file is refused (exit 78), and the daemon goes on with what it had.
    """
    from taskwatch.cli.request import ask
    from taskwatch.errors import ConfigError, TaskwatchError
    from taskwatch.model.operation import Action
    from taskwatch.store.lock import is_watched
    from taskwatch.telemetry import printable

    where = footing(config)
    store = where.store.path
    if not is_watched(store):
        file = where.whole().path
        raise TaskwatchError(
            f"no daemon holds {store}; taskwatch run reads {file} when it starts. A daemon that was "
            "started with another store.path cannot be found by this file: systemctl reload taskwatch, or restart it"
        )
    outcome = ask(store, Action.RELOAD, {})
    if problems := outcome.get("problems"):
        raise ConfigError(_refusal(problems))
    for change in outcome["changes"] or ["nothing changed"]:
        click.echo(printable(change))


def _refusal(problems: Sequence[str]) -> list[str]:
    """Return the first mistakes that the daemon found, and what it does now."""
    more = len(problems) - SHOWN
    rest = [f"… and {more} more: taskwatch check lists them"] if more > 0 else []
    return [*problems[:SHOWN], *rest, "taskwatch: the daemon refused it, and goes on with what it had"]
