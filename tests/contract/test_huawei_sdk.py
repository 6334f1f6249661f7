"""The public SDK as an independent judge of the simulated cloud: what it cannot read, the simulator says wrong.

It is synchronous, so it runs in a thread. It signs every request; a cloud with accounts verifies that.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from yarl import URL

from taskwatch.simulator.principals import Accounts, KeyPair
from taskwatch.simulator.server import SimulatedCloud
from taskwatch.simulator.work import Task
from tests.fakes.records import StillClock
from tests.fakes.simulator_client import BEGAN

with pytest.MonkeyPatch.context() as environment:
    # Its import already writes an id of its own into the home directory, if it can.
    environment.setenv("HOME", "/dev/null")
    from huaweicloudsdkcore.auth.credentials import (  # type: ignore[import-untyped]  # the SDK carries no types
        BasicCredentials,
    )
    from huaweicloudsdkcore.exceptions.exceptions import (  # type: ignore[import-untyped]  # as above
        ClientRequestException,
        ServerResponseException,
    )
    from huaweicloudsdkcore.http.http_config import HttpConfig  # type: ignore[import-untyped]  # as above
    from huaweicloudsdkcore.region.region import Region  # type: ignore[import-untyped]  # as above
    from huaweicloudsdkcore.sdk_request import SdkRequest  # type: ignore[import-untyped]  # as above
    from huaweicloudsdkcore.signer.signer import Signer  # type: ignore[import-untyped]  # as above
    from huaweicloudsdkgaussdbforopengauss.v3 import (  # type: ignore[import-untyped]  # as above
        GaussDBforopenGaussClient,
        ListTasksRequest,
    )

BACKUP = "BackupSnapshotGaussDBV5InInstance"
SECONDS = (5, 20)  # to connect, to be answered


class Sdk:
    """The SDK's client, as its documentation shows it, with one cloud to ask."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.project_id = cloud.projects[0].project_id

    async def ask(self, *, project_id: str | None = None, **parameters: Any) -> Any:
        return await asyncio.to_thread(
            self._ask, project_id or self.project_id, ListTasksRequest(**parameters)
        )

    def _ask(self, project_id: str, request: Any) -> Any:
        config = HttpConfig(timeout=SECONDS)
        credentials = BasicCredentials("ACCESSKEY", "secretkey", project_id)
        builder = (
            GaussDBforopenGaussClient.new_builder().with_http_config(config).with_credentials(credentials)
        )
        return builder.with_endpoint(self.cloud.url).build().list_tasks(request)

    def truth(self, matches: Callable[[Task], bool] = lambda _: True) -> list[str]:
        return [task.job_id for task in self.cloud.tasks(self.project_id) if matches(task)]


@pytest.fixture
async def sdk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sdk]:
    monkeypatch.setenv("HOME", "/dev/null")  # there it would look for settings
    monkeypatch.setenv("NO_PROXY", "*")
    async with SimulatedCloud(seed=3, projects=2, token=None, clock=StillClock(BEGAN), began=BEGAN) as cloud:
        yield Sdk(cloud)


async def test_the_first_page_is_the_newest_hundred_and_the_total_is_a_number(sdk: Sdk) -> None:
    response = await sdk.ask()

    assert response.status_code == 200
    assert [task.job_id for task in response.tasks] == sdk.truth()[:100]
    assert response.total_count == len(sdk.truth())


async def test_each_field_of_a_task_is_what_the_cloud_knows_of_it(sdk: Sdk) -> None:
    sdk.cloud.provoke(sdk.project_id, progress=35, seconds=60)
    response = await sdk.ask()

    for read, true in zip(response.tasks, sdk.cloud.tasks(sdk.project_id), strict=False):
        assert (read.name, read.status, read.fail_reason) == (true.name, true.status, true.fail_reason)
        assert read.process == (None if true.progress is None else f"{true.progress}%")
        assert instant(read.created_at) == true.created_at
        assert (read.ended_at and instant(read.ended_at)) == true.ended_at
        instance = read.instance_info
        assert (instance.instance_id, instance.instance_name, instance.instance_status) == (
            true.instance_id, true.instance_name, true.instance_status,
        )  # fmt: skip
    assert response.tasks[0].process == "35%"
    assert {task.status for task in response.tasks} == {"Running", "Completed", "Failed"}


async def test_no_field_is_lost_on_the_way_into_the_model(sdk: Sdk) -> None:
    response = await sdk.ask(status="Failed", limit=1)

    (task,) = response.to_json_object()["tasks"]
    texts = {name: value for name, value in task.items() if name not in ("instance_info", "process")}
    assert set(texts) == {"job_id", "name", "status", "created_at", "ended_at", "fail_reason"}
    assert all(isinstance(value, str) for value in [*texts.values(), *task["instance_info"].values()])
    assert task["process"] is None  # of a task that has ended


@pytest.mark.parametrize("status", ["Running", "Completed", "Failed"])
async def test_the_filter_on_status_lets_only_that_status_through(sdk: Sdk, status: str) -> None:
    sdk.cloud.provoke(sdk.project_id, seconds=60)
    response = await sdk.ask(status=status)

    found = sdk.truth(lambda task: task.status == status)
    assert [task.job_id for task in response.tasks] == found[:100]
    assert response.total_count == len(found) > 0


