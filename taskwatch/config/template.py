"""Templates: the text itself, or the file that it stands in, read and checked when the configuration is.

What is kept is the source: where a file says something else after a reload, the receiver has changed.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import Field, PlainValidator, ValidationInfo, WithJsonSchema, model_validator

from taskwatch.config.fields import beside, is_off
from taskwatch.config.section import Section

MAX_KIB: Final = 64
_WAYS: Final = "the template, or {file: PATH}"
_JSON_SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "properties": {"file": {"type": "string", "minLength": 1}},
            "required": ["file"],
            "additionalProperties": False,
        },
    ]
}


@dataclass(frozen=True, slots=True)
class Template:
    """A template that can be read. Whether it can be filled in shows when it is."""

    source: str
    place: str  # where it stands, as people say it


def _template(value: object, info: ValidationInfo) -> Template:
    if isinstance(value, Template):
        return value
    if isinstance(value, str):
        return _written(value)
    if not isinstance(value, Mapping) or list(value) != ["file"]:
        raise ValueError(f"no template; write {_WAYS}")
    where = value["file"]
    if not isinstance(where, str) or is_off(where) or "\0" in where:
        raise ValueError(f"nothing to read; write {_WAYS}")
    return _kept(beside(info.context, where))


def _written(source: str) -> Template:
    if is_off(source) or not source.strip():
        raise ValueError(f"empty; write {_WAYS}")
    if len(source.encode()) > MAX_KIB * 1024:
        raise ValueError(f"longer than {MAX_KIB} KiB; write less")
    if (wrong := _problem(source)) is not None:
        raise ValueError(wrong)
    return Template(source, "the configuration")


def _kept(path: Path) -> Template:
    source = _text(path)
    if not source.strip():
        raise ValueError(f"{path} is empty; write the template into it")
    if (wrong := _problem(source)) is not None:
        raise ValueError(f"{path}: {wrong}")
    return Template(source, str(path))


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise ValueError(f"{path} is not a regular file; write the template into one")
        with path.open("rb") as stream:
            content = stream.read(MAX_KIB * 1024 + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; {_remedy(error)}") from error
    if len(content) > MAX_KIB * 1024:
        raise ValueError(f"{path} is larger than {MAX_KIB} KiB; write less")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; save it as UTF-8") from None  # it holds the bytes


def _remedy(error: OSError) -> str:
    match error:
        case PermissionError():
            return f"let user id {os.geteuid()} read it"
        case FileNotFoundError() | NotADirectoryError():
            return "write the template there, or name another file"
        case _:
            return "mend that, or write the template here"


def _problem(source: str) -> str | None:
    from taskwatch.sandbox import problem  # noqa: PLC0415 - Jinja2 is loaded where there is a template

    return problem(source)


TemplateText = Annotated[Template, PlainValidator(_template), WithJsonSchema(_JSON_SCHEMA)]
"""A template in Jinja2. A relative path starts at the directory of the file it is written in."""


class LetterTemplate(Section):
    """What is written to people, where it is not to be taskwatch's own words; what is left out stays as it is."""

    subject: TemplateText | None = Field(default=None, description="the subject, on one line")
    text: TemplateText | None = Field(default=None, description="the message as plain text")
    html: TemplateText | None = Field(default=None, description="the message as HTML; values are escaped")

    @model_validator(mode="after")
    def _writes_something(self) -> Self:
        if self.subject is None and self.text is None and self.html is None:
            raise ValueError("empty; write subject, text or html")
        return self


def _letter(value: object, info: ValidationInfo) -> LetterTemplate | None:
    if value is None or is_off(value):
        return None
    if isinstance(value, LetterTemplate):
        return value
    if isinstance(value, Mapping) and list(value) != ["file"]:
        return LetterTemplate.model_validate(value, context=info.context)
    return LetterTemplate(text=_template(value, info))


LetterTemplates = Annotated[
    LetterTemplate | None,
    PlainValidator(_letter),
    WithJsonSchema(
        {
            "anyOf": [
                *_JSON_SCHEMA["anyOf"],
                {
                    "type": "object",
                    "properties": {
                        name: {"anyOf": [*_JSON_SCHEMA["anyOf"], {"type": "null"}]}
                        for name in LetterTemplate.model_fields
                    },
                    "minProperties": 1,
                    "additionalProperties": False,
                },
                {"type": "null"},
            ]
        }
    ),
]
"""One template, which is that of the text, or one each of subject, text and html; `off` for none."""
