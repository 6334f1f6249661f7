"""`taskwatch reload`: the running daemon reads its configuration again."""

from pathlib import Path

import click

from taskwatch.cli.options import config_option, footing


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
        raise ConfigError(list(problems))
    for change in outcome["changes"] or ["nothing changed"]:
        click.echo(printable(change))
