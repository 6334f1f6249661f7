"""From files to a Config: every mistake is told at once, or there is none."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from taskwatch.config import schema
from taskwatch.config.advice import advice
from taskwatch.config.configuration import Config, resolve
from taskwatch.config.document import Document, Problem, in_order
from taskwatch.config.include import read_files
from taskwatch.config.inspection import find_secrets, find_trusts
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
    """Read the file and those it includes, with receivers of these kinds; no secret is read.

    Raises ConfigError with every mistake, in the order of the files.
    """
    documents = read_files(path)
    parts = _parsed(documents, kinds)
    main, *included = parts
    assert isinstance(main, schema.Document)  # noqa: S101 - the others are not
    config = resolve(
        main,
        included,
        files=tuple(document.file for document in documents),
        kinds=kinds,
        secrets=tuple(chain.from_iterable(map(find_secrets, parts, documents))),
        trusts=tuple(chain.from_iterable(map(find_trusts, parts, documents))),
    )
    return replace(config, warnings=advice(config, documents))


def _parsed(documents: Sequence[Document], kinds: Mapping[str, type[ReceiverOptions]]) -> list[schema.Part]:
    problems = [problem for document in documents for problem in document.problems]
    if all(document.is_whole for document in documents):
        problems += wrong_references(documents)
    parts: list[schema.Part] = []
    model = schema.with_receivers(schema.Part, kinds)
    models = [schema.with_receivers(schema.Document, kinds), *[model] * (len(documents) - 1)]
    for document, model in zip(documents, models, strict=True):
        try:
            parts.append(model.model_validate(document.root, context=document.directory))
        except ValidationError as error:
            problems += _problems(error, document)
    if problems:
        raise ConfigError([problem.line() for problem in in_order(problems, documents)])
    return parts


def _problems(error: ValidationError, document: Document) -> Iterator[Problem]:
    for line in error.errors(include_url=False, include_input=False):
        yield document.problem(document.written(line["loc"]), line["msg"])
