"""The configuration as a JSON Schema, for editors."""

from collections.abc import Mapping
from typing import Any, Union

from pydantic.json_schema import GenerateJsonSchema

from taskwatch.config.kinds import described
from taskwatch.config.receiver import ReceiverOptions
from taskwatch.config.schema import Document, with_receivers


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out titles that only repeat the key."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def json_schema(kinds: Mapping[str, type[ReceiverOptions]]) -> dict[str, Any]:
    """Return the JSON Schema of a configuration file, main or included, with receivers of these kinds."""
    written: Any = Union[tuple(described(kinds))]  # noqa: UP007 - made at run time
    model = with_receivers(Document, kinds, written=written)
    schema = model.model_json_schema(schema_generator=_WithoutTitles)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "taskwatch configuration",
    }
