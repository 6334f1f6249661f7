"""Options that several commands share, and what is read by them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from taskwatch.config.configuration import Config

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
    from taskwatch.app import kinds
    from taskwatch.config.load import find, load

    return load(find(config), kinds())


class DurationType(click.ParamType[float]):
    """A duration as the configuration writes it, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from taskwatch.config.fields import parse_duration

        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
