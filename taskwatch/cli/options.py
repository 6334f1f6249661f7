"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config_option(command: Command) -> Command:
    """Declare `--config/-c FILE`; the command takes it as `config`, None where it is left out."""
    return click.option(
        "--config", "-c",
        type=click.Path(path_type=Path, readable=False),  # what cannot be read is 78, and `load` says so
        metavar="FILE",
        help="Default: $TASKWATCH_CONFIG, ./taskwatch.yaml, /etc/taskwatch/taskwatch.yaml.",
    )(command)  # fmt: skip
