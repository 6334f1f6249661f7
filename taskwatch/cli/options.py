"""Options that several commands share, and what is read by them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config
    from taskwatch.config.schema import Store
    from taskwatch.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """Declare `--config/-c FILE`; the command takes it as `config`, None where it is left out."""
    return click.option(
        "--config", "-c",
        type=click.Path(path_type=Path, readable=False),  # what cannot be read is 78, and `load` says so
        metavar="FILE",
        help="Default: $TASKWATCH_CONFIG, ./taskwatch.yaml, /etc/taskwatch/taskwatch.yaml.",
    )(command)  # fmt: skip


def loaded(config: Path | None) -> "Config":
    """Return the configuration in this file, or in the first of those that are looked for. Raises ConfigError."""
    from taskwatch.config.load import find, load
    from taskwatch.notifiers.registry import kinds

    return load(find(config), kinds())


@dataclass(frozen=True, slots=True, kw_only=True)
class Footing:
    """What a command stands on that needs the store, and the rest of the configuration only to say more."""

    file: Path  # the configuration's
    store: "Store"
    config: "Config | None"  # None: it has mistakes
    mistakes: "ConfigError | None" = None

    def whole(self) -> "Config":
        """Return the configuration, for what cannot be done without it. Raises ConfigError with its mistakes."""
        if self.config is None:
            assert self.mistakes is not None  # noqa: S101 - that is why there is none
            raise self.mistakes
        return self.config


def footing(config: Path | None) -> Footing:
    """Return the configuration, or where it has mistakes its store, and say so on standard error.

    The daemon goes on with what it had; so does whoever has to acknowledge at night. Raises ConfigError
    where there is no such file, or no store where the file says that it is.
    """
    from taskwatch.config.load import find
    from taskwatch.config.salvage import store_of
    from taskwatch.errors import ConfigError

    file = find(config)
    try:
        whole = loaded(file)
    except ConfigError as error:
        store = store_of(file)
        if store is None or not _is_there(store.path):
            raise
        _warn(file, store.path, len(error.problems))
        return Footing(file=file, store=store, config=None, mistakes=error)
    return Footing(file=file, store=whole.store, config=whole)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _warn(file: Path, store: Path, mistakes: int) -> None:
    from taskwatch.report.words import counted
    from taskwatch.telemetry import printable

    said = f"{file} has {counted(mistakes, 'mistake')} (taskwatch check lists them); going on with its store {store}"
    click.echo(printable(said), err=True)


class DurationType(click.ParamType[float]):
    """A duration as the configuration writes it, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from taskwatch.config.fields import parse_duration

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
