"""Configuration files for tests: written, loaded with two kinds of receivers made for the purpose."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from taskwatch.config.configuration import Config
from taskwatch.config.kept import SecretText, SecretUrl
from taskwatch.config.load import load
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.errors import ConfigError


class PlainOptions(ReceiverOptions):
    type: Literal["log"]


class HookOptions(ReceiverOptions):
    type: Literal["hook"]
    url: SecretUrl
    secret: SecretText | None = None


KINDS: Final[dict[str, type[ReceiverOptions]]] = {"log": PlainOptions, "hook": HookOptions}

CREDENTIALS: Final = "credentials: {otc: {type: none}}\n"
PROJECTS: Final = "projects: [{name: prod, endpoint: https://gauss.example, project_id: abc}]\n"
SMALLEST: Final = CREDENTIALS + PROJECTS
NONE: Final[Mapping[str, str]] = {}


def loaded(directory: Path, text: str, included: Mapping[str, str] = NONE) -> Config:
    """Write the text and what it includes, by name, and load it."""
    return load(_written(directory, text.encode(), included), KINDS)


def refused(directory: Path, text: str | bytes, included: Mapping[str, str] = NONE) -> list[str]:
    """Write the files, load them, and return what is told of them, without the directory."""
    file = _written(directory, text if isinstance(text, bytes) else text.encode(), included)
    try:
        load(file, KINDS)
    except ConfigError as error:
        return [line.replace(f"{directory}/", "") for line in error.problems]
    raise AssertionError("it was accepted")


def _written(directory: Path, text: bytes, included: Mapping[str, str]) -> Path:
    for name, more in included.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(more, "utf-8")
    file = directory / "taskwatch.yaml"
    file.write_bytes(text)
    return file
