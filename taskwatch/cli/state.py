"""`taskwatch state`: backup, check, and a new store after a loss."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskwatch.cli.guide import GuidingGroup
from taskwatch.cli.options import config_option, footing, loaded

if TYPE_CHECKING:
    from taskwatch.store.upkeep import Inspection

GAPS = 1  # the exit code
NEW_BASELINE = (
    "The first poll of each project is a new baseline: what changed before it is not told, and what waited "
    "to be delivered stays in the old store."
)


class _StateGroup(GuidingGroup):
    planned = frozenset({"copy"})  # to another store, with those that daemons share


@click.group(cls=_StateGroup, epilog="Example: taskwatch state backup /backup/taskwatch.db")
def state() -> None:
    """Back the store up, check it, begin a new one after a loss."""


@state.command(epilog="Example: taskwatch state backup /backup/taskwatch-monday.db")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
def backup(file: Path, config: Path | None) -> None:
    """Copy the store to FILE, whole and checked, while the daemon works.

    FILE must not be there yet. To restore: stop the daemon, move the store away with its -wal and -shm,
    copy FILE to its place, start the daemon.
    """
    from taskwatch.store.backup import backup as copied
    from taskwatch.telemetry import printable

    size = copied(footing(config).store.path, file)
    click.echo(printable(f"{file}: {_size(size)}, checked"))


@state.command(epilog="Example: taskwatch state check")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config: Path | None, as_json: bool) -> int:
    """Look at all of the store, and say whether it is sound.

    That is: its pages and references, its marker, and that no chain of events has a gap. It works while
    the daemon works. Exit 78 if the store cannot be used, 1 if it can and a chain of
    events has a gap.
    """
    from datetime import UTC, datetime, timedelta

    from taskwatch.cli.output import print_json
    from taskwatch.store.lock import is_watched
    from taskwatch.store.upkeep import inspect
    from taskwatch.telemetry import printable

    store = footing(config).store
    kept_since = datetime.now(UTC) - timedelta(seconds=store.retention)
    found = inspect(store.path, kept_since=kept_since)
    held = is_watched(store.path)
    if as_json:
        print_json([_row(found, store.path, is_held=held)])
    else:
        _describe(found, store.path, is_held=held)
    for gap in found.gaps:
        click.echo(printable(f"gap: {gap}"), err=True)
    return GAPS if found.gaps else 0


@state.command(epilog="Example: taskwatch state init")
@config_option
def init(config: Path | None) -> None:
    """Begin a new store after the old one was lost or damaged.

    What is left of the old one, and its marker, get names with .lost- and the time; nothing is deleted.
    A store that can be used is refused. Restoring a backup loses less: see `taskwatch state backup --help`.
    """
    from datetime import UTC, datetime

    from taskwatch import telemetry
    from taskwatch.store.operations import operator
    from taskwatch.store.upkeep import begin_anew

    configuration = loaded(config)
    path, by = configuration.store.path, operator()
    renewal = begin_anew(path, by=by, at=datetime.now(UTC))
    telemetry.configure(format_=configuration.log.format, level="info")
    telemetry.logger().info(
        "state_init", by=by, store=str(path), id=renewal.identity, moved=len(renewal.moved)
    )
    for old, new in renewal.moved.items():
        click.echo(telemetry.printable(f"moved {old} to {new}"))
    click.echo(telemetry.printable(f"{path} is new, with id {renewal.identity}"))
    click.echo(NEW_BASELINE if renewal.moved else "There was none before.")


def _describe(found: "Inspection", path: Path, *, is_held: bool) -> None:
    from taskwatch.report.words import counted
    from taskwatch.telemetry import printable

    marker = (
        f"{path.name}.id says the same"
        if found.is_marked
        else f"no {path.name}.id yet, the next start writes it"
    )
    version = (
        f"version {found.version}"
        if found.version == found.newest
        else f"version {found.version}, the next start makes it {found.newest}"
    )
    counts = found.counts
    click.echo(printable(f"{path}: sound, {_size(found.size)}, {version}"))
    click.echo(printable(f"id {found.identity}; {marker}"))
    click.echo("held by a daemon" if is_held else "no daemon holds it")
    click.echo(
        f"{counted(counts['projects'], 'project')}, {counted(counts['tasks'], 'task')} ({counts['open tasks']} open), "
        f"{counted(counts['events'], 'event')}"
    )
    click.echo(f"deliveries: {counts['deliveries']}, {counts['pending']} pending, {counts['dead']} dead")
    if not found.gaps:
        click.echo("chains of events: no gap")


def _row(found: "Inspection", path: Path, *, is_held: bool) -> dict[str, object]:
    return {
        "store": str(path),
        "id": found.identity,
        "marked": found.is_marked,
        "version": found.version,
        "newest_version": found.newest,
        "bytes": found.size,
        "held": is_held,
        **{name.replace(" ", "_"): count for name, count in found.counts.items()},
        "gaps": list(found.gaps),
    }


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
