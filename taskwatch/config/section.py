"""The base of every mapping of the configuration: strict about keys, plain about mistakes.

Invariants:
- A section that is empty or `off` holds its defaults; a key whose default is None may be `off`.
- Every error text says what is wrong and what to write, and shows no value.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from taskwatch.config.fields import is_off, nearest

_WORDED: Final = "worded"  # the type of errors whose text is ours
_QUOTED: Final = re.compile(r"'([^']*)'")
_A_MAPPING: Final = "not a mapping; write KEY: VALUE below it"
_A_LIST: Final = "not a list; write [ONE, TWO], or one item a line after a dash"
_A_TEXT: Final = "not text; write one text"
_TEXTS: Final[Mapping[str, str]] = {
    "model_type": _A_MAPPING,
    "dict_type": _A_MAPPING,
    "list_type": _A_LIST,
    "tuple_type": _A_LIST,
    "string_type": _A_TEXT,
    "enum": _A_TEXT,
    "literal_error": _A_TEXT,
    "too_short": "too few; write one at least",
}


class Section(BaseModel):
    """A mapping of the configuration, as a frozen value."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        defer_build=True,  # a file names few kinds of credentials and receivers: only those are built
    )

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(cls._without_off(value))
        except ValidationError as error:
            lines = [cls._worded(line) for line in error.errors(include_url=False)]
            raise ValidationError.from_exception_data(cls.__name__, lines, hide_input=True) from None

    @classmethod
    def _without_off(cls, value: object) -> object:
        if is_off(value):
            return {}
        if not isinstance(value, dict):
            return value
        return {key: None if is_off(text) and cls._may_be_none(key) else text for key, text in value.items()}

    @classmethod
    def _may_be_none(cls, key: str) -> bool:
        field = cls.model_fields.get(key)
        return field is not None and field.default is None and field.default_factory is None

    @classmethod
    def _worded(cls, line: ErrorDetails) -> InitErrorDetails:
        path = line["loc"]
        if path[-1:] == ("[key]",):  # pydantic's way to say that the key is wrong, not its value
            path = path[:-1]
        return wrong(path, cls._text(line))

    @classmethod
    def _text(cls, line: ErrorDetails) -> str:
        match line["type"]:
            case "worded":
                return line["msg"]
            case "value_error":
                return str(line["ctx"]["error"])
            case "extra_forbidden":
                return cls.unknown(str(line["loc"][-1]))
            case "missing":
                return cls.missing(str(line["loc"][-1]))
            case "enum" | "literal_error" if isinstance(line["input"], str):
                return f"unknown word; {nearest(line['input'], _QUOTED.findall(line['ctx']['expected']))}"
            case known if known in _TEXTS:
                return _TEXTS[known]
            case _:
                return line["msg"][:1].lower() + line["msg"][1:]

    @classmethod
    def keys(cls) -> list[str]:
        """Return the keys that may be written."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def unknown(cls, key: str) -> str:
        """Say what to write instead of a key that there is not."""
        return f"unknown key; {nearest(key, cls.keys())}"

    @classmethod
    def missing(cls, key: str) -> str:
        """Say how a key is written that must be there."""
        field = cls.model_fields.get(key)
        example = field.examples[0] if field is not None and field.examples else "..."
        return f"missing; write {key}: {example}"


def wrong(path: tuple[str | int, ...], text: str) -> InitErrorDetails:
    """Make the line of one mistake, for a ValidationError."""
    return InitErrorDetails(type=PydanticCustomError(_WORDED, "{text}", {"text": text}), loc=path, input=None)


def default(value: object, description: str) -> Any:
    """Declare a key with its default as people write it: the default is read as the file would be."""
    return Field(value, validate_default=True, description=description)


def by_type(kinds: Mapping[str, type[Section]]) -> WrapValidator:
    """Choose the section by its key `type`, among the kinds."""

    def choose(value: object, _: Callable[[object], object], info: ValidationInfo) -> Section:
        if isinstance(value, Section):
            return value
        if not isinstance(value, dict):
            raise ValueError(_A_MAPPING)  # noqa: TRY004 - pydantic collects ValueErrors
        type_ = value.get("type")
        if isinstance(type_, str) and type_ in kinds:
            return kinds[type_].model_validate(value, context=info.context)
        raise ValidationError.from_exception_data("type", [wrong(("type",), refusal(type_))], hide_input=True)

    def refusal(type_: object) -> str:
        if type_ is None:
            return f"missing; write type: {' or '.join(kinds)}"
        return f"unknown type; {nearest(str(type_), kinds)}"

    return WrapValidator(choose)
