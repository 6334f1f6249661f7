from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from taskwatch.config.fields import Duration, Rate, Switch, parse_duration, spell_duration
from taskwatch.config.kept import EndpointUrl, SecretText, SecretUrl, Url
from taskwatch.secret import Kept, Secret


class Fields(BaseModel):
    duration: Duration = 0.0
    rate: Rate = 0.0
    switch: Switch = False
    secret: SecretText | None = None
    url: SecretUrl | None = None
    endpoint: EndpointUrl | None = None


def _read(**value: object) -> Fields:
    return Fields.model_validate(value, context=Path("/etc/taskwatch"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("24h", 86400), ("31d", 2678400), ("0s", 0), ("007s", 7)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert _read(duration=text).duration == seconds


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "5 s", "-5s", "+5s", "5S", "1.5h", "1h30m", "5y", "\u0665s", "1e3s", "9" * 10 + "s"],
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValidationError, match="not a duration; write a number and ms, s, m, h or d, as 30s"):
        _read(duration=text)


def test_a_number_from_code_is_seconds() -> None:
    assert _read(duration=0.2).duration == 0.2


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_that_is_spelt_is_read_as_it_was(milliseconds: int) -> None:
    assert parse_duration(spell_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(("text", "rate"), [("20/s", 20), ("1000/s", 1000), ("30/m", 0.5), ("36/h", 0.01)])
def test_a_rate_is_a_number_in_a_time(text: str, rate: float) -> None:
    assert _read(rate=text).rate == rate


@pytest.mark.parametrize("text", ["20", "0/s", "-1/s", "20/d", "20 / s", "/s", "1.5/s", "9999999/s"])
def test_anything_else_is_no_rate(text: str) -> None:
    with pytest.raises(ValidationError, match="not a rate; write requests in a time, as 20/s or 30/m"):
        _read(rate=text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("yes", True), ("On", True), ("FALSE", False), ("no", False), ("off", False)],
)
def test_a_switch_takes_all_words_of_yaml(text: str, *, value: bool) -> None:
    assert _read(switch=text).switch is value


@pytest.mark.parametrize("text", ["", "1", "y", "maybe"])
def test_anything_else_is_no_switch(text: str) -> None:
    with pytest.raises(ValidationError, match="neither true nor false"):
        _read(switch=text)


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        ("hunter2", Secret(Kept.TEXT, "hunter2")),
        ({"file": "token"}, Secret(Kept.FILE, "/etc/taskwatch/token")),
        ({"file": "/run/token"}, Secret(Kept.FILE, "/run/token")),
        ({"env": "OS_TOKEN"}, Secret(Kept.ENV, "OS_TOKEN")),
        ({"credential": "otc.token"}, Secret(Kept.CREDENTIAL, "otc.token")),
    ],
)
def test_a_secret_is_text_or_says_where_it_is_kept(written: object, secret: Secret) -> None:
    assert _read(secret=written).secret == secret


@pytest.mark.parametrize(
    "written",
    [
        "", "off", [], {}, ["a"], {"file": ""}, {"file": ["a"]}, {"file": "a", "env": "B"}, {"path": "a"},
        {"env": "A-B"}, {"env": "${A}"}, {"credential": "../shadow"}, {"credential": ".."}, {"file": "a\0b"},
    ],
)  # fmt: skip
def test_anything_else_is_no_secret(written: object) -> None:
    with pytest.raises(ValidationError, match="; write "):
        _read(secret=written)


def test_a_url_is_kept_as_a_secret_that_may_be_written_as_text() -> None:
    url = _read(url="https://hooks.example/a?token=x").url
    assert isinstance(url, Url)
    assert url.reveal() == "https://hooks.example/a?token=x"
    assert "token=x" not in f"{url} {url!r}"


@pytest.mark.parametrize(
    "url",
    [
        "hooks.example", "ftp://h", "https://", "https:///path", "https://a b", "https://h\n.example",
        "https://h:port", "https://h:70000", "https://[::1", "https://-h", "//h", "javascript:x", "https://ü",
    ],
)  # fmt: skip
def test_anything_else_is_no_url(url: str) -> None:
    for field in ("url", "endpoint"):
        with pytest.raises(ValidationError, match="; write "):
            _read(**{field: url})


@pytest.mark.parametrize(
    ("written", "endpoint", "host"),
    [
        ("https://gauss.example", "https://gauss.example", "gauss.example"),
        ("HTTPS://GAUSS.example:443/", "https://gauss.example", "gauss.example"),
        ("http://gauss.example:80", "http://gauss.example", "gauss.example"),
        ("https://gauss.example:80", "https://gauss.example:80", "gauss.example:80"),
        ("http://127.0.0.1:9799", "http://127.0.0.1:9799", "127.0.0.1:9799"),
        ("http://[::1]:9799", "http://[::1]:9799", "[::1]:9799"),
    ],
)
def test_an_endpoint_is_scheme_and_host_without_the_port_of_the_scheme(
    written: str, endpoint: str, host: str
) -> None:
    read = _read(endpoint=written).endpoint
    assert read is not None
    assert (str(read), read.host) == (endpoint, host)


@pytest.mark.parametrize(
    "written",
    ["https://user:hunter2@h", "https://h/v3/abc", "https://h?x=hunter2", "https://h#hunter2", "https://h?"],
)
def test_an_endpoint_with_more_than_scheme_and_host_is_refused_and_not_shown(written: str) -> None:
    with pytest.raises(ValidationError) as raised:
        _read(endpoint=written)
    [error] = raised.value.errors()
    assert error["msg"] == "Value error, more than scheme and host; write https://HOST, the rest is added"


def test_an_endpoint_kept_elsewhere_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUSS", "https://gauss.example")
    assert str(_read(endpoint={"env": "GAUSS"}).endpoint) == "https://gauss.example"
    monkeypatch.delenv("GAUSS")
    with pytest.raises(ValidationError, match="environment variable GAUSS is not set"):
        _read(endpoint={"env": "GAUSS"})


@pytest.mark.parametrize(
    ("written", "in_clear"),
    [
        ("http://gauss.example", True),
        ("https://gauss.example", False),
        ("http://127.0.0.1:1", False),
        ("http://[::1]:1", False),
        ("http://localhost", False),
    ],
)
def test_plain_http_is_in_clear_beyond_this_machine(written: str, *, in_clear: bool) -> None:
    read = _read(endpoint=written).endpoint
    assert read is not None
    assert read.is_in_clear is in_clear
