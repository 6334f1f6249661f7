"""The manual page, made of the commands' own help: `python -m taskwatch.cli.manual > docs/taskwatch.1`."""

from collections.abc import Iterable, Iterator
from inspect import cleandoc
from typing import Final

import click

from taskwatch import __version__
from taskwatch.cli.main import group

DESCRIPTION: Final = """\
taskwatch polls the task lists of cloud databases and tells receivers when a task began, completed, failed
or was canceled. No transition is lost, and none is told falsely: what was read, the events made of it and
their deliveries are recorded in one durable transaction, and a delivery is tried until its receiver has it.

Begin with `taskwatch demo`, which needs no account; then write taskwatch.yaml and try `taskwatch check`.

`-c`, `--config` FILE names the configuration to any command that reads one. Without it that is
$TASKWATCH_CONFIG, ./taskwatch.yaml or /etc/taskwatch/taskwatch.yaml.

Commands that only ask work while the daemon runs and while it does not. `--json` prints JSON Lines; tables
are fitted to the terminal, and whole when piped. Errors are one line each on standard error, without a
traceback unless `--debug` stands anywhere in the command line."""
EXIT_STATUS: Final = (
    ("0", "Done."),
    ("1", "Failed; the line on standard error says why."),
    ("2", "Wrong usage."),
    ("3", "Some project could not be polled."),
    ("75", "Another daemon holds the store; the line says its pid, host and since when."),
    ("78", "The configuration is wrong, or the store cannot be used in a way that waiting will not mend."),
)
ENVIRONMENT: Final = (
    ("TASKWATCH_CONFIG", "The configuration to read where --config is not given."),
    ("STATE_DIRECTORY", "Where the store is kept if store.path is not configured; systemd sets it."),
    ("CREDENTIALS_DIRECTORY", "Where secrets written as {credential: NAME} are read; systemd sets it."),
    ("NO_COLOR", "If it is not empty, no colours."),
)
FILES: Final = (
    ("./taskwatch.yaml, /etc/taskwatch/taskwatch.yaml", "The configuration; the first that exists."),
    ("~/.local/state/taskwatch/taskwatch.db", "The store, unless configured otherwise."),
    (
        "taskwatch.db.id",
        "Beside the store, its id: that a store is gone, or another one, is noticed by it.",
    ),
    ("taskwatch.db.lock", "Held by the running daemon. It is never deleted."),
    (
        "taskwatch.db.reserve",
        "4 MiB of nothing: given up when the disk is full, so that what was sent can still be recorded.",
    ),
    ("taskwatch.db.before-N", "The store as it was before an upgrade changed it to version N."),
    ("taskwatch.db.lost-TIME", "What `taskwatch state init` put aside."),
)
SIGNALS: Final = (
    ("SIGHUP", "Read the configuration again; an invalid one is refused, and the old one goes on."),
    (
        "SIGTERM, SIGINT",
        "Stop: polls under way are dropped, deliveries in flight get 10 seconds, the rest waits in the store.",
    ),
)
EXAMPLES: Final = (
    ("See it work, without an account:", "taskwatch demo"),
    ("See what would be told now:", "taskwatch poll --dry-run"),
    ("What failed since yesterday:", "taskwatch events --type task.failed --since 24h"),
    ("Why was that told, and to whom:", "taskwatch explain tw_3v5kq2m7x4ab"),
    ("Who hears of a failure in prod:", "taskwatch route test type=task.failed project=prod"),
    ("Go on with a pipeline when a restore is done:", "taskwatch wait JOB_ID --timeout 2h && ./next-step"),
    ("A copy of the store, each night:", 'taskwatch state backup "/backup/taskwatch-$(date +%F).db"'),
)
SEE_ALSO: Final = "systemd.service(5), journalctl(1), sqlite3(1)"


def page() -> str:
    """Return the page in the man macros; the same for the same version and commands."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield '.\\" Made by python -m taskwatch.cli.manual; edit the help of the commands instead.'
    yield f'.TH TASKWATCH 1 "" "taskwatch {__version__}" "User Commands"'
    yield ".SH NAME"
    yield r"taskwatch \- tells people when a task of a cloud database changed"
    yield ".SH SYNOPSIS"
    yield r".B taskwatch"
    yield r"[\fB\-\-debug\fR] \fICOMMAND\fR [\fIARGUMENT\fR]..."
    yield ".br"
    yield r".B taskwatch"
    yield r"\fB\-\-help\fR | \fB\-\-version\fR"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(DESCRIPTION)
    yield ".SH COMMANDS"
    with click.Context(group, info_name="taskwatch") as context:
        yield from _commands(context, group)
    for heading, terms in (
        ("EXIT STATUS", EXIT_STATUS),
        ("ENVIRONMENT", ENVIRONMENT),
        ("FILES", FILES),
        ("SIGNALS", SIGNALS),
    ):
        yield f".SH {heading}"
        yield from _terms(terms)
    yield ".SH EXAMPLES"
    for purpose, line in EXAMPLES:
        yield from (".PP", _roff(purpose), ".PP", ".nf", ".RS 4", _roff(line), ".RE", ".fi")
    yield ".SH SEE ALSO"
    yield _roff(SEE_ALSO)


def _commands(parent: click.Context, parents: click.Group) -> Iterator[str]:
    """Yield the commands of a group; of those that are groups, what can be called."""
    for name in parents.list_commands(parent):
        command = parents.get_command(parent, name)
        assert command is not None  # noqa: S101 - the group has just listed it
        with click.Context(command, info_name=name, parent=parent) as context:
            if not isinstance(command, click.Group) or command.invoke_without_command:
                yield from _command(context, command)
            if isinstance(command, click.Group):
                yield from _commands(context, command)


def _command(context: click.Context, command: click.Command) -> Iterator[str]:
    left_out = ("[OPTIONS]", "[COMMAND] [ARGS]...")
    pieces = " ".join(piece for piece in command.collect_usage_pieces(context) if piece not in left_out)
    yield f".SS {_roff(f'{context.command_path} {pieces}'.rstrip())}"
    yield from _paragraphs(cleandoc(command.help or ""))
    options = [option for option in command.params if isinstance(option, click.Option)]
    records = [option.get_help_record(context) for option in options if option.name != "config"]
    yield from _terms(record for record in records if record is not None)
    yield from _paragraphs(command.epilog or "")


def _paragraphs(texts: str) -> Iterator[str]:
    for text in filter(None, texts.split("\n\n")):
        yield ".PP"
        if text.startswith("\b\n"):  # click's sign for lines that are to stay as they are
            yield from (".nf", *map(_roff, text.removeprefix("\b\n").splitlines()), ".fi")
        else:
            yield _roff(" ".join(text.split()))


def _terms(terms: Iterable[tuple[str, str]]) -> Iterator[str]:
    for term, text in terms:
        yield from (".TP", rf"\fB{_roff(term)}\fR", _roff(text))


def _roff(text: str) -> str:
    """Return the text of one line; what stands between backticks becomes bold."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace("…", "...").replace("·", r"\(bu")
    parts = plain.split("`")
    marked = "".join(rf"\fB{part}\fR" if number % 2 else part for number, part in enumerate(parts))
    return rf"\&{marked}" if marked.startswith((".", "'")) else marked


if __name__ == "__main__":
    click.echo(page(), nl=False)