async def test_the_filter_on_the_name_lets_only_that_name_through(sdk: Sdk) -> None:
    response = await sdk.ask(name=BACKUP, status="Failed")

    assert [task.job_id for task in response.tasks] == sdk.truth(
        lambda task: (task.name, task.status) == (BACKUP, "Failed")
    )


async def test_start_and_end_time_are_milliseconds_and_bound_the_creation(sdk: Sdk) -> None:
    since, until = BEGAN - timedelta(days=3), BEGAN - timedelta(days=2)
    response = await sdk.ask(start_time=milliseconds(since), end_time=milliseconds(until))

    assert response.tasks
    assert [task.job_id for task in response.tasks] == sdk.truth(
        lambda task: since <= task.created_at <= until
    )


async def test_pages_by_offset_and_limit_make_up_the_whole_list(sdk: Sdk) -> None:
    read: list[str] = []
    while page := (await sdk.ask(offset=len(read), limit=100)).tasks:
        read += [task.job_id for task in page]

    assert read == sdk.truth()


@pytest.mark.parametrize(
    "parameters",
    [{"limit": 0}, {"limit": 101}, {"offset": -1}, {"status": "Unheard-of"}, {"start_time": "noon"}],
)
async def test_what_is_not_allowed_is_the_services_refusal(sdk: Sdk, parameters: dict[str, Any]) -> None:
    with pytest.raises(ClientRequestException) as refused:
        await sdk.ask(**parameters)

    assert (refused.value.status_code, refused.value.error_code) == (400, "DBS.200001")
    assert refused.value.error_msg == "Parameter error."
    assert refused.value.request_id


async def test_a_project_of_somebody_else_is_the_services_refusal(sdk: Sdk) -> None:
    with pytest.raises(ClientRequestException) as refused:
        await sdk.ask(project_id="0" * 32)

    assert (refused.value.status_code, refused.value.error_code) == (403, "DBS.280015")


async def test_without_a_token_where_one_is_asked_for_it_is_the_gateways_refusal(sdk: Sdk) -> None:
    sdk.cloud.token = "wanted"
    with pytest.raises(ClientRequestException) as refused:
        await sdk.ask()

    assert (refused.value.status_code, refused.value.error_code) == (401, "APIGW.0301")
    assert "x-auth-token not found" in refused.value.error_msg


async def test_a_failing_server_is_the_sdks_server_error(sdk: Sdk) -> None:
    sdk.cloud.faults.add("500", count=1)
    with pytest.raises(ServerResponseException) as failed:
        await sdk.ask()

    assert failed.value.status_code == 500
    assert (await sdk.ask(limit=1)).tasks  # and the next request is answered


async def test_a_throttled_request_is_a_429(sdk: Sdk) -> None:
    sdk.cloud.faults.add("429", count=1)
    with pytest.raises(ClientRequestException) as throttled:
        await sdk.ask()

    assert throttled.value.status_code == 429


async def test_a_deleted_record_is_gone_from_the_list(sdk: Sdk) -> None:
    deleted = sdk.truth(lambda task: task.status == "Failed")[0]
    before = (await sdk.ask()).total_count
    sdk.cloud.delete(deleted)
    response = await sdk.ask()

    assert response.total_count == before - 1
    assert deleted not in [task.job_id for task in response.tasks]


class SigningSdk:
    """The SDK with the keys of a user, at a cloud that verifies what it signs. Its date is the host's."""

    def __init__(self, cloud: SimulatedCloud) -> None:
        self.cloud = cloud
        self.project_id = cloud.projects[0].project_id

    @property
    def pair(self) -> KeyPair:
        return self.cloud.identity.keys.permanent

    async def ask(
        self, pair: KeyPair, *, secret: str | None = None, project_id: str | None = None, **parameters: Any
    ) -> Any:
        credentials = BasicCredentials(pair.access, secret or pair.secret, project_id or self.project_id)
        if pair.security_token is not None:
            credentials = credentials.with_security_token(pair.security_token)
        return await asyncio.to_thread(self._ask, credentials, ListTasksRequest(**parameters))

    def _ask(self, credentials: Any, request: Any) -> Any:
        builder = GaussDBforopenGaussClient.new_builder().with_http_config(HttpConfig(timeout=SECONDS))
        return builder.with_credentials(credentials).with_endpoint(self.cloud.url).build().list_tasks(request)

    async def refusal(self, pair: KeyPair, **asked: Any) -> Any:
        with pytest.raises(ClientRequestException) as refused:
            await self.ask(pair, **asked)
        return refused.value


