"""What is served, as OpenAPI 3.1 describes it: made of the declarations that requests are answered by.

Beside the API it describes what is no part of it and answers in plain text: health and metrics.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from taskwatch import __version__
from taskwatch.config.serving import Server, UnixListen
from taskwatch.server import health, metrics, problem
from taskwatch.server.endpoint import JSON, Endpoint, Parameters, Problem

Schema = dict[str, Any]

_COMPONENT: Final = "#/components/schemas/"
_OF_EVENTS: Final = "Event"  # the component; what it is made of has names of its own
_VARIABLE: Final = re.compile(r"\{(\w+)\}")
_TEXT: Final = "text/plain"
_SCHEMES: Final[Mapping[str, Schema]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "server.token of the configuration"},
    "basic": {"type": "http", "scheme": "basic", "description": "any name, and server.token as the password"},
}
_UNFIT: Final = "the server is not known by this name in Host, or the request is none of HTTP/1.1"


class _Plain(GenerateJsonSchema):
    """Schemas without a title for each key."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False


def document(endpoints: Sequence[Endpoint], server: Server) -> Schema:
    """Describe these endpoints as this server answers them."""
    schemas = _Schemas(endpoints)
    paths: dict[str, Schema] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas, server)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "taskwatch",
            "version": __version__,
            "summary": "What taskwatch knows, and what may be changed of it",
            "description": "Changes need server.token, or the Unix socket of the server and root or the daemon's own user.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server.external_url or "/"}],
        "paths": paths | _plain_paths(server),
        "components": {"schemas": schemas.components, "securitySchemes": dict(_SCHEMES)},
    }


def _operation(one: Endpoint, schemas: "_Schemas", server: Server) -> Schema:
    operation: Schema = {
        "operationId": one.name,
        "summary": one.summary,
        "parameters": list(_parameters(one, schemas)),
        "responses": {
            str(one.answer.status.value): _granted(one, schemas),
            **{str(status.value): _refused(text) for status, text in sorted(_refusals(one, server).items())},
        },
        "security": _security(server),
    }
    if one.takes_body:
        is_needed = any(field.is_required() for field in one.body.model_fields.values())
        content = {JSON: {"schema": schemas.of(one.body, "validation")}}
        operation["requestBody"] = {"required": is_needed, "content": content}
    return operation


def _parameters(one: Endpoint, schemas: "_Schemas") -> Iterator[Schema]:
    in_path = _VARIABLE.findall(one.path)
    found = schemas.resolved(one.parameters, "validation")
    for name, schema in found.get("properties", {}).items():
        shown = {key: value for key, value in schema.items() if key != "description" and value is not None}
        yield {
            "name": name,
            "in": "path" if name in in_path else "query",
            "required": name in found.get("required", []),
            "description": schema.get("description", ""),
            "schema": shown,
        }


def _granted(one: Endpoint, schemas: "_Schemas") -> Schema:
    answer = one.answer
    if answer.content_type is None:
        return {"description": answer.description}
    schema: Schema
    match answer.shape:
        case None:
            schema = {"type": "object" if answer.content_type == JSON else "string"}
        case str(name):
            schema = {"$ref": _COMPONENT + name}
        case model:
            schema = schemas.of(model, "serialization")
    if answer.is_page:
        schema = {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": schema},
                "next": {
                    "type": ["string", "null"],
                    "description": "the cursor of the next page; null: this is the last one",
                },
            },
            "required": ["items", "next"],
        }
    return {"description": answer.description, "content": {answer.content_type: {"schema": schema}}}


