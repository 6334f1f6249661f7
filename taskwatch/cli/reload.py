"""`taskwatch reload`: the running daemon reads its configuration again."""

from pathlib import Path

import click

from taskwatch.cli.options import config_option


@click.command(epilog="Example: taskwatch reload")
@config_option
def reload(config: Path | None) -> None:
    """Let the running daemon read its configuration again; print what changed.

    As SIGHUP does, but it says what came of it. A wrong file is refused (exit 78), and the daemon goes on with what it had.
    """
    from taskwatch.app import kinds
    from taskwatch.cli.request import ask
    from taskwatch.config.load import find, load
    from taskwatch.errors import ConfigError, TaskwatchError
    from taskwatch.model.operation import Action
    from taskwatch.store.lock import is_held
    from taskwatch.telemetry import printable

    loaded = load(find(config), kinds())
    if not is_held(loaded.store.path):
        raise TaskwatchError(
            f"no daemon holds {loaded.store.path}; taskwatch run reads {loaded.path} when it starts"
        )
    outcome = ask(loaded.store.path, Action.RELOAD, {})
    if problems := outcome.get("problems"):
        raise ConfigError(list(problems))
    for change in outcome["changes"] or ["nothing changed"]:
        click.echo(printable(change))