@pytest.fixture
async def signing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SigningSdk]:
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("NO_PROXY", "*")
    async with SimulatedCloud(seed=3, projects=2, token=None, accounts=Accounts()) as cloud:
        yield SigningSdk(cloud)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"status": "Failed", "name": BACKUP, "offset": 3, "limit": 7},
        {"name": "a b+c/d~e*f:g\u00e9&h=i"},
        {"start_time": "1732000000000", "end_time": "1732600000000", "x_language": "en-us"},
    ],
)
async def test_what_the_sdk_signs_with_the_right_pair_is_let_in(
    signing: SigningSdk, parameters: dict[str, Any]
) -> None:
    assert (await signing.ask(signing.pair, **parameters)).status_code == 200
    assert not signing.cloud.counters.signatures_refused


async def test_a_temporary_pair_is_let_in_with_its_security_token(signing: SigningSdk) -> None:
    assert (await signing.ask(signing.cloud.identity.lend_keys())).status_code == 200


async def test_a_temporary_pair_without_its_security_token_is_refused(signing: SigningSdk) -> None:
    pair = signing.cloud.identity.lend_keys()
    refused = await signing.refusal(KeyPair(access=pair.access, secret=pair.secret, user=pair.user))

    assert (refused.status_code, refused.error_code) == (401, "APIGW.0301")
    assert "verify aksk signature fail" in refused.error_msg


async def test_a_wrong_secret_is_refused_as_the_gateway_says_it(signing: SigningSdk) -> None:
    refused = await signing.refusal(signing.pair, secret="guessed")

    assert (refused.status_code, refused.error_code) == (401, "APIGW.0301")
    assert refused.error_msg.startswith(
        "Incorrect IAM authentication information: verify aksk signature fail, "
    )
    assert refused.request_id


async def test_an_unknown_access_key_is_refused(signing: SigningSdk) -> None:
    refused = await signing.refusal(KeyPair(access="AKNOBODY", secret="s", user=signing.pair.user))

    assert (refused.status_code, refused.error_code) == (401, "APIGW.0301")
    assert "ak not exist" in refused.error_msg


@pytest.mark.parametrize("minutes", [-16, 16])
async def test_a_date_more_than_a_quarter_of_an_hour_off_is_refused(
    monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    async with _cloud_that_is_off(monkeypatch, minutes) as sdk:
        refused = await sdk.refusal(sdk.pair)

    assert (refused.status_code, refused.error_code) == (401, "APIGW.0301")
    assert "x-sdk-date" in refused.error_msg


@pytest.mark.parametrize("minutes", [-14, 14])
async def test_a_date_less_than_a_quarter_of_an_hour_off_is_let_in(
    monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    async with _cloud_that_is_off(monkeypatch, minutes) as sdk:
        assert (await sdk.ask(sdk.pair)).status_code == 200


@asynccontextmanager
async def _cloud_that_is_off(monkeypatch: pytest.MonkeyPatch, minutes: int) -> AsyncIterator[SigningSdk]:
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("NO_PROXY", "*")
    began = datetime.now(UTC) + timedelta(minutes=minutes)
    async with SimulatedCloud(projects=1, token=None, accounts=Accounts(), began=began) as cloud:
        yield SigningSdk(cloud)


async def test_a_request_that_the_sdk_signed_without_project_id_is_malformed(signing: SigningSdk) -> None:
    url = URL(f"{signing.cloud.url}/v3/{signing.project_id}/tasks")
    request = SdkRequest(
        method="GET",
        schema="http",
        host=url.authority,
        resource_path=url.path,
        query_params=[("limit", 1)],
        header_params={},
        body="",
    )
    signed = Signer(BasicCredentials(signing.pair.access, signing.pair.secret)).sign(request)
    async with (
        aiohttp.ClientSession() as session,
        session.get(URL(f"{url}?limit=1", encoded=True), headers=signed.header_params) as answer,
    ):
        status, body = answer.status, await answer.json()

    assert (status, body["badRequest"]["code"]) == (401, "401")
    assert body["badRequest"]["message"] == (
        f"Malformed request URL: URL's project_id '{signing.project_id}' "
        "doesn't match Context's project_id 'null'"
    )


async def test_the_sdk_finds_the_project_of_its_keys_at_iam(signing: SigningSdk) -> None:
    project = signing.cloud.projects[1]
    credentials = BasicCredentials(signing.pair.access, signing.pair.secret).with_iam_endpoint(
        signing.cloud.url
    )

    def ask() -> Any:
        builder = GaussDBforopenGaussClient.new_builder().with_http_config(HttpConfig(timeout=SECONDS))
        region = Region(project.iam_name, signing.cloud.url)
        client = builder.with_credentials(credentials).with_region(region).build()
        return client.list_tasks(ListTasksRequest(limit=1))

    response = await asyncio.to_thread(ask)
    assert response.tasks[0].job_id == signing.cloud.tasks(project.project_id)[0].job_id


async def test_who_keeps_signing_wrong_locks_its_pair_against_itself(signing: SigningSdk) -> None:
    for _ in range(6):
        await signing.refusal(signing.pair, secret="guessed")
    refused = await signing.refusal(signing.pair)

    assert refused.error_msg.endswith("AK access failed to reach the limit,forbidden.")


def instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z")


def milliseconds(moment: datetime) -> str:
    return str(int(moment.timestamp() * 1000))