def _refusals(one: Endpoint, server: Server) -> dict[HTTPStatus, str]:
    """Say what an operation is refused for: what all are, what those are that take this or that, and its own."""
    found = {
        HTTPStatus.BAD_REQUEST: "a parameter is unknown or cannot be read"
        + ("; or the body is no JSON" if one.takes_body else ""),
        HTTPStatus.MISDIRECTED_REQUEST: _UNFIT,
        HTTPStatus.INTERNAL_SERVER_ERROR: "a bug in taskwatch; its log says where",
        HTTPStatus.SERVICE_UNAVAILABLE: "not now: the daemon starts, stops, or has too much to do",
    }
    if server.token is not None:
        found[HTTPStatus.UNAUTHORIZED] = "server.token is asked for"
    if one.method != "GET":
        found[HTTPStatus.FORBIDDEN] = (
            "a page of another origin asks; or there is no server.token, and no socket"
        )
    if one.takes_body:
        found |= {
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "the body is too long",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE: f"the body is not said to be {JSON}",
            HTTPStatus.UNPROCESSABLE_ENTITY: "what the body says cannot be done; problems says what to write",
        }
    return found | dict(one.refusals)


def _refused(text: str) -> Schema:
    schema = {"$ref": _COMPONENT + Problem.__name__}
    return {"description": text, "content": {problem.CONTENT_TYPE: {"schema": schema}}}


def _security(server: Server) -> list[Schema]:
    """Return what is asked of whoever calls; root and the daemon's own user need nothing over a Unix socket."""
    if server.token is None:
        return []
    asked: list[Schema] = [{name: []} for name in _SCHEMES]
    return [{}, *asked] if isinstance(server.listen, UnixListen) else asked


def _plain_paths(server: Server) -> dict[str, Schema]:
    """Describe what answers in plain text."""
    refused = {
        "421": _refused(_UNFIT),
        **({"401": _refused("server.token is asked for")} if server.token is not None else {}),
        "500": _refused("a bug in taskwatch; its log says where"),
    }
    return {
        health.HEALTHY: _plain_path("healthy", "Tell whether the daemon makes progress", is_word=True),
        health.READY: _plain_path("ready", "Tell whether the daemon does its work", is_word=True),
        metrics.PATH: _plain_path(
            "metrics", "Count, as Prometheus reads it", refused, security=_security(server)
        ),
    }


def _plain_path(
    name: str,
    summary: str,
    refused: Mapping[str, Schema] | None = None,
    *,
    is_word: bool = False,
    security: Sequence[Schema] = (),
) -> Schema:
    text = {_TEXT: {"schema": {"type": "string"}}}
    responses: Schema = {"200": {"description": "yes" if is_word else "the metrics", "content": text}}
    if is_word:
        responses["503"] = {"description": "no", "content": text}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "responses": responses | dict(refused or {}),
            "security": list(security),
        }
    }


class _Schemas:
    """The schemas of all models, by one name each."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        asked: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Problem, "serialization"): None}
        for one in endpoints:
            asked[one.parameters, "validation"] = None
            if one.takes_body:
                asked[one.body, "validation"] = None
            if isinstance(one.answer.shape, type):
                asked[one.answer.shape, "serialization"] = None
        self._references, defined = models_json_schema(
            list(asked), ref_template=_COMPONENT + "{model}", schema_generator=_Plain
        )
        self._defined: dict[str, Schema] = defined["$defs"]
        parameters = {self._name(model, "validation") for model, _ in asked if issubclass(model, Parameters)}
        own = {name: schema for name, schema in self._defined.items() if name not in parameters}
        self.components = own | _event()

    def of(self, model: type[BaseModel], mode: JsonSchemaMode) -> Schema:
        """Return a reference to the schema of a model."""
        return dict(self._references[model, mode])

    def resolved(self, model: type[BaseModel], mode: JsonSchemaMode) -> Schema:
        return self._defined[self._name(model, mode)]

    def _name(self, model: type[BaseModel], mode: JsonSchemaMode) -> str:
        reference: str = self._references[model, mode]["$ref"]
        return reference.removeprefix(_COMPONENT)


def _event() -> dict[str, Schema]:
    """Return the schema of events, which is a document of its own, as components."""
    text = files("taskwatch.config").joinpath("event.schema.json").read_text("utf-8")
    own = json.loads(text.replace('"#/$defs/', f'"{_COMPONENT}{_OF_EVENTS}.'))
    parts = {f"{_OF_EVENTS}.{name}": schema for name, schema in own.pop("$defs").items()}
    return {_OF_EVENTS: {key: value for key, value in own.items() if key not in ("$schema", "$id")}} | parts
