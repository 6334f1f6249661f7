"""From a file to a Config: every mistake is told at once, or there is none."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from taskwatch.config import schema
from taskwatch.config.advice import advice
from taskwatch.config.configuration import Config, resolve
from taskwatch.config.document import Document, Problem
from taskwatch.config.inspection import find_secrets
from taskwatch.config.parse import read
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.references import wrong_references
from taskwatch.errors import ConfigError

VARIABLE: Final = "TASKWATCH_CONFIG"
PLACES: Final = (Path("taskwatch.yaml"), Path("/etc/taskwatch/taskwatch.yaml"))


def find(explicit: Path | None) -> Path:
    """Return the file to read: the explicit one, $TASKWATCH_CONFIG's, or the first that exists.

    What was named is taken at its word; whether it can be read is for `load` to say.
    """
    if explicit is not None:
        return explicit
    if named := os.environ.get(VARIABLE):
        return Path(named)
    for place in PLACES:
        if place.exists():
            return place
    looked = ", ".join(str(place) for place in PLACES)
    raise ConfigError([f"no configuration at {looked}; write one, or name it with --config or ${VARIABLE}"])


def load(path: Path, kinds: Mapping[str, type[ReceiverOptions]]) -> Config:
    """Read the file with receivers of these kinds; no secret is read.

    Raises ConfigError with every mistake, in the order of the file.
    """
    document = read(path)
    parsed = _parsed(document, kinds)
    secrets = find_secrets(parsed, document)
    config = resolve(path, parsed, kinds=kinds, secrets=secrets)
    return replace(config, warnings=advice(config, document))


def _parsed(document: Document, kinds: Mapping[str, type[ReceiverOptions]]) -> schema.Document:
    problems = [*document.problems, *wrong_references(document)]
    try:
        parsed = schema.document_model(kinds).model_validate(document.root, context=document.directory)
    except ValidationError as error:
        problems += _problems(error, document)
    else:
        if not problems:
            return parsed
    problems.sort(key=lambda problem: problem.place)
    raise ConfigError([problem.line(document.file) for problem in problems])


def _problems(error: ValidationError, document: Document) -> Iterator[Problem]:
    for line in error.errors(include_url=False, include_input=False):
        path = document.written(line["loc"])
        yield Problem(place=document.place(path), path=path, text=line["msg"])
