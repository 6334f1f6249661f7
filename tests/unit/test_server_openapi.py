"""The description of the API: it is whole, it is OpenAPI, and it says what the server does."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it carries none

from taskwatch.clock import SystemClock
from taskwatch.config.serving import Server
from taskwatch.server.api import endpoints
from taskwatch.server.application import application
from taskwatch.server.gate import Guard
from taskwatch.server.openapi import document
from taskwatch.server.site import Site
from tests.fakes.builders import quiet_log
from tests.fakes.served import section, served

PAGES: Final = ("/", "/tasks/", "/static/")  # people's: no part of the API
METHODS: Final = ("get", "post", "delete")


def described(of: Server | None = None) -> dict[str, Any]:
    server = of or section(token="t0ken")
    return document(endpoints(Site(server, clock=SystemClock(), log=quiet_log())), server)


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in description["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def test_what_is_described_is_what_is_served() -> None:
    site = Site(section(), clock=SystemClock(), log=quiet_log())
    routed = {
        (route.method, route.resource.canonical)
        for route in application(site, Guard(site.server, quiet_log())).router.routes()
        if route.resource is not None and route.method != "HEAD"
    }
    told = {(method, path) for method, path, _ in operations(described())}

    assert told == {
        (method, path)
        for method, path in routed
        if path not in ("/", "/favicon.ico") and not path.startswith(PAGES[1:])
    }


def test_each_operation_has_a_name_of_its_own_and_says_what_it_does() -> None:
    found = [operation for _, _, operation in operations(described())]

    assert len({one["operationId"] for one in found}) == len(found)
    assert all(one["summary"] for one in found)


def references(value: object) -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                if key == "$ref":
                    yield inner
                else:
                    yield from references(inner)
        case list():
            for inner in value:
                yield from references(inner)


def test_each_reference_leads_to_a_schema_and_each_schema_is_led_to() -> None:
    description = described()
    components = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}

    assert set(references(description)) == components


def test_each_schema_is_one() -> None:
    description = described()
    for schema in description["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for _, _, operation in operations(description):
        for parameter in operation.get("parameters", []):
            Draft202012Validator.check_schema(parameter["schema"])


def test_a_parameter_says_its_bounds_and_its_default() -> None:
    (limit,) = (
        one for one in described()["paths"]["/api/v1/tasks"]["get"]["parameters"] if one["name"] == "limit"
    )

    assert limit == {
        "name": "limit",
        "in": "query",
        "required": False,
        "description": "at most so many items in a page",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    }


@pytest.mark.parametrize(
    ("of", "security"),
    [
        (section(token="t0ken"), [{"bearer": []}, {"basic": []}]),
        (section("unix:/run/api.sock", token="t0ken"), [{}, {"bearer": []}, {"basic": []}]),
        (section(), []),
    ],
    ids=["a token", "a socket and a token", "nothing"],
)
def test_it_says_what_this_server_asks_for(of: Server, security: list[object]) -> None:
    paths = described(of)["paths"]

    assert paths["/api/v1/tasks"]["get"]["security"] == security
    assert paths["/metrics"]["get"]["security"] == security
    assert paths["/-/ready"]["get"]["security"] == []
    assert ("401" in paths["/api/v1/tasks"]["get"]["responses"]) == bool(security)


def test_every_refusal_is_a_problem() -> None:
    for _, path, operation in operations(described()):
        for status, answer in operation["responses"].items():
            if int(status) >= 400 and not path.startswith("/-/re") and not path.startswith("/-/health"):
                assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_no_secret_and_no_place_of_this_host_is_in_it(tmp_path: Path) -> None:
    text = json.dumps(described(section(f"unix:{tmp_path}/api.sock", token="c4n4ry")))

    assert "c4n4ry" not in text
    assert str(tmp_path) not in text


async def test_it_is_served_also_while_there_is_no_daemon_to_show() -> None:
    async with served(section()) as server:
        answer = await server.ask("/api/v1/openapi.json")

        assert json.loads(answer.body) == described(server.section)
        assert (await server.ask("/api/v1/tasks")).problem["status"] == 503
