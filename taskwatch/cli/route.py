"""`taskwatch route test`: which receivers an event would reach, and by which route."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskwatch.cli.guide import GuidingGroup
from taskwatch.cli.options import config_option, loaded

if TYPE_CHECKING:
    from taskwatch.cli.tree import Step
    from taskwatch.config.configuration import Config, NamedProject, WatchedProject
    from taskwatch.model.event import EventType


@click.group(cls=GuidingGroup, epilog="Example: taskwatch route test type=task.failed project=prod")
def route() -> None:
    """Show which receivers an event would reach, and why."""


@route.command(epilog="Example: taskwatch route test type=task.failed project=prod")
@click.argument("attributes", nargs=-1, metavar="[ATTRIBUTE=VALUE]...")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def test(attributes: tuple[str, ...], config: Path | None, as_json: bool) -> None:
    """Show which receivers an event with these attributes would reach.

    ATTRIBUTE is what matchers see: type, severity, project, project_id, task, job_id, instance_name,
    instance_id, from, to, fail_reason or label_NAME. What is not given is empty, but for what a
    configured project and the type decide. Nothing is sent, and no store is read.
    """
    from taskwatch.cli.tree import walk
    from taskwatch.core.quiet import held_by
    from taskwatch.core.route import route as routed

    given = _given(attributes)
    configuration = loaded(config)
    asked = given | _implied(configuration, given)
    hops = configuration.routing.reached(asked) if "type" in asked else routed(configuration.route, asked)
    steps = list(walk(configuration.route, asked))
    hush = None if _is_end(asked) else held_by(configuration.mutes, asked, datetime.now(UTC))
    if as_json:
        from taskwatch.cli.output import print_json

        receivers = [{"receiver": hop.receiver, "route": hop.path} for hop in hops]
        print_json(
            [
                {
                    "attributes": asked,
                    "receivers": receivers,
                    "routes": [step.row() for step in steps],
                    "held_by": None if hush is None else str(hush),
                }
            ]
        )
        return
    _show(asked, given, steps)
    _print_receivers(configuration, {hop.receiver: hop.path for hop in hops})
    if hush is not None:
        click.echo(f"Now {hush} would hold it back.")


def _given(written: tuple[str, ...]) -> dict[str, str]:
    from taskwatch.config.fields import nearest
    from taskwatch.core.matchers import ATTRIBUTES
    from taskwatch.model.event import LABEL_PREFIX

    given: dict[str, str] = {}
    for text in written:
        name, sign, value = text.partition("=")
        if not sign:
            raise click.UsageError(f"{text!r} is not ATTRIBUTE=VALUE, as type=task.failed")
        if name not in ATTRIBUTES and not (name.startswith(LABEL_PREFIX) and name != LABEL_PREFIX):
            raise click.UsageError(f"{name!r} is no attribute of an event; {nearest(name, ATTRIBUTES)}")
        if name in given:
            raise click.UsageError(f"{name} is given twice")
        given[name] = value
    if "type" in given:
        given["type"] = event_type_of(given["type"])
    if "severity" in given:
        _require_severity(given["severity"])
    return given


def event_type_of(written: str) -> "EventType":
    """Return the type that is written with or without its `taskwatch.`; an unknown one is wrong usage."""
    from taskwatch.config.fields import nearest
    from taskwatch.core.matchers import TYPE_PREFIX
    from taskwatch.model.event import EventType

    short = written.removeprefix(TYPE_PREFIX)
    try:
        return EventType(TYPE_PREFIX + short)
    except ValueError:
        known = [kind.removeprefix(TYPE_PREFIX) for kind in EventType]
        raise click.UsageError(f"no event has the type {written!r}; {nearest(short, known)}") from None


def _require_severity(written: str) -> None:
    from taskwatch.config.fields import nearest
    from taskwatch.model.event import Severity

    if written not in list(Severity):
        raise click.UsageError(f"no event has the severity {written!r}; {nearest(written, Severity)}")


def _implied(config: "Config", given: Mapping[str, str]) -> dict[str, str]:
    """Return what the project and the type say of an event, where nothing else was said."""
    from taskwatch.config.configuration import WatchedProject
    from taskwatch.core.events import severity_of
    from taskwatch.model.event import LABEL_PREFIX, EventType

    watched = _project(config, given.get("project"))
    implied: dict[str, str] = {}
    if watched is not None:
        if isinstance(watched, WatchedProject):
            implied["project_id"] = watched.project.identity.project_id
        implied |= {LABEL_PREFIX + name: value for name, value in watched.labels.items()}
    if "type" in given:
        implied["severity"] = severity_of(
            EventType(given["type"]),
            task=given.get("task", ""),
            change=(given.get("from") or None, given.get("to", "")),
            failure_severities=watched.severity if watched is not None else (),
        )
    return {name: value for name, value in implied.items() if name not in given}


def _project(config: "Config", name: str | None) -> "WatchedProject | NamedProject | None":
    from taskwatch.config.fields import nearest
    from taskwatch.telemetry import printable

    if not name:
        return None
    projects: dict[str, WatchedProject | NamedProject] = {
        watched.name: watched for watched in config.configured
    }
    if name not in projects:
        click.echo(printable(f"no project {name!r} is configured; {nearest(name, projects)}"), err=True)
    return projects.get(name)


def _is_end(asked: Mapping[str, str]) -> bool:
    """Tell whether the event says that something is over: that is never held back."""
    return asked.get("type", "").endswith((".resolved", ".recovered"))


def _show(asked: Mapping[str, str], given: Mapping[str, str], steps: "list[Step]") -> None:
    from taskwatch.telemetry import printable

    for name, value in asked.items():
        note = "" if name in given else "  (implied)"
        click.echo(printable(f"{name}={value}") + note)
    for step in steps:
        click.echo(f"{'  ' * step.depth}{step.path}: {printable(step.verdict(asked))}")


def _print_receivers(config: "Config", paths: Mapping[str, str]) -> None:
    from taskwatch.cli.output import print_table

    types = {receiver.name: receiver.type for receiver in config.receivers}
    print_table(
        ("RECEIVER", "TYPE", "BY ROUTE"),
        [(receiver, types[receiver], path) for receiver, path in paths.items()],
        empty="",
    )
