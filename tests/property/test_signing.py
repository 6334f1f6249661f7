"""Huawei's own signer signs whatever we send as we do."""

from types import SimpleNamespace
from typing import Final
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from taskwatch.cloud.signing import signed
from taskwatch.cloud.transport import Request
from tests.fakes.virtual_time import EPOCH

with pytest.MonkeyPatch.context() as environment:
    # Its import already writes an id of its own into the home directory, if it can.
    environment.setenv("HOME", "/dev/null")
    from huaweicloudsdkcore.sdk_request import SdkRequest  # type: ignore[import-untyped]  # the SDK carries no types
    from huaweicloudsdkcore.signer.signer import Signer  # type: ignore[import-untyped]  # as above

_ACCESS: Final = "AKEXAMPLE0000000TEST"
_SECRET: Final = "SkExample0000000000000000000000000000TEST"

words = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
names = st.text("abcXYZ-_.09", min_size=1, max_size=10)
segments = st.text(st.characters(codec="utf-8", exclude_characters="/\x00"), min_size=1, max_size=12).filter(
    lambda text: text not in (".", "..")
)
header_names = st.text("abcdefgXYZ-_", min_size=1, max_size=12).map(lambda text: f"X-{text}")
header_values = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.lists(segments, max_size=4),
    query=st.lists(st.tuples(names, words), max_size=6),
    headers=st.dictionaries(header_names, header_values, max_size=3),
    body=st.binary(max_size=40),
    host=st.sampled_from(["gaussdb.example", "127.0.0.1:18741", "[::1]:8080"]),
)
def test_the_sdk_signs_the_same(  # noqa: PLR0917  (hypothesis hands them over by name)
    method: str,
    path: list[str],
    query: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
    host: str,
) -> None:
    if len({name.lower() for name in headers}) < len(headers):
        return  # no request has one header twice
    resource = "/" + "/".join(quote(segment, safe="~") for segment in path)
    sent = "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in query)
    url = URL(f"https://{host}{resource}" + (f"?{sent}" if sent else ""), encoded=True)

    ours = signed(
        Request(url=url, method=method, body=body), headers, access_key=_ACCESS, secret_key=_SECRET, now=EPOCH
    )

    theirs = SdkRequest(
        method=method,
        schema="https",
        host=host,
        resource_path=resource,
        query_params=list(query),
        header_params={**headers, "X-Sdk-Date": EPOCH.strftime("%Y%m%dT%H%M%SZ")},
        body=body,
    )
    Signer(SimpleNamespace(ak=_ACCESS, sk=_SECRET)).sign(theirs)
    assert ours == theirs.header_params
