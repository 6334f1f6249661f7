"""Configuration files for tests: written, loaded with two kinds of receivers made for the purpose."""

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


def loaded(directory: Path, text: str) -> Config:
    """Write the text and load it."""
    file = directory / "taskwatch.yaml"
    file.write_text(text, "utf-8")
    return load(file, KINDS)


def refused(directory: Path, text: str | bytes) -> list[str]:
    """Write the text, load it, and return what is told of it, without the directory."""
    file = directory / "taskwatch.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        load(file, KINDS)
    except ConfigError as error:
        return [line.replace(f"{directory}/", "") for line in error.problems]
    raise AssertionError("it was accepted")
