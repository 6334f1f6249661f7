"""`taskwatch schema`: JSON Schemas, for editors and for those who receive events."""

import json
from typing import Any

import click


@click.group(epilog="Example: taskwatch schema config > taskwatch.schema.json")
def schema() -> None:
    """Print the JSON Schema of the configuration or of an event."""


@schema.command(name="config", epilog="Example: taskwatch schema config")
def config_schema() -> None:
    """Print what a configuration file may hold."""
    from taskwatch.config.json_schema import json_schema
    from taskwatch.notifiers.registry import kinds

    _print(json_schema(kinds()))


@schema.command(name="event", epilog="Example: taskwatch schema event")
def event_schema() -> None:
    """Print what an event holds: the body that a webhook receives."""
    from importlib.resources import files

    text = files("taskwatch.config").joinpath("event.schema.json").read_text("utf-8")
    _print(json.loads(text))


def _print(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2))
