"""What discovery makes of names, catalogues and answers that nobody promised."""

import pytest

from taskwatch.app.discovery import _label, _starter_project, endpoint_of
from taskwatch.cloud.iam import ServiceEndpoint, VisibleProject
from taskwatch.errors import ConfigError

OTC = "iam.eu-de.otc.t-systems.com"


def _service(url: str, *, type_: str = "opengauss", region: str | None = "eu-de") -> ServiceEndpoint:
    return ServiceEndpoint(type=type_, region=region, url=url)


@pytest.mark.parametrize(
    ("catalogue", "auth_host", "endpoint"),
    [
        ([_service("https://listed.example:8443/v3/0611f1bd")], OTC, "https://listed.example:8443"),
        ([_service("https://far.example", region="eu-nl")], OTC, "https://gaussdb.eu-de.otc.t-systems.com"),
        ([_service("https://nova.example", type_="compute")], "iam.example", None),
        ([_service("https://any.example", region=None)], "iam.example", "https://any.example"),
        ([_service("no URL")], "iam.example", None),
    ],
)
def test_the_catalogue_goes_before_the_pattern_and_neither_is_made_up(
    catalogue: list[ServiceEndpoint], auth_host: str, endpoint: str | None
) -> None:
    project = VisibleProject(id="1", name="eu-de_prod")
    assert _starter_project(project, catalogue, auth_host=auth_host).endpoint == endpoint


@pytest.mark.parametrize(
    ("name", "label"),
    [("eu-de_prod", "eu-de_prod"), (" a\nb\x1b ", "a b"), ("", "unnamed"), ("x" * 200, "x" * 100), ("größe", "größe")],
)  # fmt: skip
def test_any_name_becomes_one_that_a_configuration_may_hold(name: str, label: str) -> None:
    assert _label(name) == label


def test_an_endpoint_is_taken_as_people_write_it() -> None:
    assert endpoint_of("https://Gauss.example/") == "https://gauss.example"


@pytest.mark.parametrize("text", ["gauss.example", "https://", "https://h/v3/projects", "off"])
def test_what_is_no_endpoint_says_what_to_write(text: str) -> None:
    with pytest.raises(ConfigError, match=r"https://HOST|\{file: PATH\}"):
        endpoint_of(text)
