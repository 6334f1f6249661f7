"""The gateway before the simulated task lists: whom it lets in, and how it refuses the others."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from yarl import URL

from taskwatch.simulator.cloud import DEFAULT_TOKEN
from taskwatch.simulator.principals import Accounts, KeyPair
from tests.fakes.simulator_client import BEGAN, SimulatorClient, asking

QUARTER = 15 * 60.0


class Client(SimulatorClient):
    """Reads a task list with whatever credential it is given."""

    @property
    def pair(self) -> KeyPair:
        return self.cloud.identity.keys.permanent

    def project_id(self, number: int = 0) -> str:
        return self.cloud.projects[number].project_id

    def token(self, number: int | None = 0) -> str:
        """Return a token for a project, or for the domain alone."""
        identity = self.cloud.identity
        project = None if number is None else identity.projects[number]
        return identity.issue(identity.user, domain=identity.home, project=project).text

    async def read(self, headers: Mapping[str, str], number: int = 0) -> tuple[int, Any, Mapping[str, str]]:
        url = f"{self.cloud.url}/v3/{self.project_id(number)}/tasks?limit=1"
        async with self.session.get(url, headers=headers) as answer:
            is_json = answer.content_type == "application/json"
            body = json.loads(await answer.read()) if is_json else None
            return answer.status, body, answer.headers

    async def sign(
        self,
        pair: KeyPair | None = None,
        *,
        secret: str | None = None,
        at: timedelta = timedelta(0),
        without: str = "",
        extra: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Read with a signature, made as plainly as it can be."""
        pair = pair or self.pair
        url = URL(f"{self.cloud.url}/v3/{self.project_id()}/tasks?limit=1")
        date = (self.cloud.now() + at).strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "host": str(url.authority),
            "x-project-id": self.project_id(),
            "x-sdk-date": date,
        } | ({"x-security-token": pair.security_token} if pair.security_token else {})
        headers = {
            name: value for name, value in sorted((headers | dict(extra or {})).items()) if name != without
        }
        names = ";".join(headers)
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        empty = hashlib.sha256(b"").hexdigest()
        canonical = f"GET\n{url.path}/\n{url.query_string}\n{lines}\n{names}\n{empty}"
        text = f"SDK-HMAC-SHA256\n{date}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.new((secret or pair.secret).encode(), text.encode(), hashlib.sha256).hexdigest()
        headers["Authorization"] = (
            f"SDK-HMAC-SHA256 Access={pair.access}, SignedHeaders={names}, Signature={signature}"
        )
        status, body, _ = await self.read(headers)
        return status, body


def served(
    *, token: str | None = None, accounts: Accounts | None = None
) -> AbstractAsyncContextManager[Client]:
    return asking(Client, projects=2, token=token, accounts=accounts or Accounts())


async def test_a_token_reads_its_own_project_and_no_other() -> None:
    async with served() as client:
        token = {"X-Auth-Token": client.token(0)}
        own, _, _ = await client.read(token)
        other, body, _ = await client.read(token, 1)
        expected = f"URL's project_id '{client.project_id(1)}' doesn't match Context's project_id '{client.project_id(0)}'"

    assert (own, other) == (200, 401)
    assert body == {"badRequest": {"message": f"Malformed request URL: {expected}", "code": "401"}}


async def test_a_token_for_the_domain_reads_no_project() -> None:
    async with served() as client:
        status, body, _ = await client.read({"X-Auth-Token": client.token(None)})

    assert status == 401
    assert body["badRequest"]["message"].endswith("doesn't match Context's project_id 'null'")


async def test_a_token_of_another_project_can_be_an_invalid_token_that_is_forbidden() -> None:
    async with served() as client:
        client.cloud.behave(foreign_project="invalid")
        status, body, _ = await client.read({"X-Auth-Token": client.token(0)}, 1)

    assert (status, body) == (403, {"error_code": "DBS.280056", "error_msg": "Invalid token."})


async def test_an_expired_token_is_refused_with_the_time_it_ended() -> None:
    async with served(accounts=Accounts(token_seconds=60.0)) as client:
        token = {"X-Auth-Token": client.token()}
        client.clock.seconds = 59.0
        alive, _, _ = await client.read(token)
        client.clock.seconds = 60.0
        dead, body, _ = await client.read(token)

    assert (alive, dead, body["error_code"]) == (200, 401, "APIGW.0301")
    assert "token expires, expires_at:2026-11-23T13:31:00" in body["error_msg"]


async def test_a_revoked_token_must_be_updated() -> None:
    async with served() as client:
        token = {"X-Auth-Token": client.token()}
        client.cloud.identity.tokens.revoke()
        status, body, _ = await client.read(token)

    assert (status, body["error_code"], body["error_msg"]) == (401, "APIGW.0307", "The token must be updated")


async def test_a_token_that_iam_never_gave_out_cannot_be_decrypted() -> None:
    async with served() as client:
        status, body, _ = await client.read({"X-Auth-Token": "MIIguessed"})

    assert (status, body["error_code"]) == (401, "APIGW.0301")
    assert body["error_msg"] == "Incorrect IAM authentication information: decrypt token fail"


async def test_with_accounts_and_no_token_of_its_own_the_cloud_lets_nobody_in_unasked() -> None:
    async with served(token=None) as client:
        status, body, _ = await client.read({})

    assert (status, body["error_code"]) == (401, "APIGW.0301")


async def test_the_token_of_the_cloud_the_token_of_iam_and_a_signature_are_all_taken() -> None:
    async with served(token=DEFAULT_TOKEN) as client:
        assert (await client.read({"X-Auth-Token": DEFAULT_TOKEN}))[0] == 200
        assert (await client.read({"X-Auth-Token": client.token()}))[0] == 200
        assert (await client.sign())[0] == 200


async def test_a_dead_token_beside_a_good_signature_is_refused() -> None:
    async with served() as client:
        status, body = await client.sign(extra={"x-auth-token": "MIIguessed"})

    assert status == 401
    assert "decrypt token fail" in body["error_msg"]


async def test_a_wrong_secret_does_not_verify() -> None:
    async with served() as client:
        status, body = await client.sign(secret="guessed")

    assert (status, body["error_code"]) == (401, "APIGW.0301")
    assert body["error_msg"].startswith(
        "Incorrect IAM authentication information: verify aksk signature fail, "
    )


async def test_an_unknown_access_key_has_no_secret() -> None:
    async with served() as client:
        pair = KeyPair(access="AKNOBODY", secret="s", user=client.cloud.identity.user)
        status, body = await client.sign(pair)

    assert status == 401
    assert body["error_msg"].endswith("Get secretKey failed,ak:AKNOBODY,err:ak not exist")


async def test_a_malformed_authorization_does_not_verify() -> None:
    async with served() as client:
        status, body, _ = await client.read({"Authorization": "SDK-HMAC-SHA256 Access=x"})

    assert status == 401
    assert "verify aksk signature fail" in body["error_msg"]


@pytest.mark.parametrize(("seconds", "status"), [(-901, 401), (-900, 200), (900, 200), (901, 401)])
async def test_a_date_may_be_a_quarter_of_an_hour_off(seconds: int, status: int) -> None:
    async with served() as client:
        told, _ = await client.sign(at=timedelta(seconds=seconds))

    assert told == status


async def test_a_signature_is_judged_by_the_clock_of_the_cloud_and_not_by_what_the_header_tells() -> None:
    async with served() as client:
        client.cloud.behave(date_skew_seconds=86_400)

        assert (await client.sign())[0] == 200
        assert (await client.sign(at=timedelta(days=1)))[0] == 401


async def test_a_signature_needs_the_project_that_the_path_names() -> None:
    async with served() as client:
        missing, nothing = await client.sign(without="x-project-id")
        wrong, other = await client.sign(extra={"x-project-id": client.project_id(1)})

    assert (missing, wrong) == (401, 401)
    assert nothing["badRequest"]["message"].endswith("Context's project_id 'null'")
    assert client.cloud.projects[1].project_id in other["badRequest"]["message"]


async def test_a_temporary_pair_needs_its_security_token_and_ends() -> None:
    async with served() as client:
        pair = client.cloud.identity.lend_keys(60.0)
        good, _ = await client.sign(pair)
        without, body = await client.sign(pair, without="x-security-token")
        another, _ = await client.sign(pair, extra={"x-security-token": "another"})
        client.clock.seconds = 60.0
        late, _ = await client.sign(pair)

    assert (good, without, another, late) == (200, 401, 401, 401)
    assert "verify aksk signature fail" in body["error_msg"]


async def test_changed_keys_are_the_only_ones_that_count() -> None:
    async with served() as client:
        old = client.pair
        new = client.cloud.identity.keys.change()

        assert (await client.sign(old))[0] == 401
        assert (await client.sign(new))[0] == 200


async def test_more_than_five_failures_in_a_row_lock_the_pair_for_five_minutes() -> None:
    async with served() as client:
        for _ in range(2):
            for _ in range(5):
                await client.sign(secret="guessed")
            assert (await client.sign())[0] == 200  # five are not more than five, and success forgets them
        for _ in range(6):
            await client.sign(secret="guessed")
        locked, body = await client.sign()
        client.clock.seconds = 299.0
        still, _ = await client.sign()
        client.clock.seconds = 300.0
        opened, _ = await client.sign()
        times = client.cloud.counters.keys_locked
        refused = client.cloud.counters.signatures_refused

        assert (locked, still, opened) == (401, 401, 200)
        assert body["error_msg"].endswith("AK access failed to reach the limit,forbidden.")
        assert times == {client.pair.access: 1}
        assert refused == {client.pair.access: 18}


async def test_a_wrong_project_is_no_failure_of_the_signature() -> None:
    async with served() as client:
        for _ in range(7):
            await client.sign(without="x-project-id")

        assert (await client.sign())[0] == 200
        assert not client.cloud.counters.keys_locked


async def test_so_many_requests_a_second_and_no_more_and_refused_ones_count_too() -> None:
    async with served(token=DEFAULT_TOKEN) as client:
        client.cloud.behave(throttle_requests=2, throttle_seconds=1.0)
        token = {"X-Auth-Token": DEFAULT_TOKEN}
        told = []
        for elapsed in (0.0, 0.1, 0.2, 1.15, 2.2):
            client.clock.seconds = elapsed
            told.append((await client.read(token))[0])

        # At 1.15 the first two are forgotten, but the one that was refused at 0.2 still counts.
        assert told == [200, 200, 429, 200, 200]


async def test_who_hammers_stays_throttled() -> None:
    async with served(token=DEFAULT_TOKEN) as client:
        client.cloud.behave(throttle_requests=1)
        token = {"X-Auth-Token": DEFAULT_TOKEN}
        told = []
        for number in range(6):
            client.clock.seconds = number * 0.5
            told.append((await client.read(token))[0])

        assert told == [200, 429, 429, 429, 429, 429]
        assert client.cloud.counters.throttled == 5


async def test_credentials_are_throttled_one_by_one() -> None:
    async with served(token=DEFAULT_TOKEN) as client:
        client.cloud.behave(throttle_requests=1)

        assert (await client.read({"X-Auth-Token": DEFAULT_TOKEN}))[0] == 200
        assert (await client.sign())[0] == 200
        assert (await client.read({"X-Auth-Token": client.token()}))[0] == 200
        assert (await client.sign())[0] == 429


@pytest.mark.parametrize("retry_after", [5, "-1", "1000000000", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_a_throttled_request_is_told_any_retry_after(retry_after: int | str) -> None:
    async with served(token=DEFAULT_TOKEN) as client:
        client.cloud.behave(throttle_requests=1, retry_after=retry_after)
        token = {"X-Auth-Token": DEFAULT_TOKEN}
        await client.read(token)
        status, body, headers = await client.read(token)

    assert (status, body["error_code"], headers["Retry-After"]) == (429, "APIGW.0308", str(retry_after))


async def test_a_retry_after_can_be_a_date_by_the_clock_that_the_cloud_shows() -> None:
    async with served(token=DEFAULT_TOKEN) as client:
        client.cloud.behave(throttle_requests=1, retry_after="date", date_skew_seconds=-3600)
        token = {"X-Auth-Token": DEFAULT_TOKEN}
        await client.read(token)
        _, _, headers = await client.read(token)

    told, now = parsedate_to_datetime(headers["Retry-After"]), parsedate_to_datetime(headers["Date"])
    assert told - now == timedelta(minutes=1)
    assert now == BEGAN - timedelta(hours=1)


async def test_without_retry_after_none_is_told() -> None:
    async with served(token=DEFAULT_TOKEN) as client:
        client.cloud.behave(throttle_requests=1)
        await client.read({"X-Auth-Token": DEFAULT_TOKEN})
        _, _, headers = await client.read({"X-Auth-Token": DEFAULT_TOKEN})

    assert "Retry-After" not in headers


async def test_requests_are_counted_by_what_they_asked() -> None:
    async with served(token=DEFAULT_TOKEN) as client:
        await client.read({"X-Auth-Token": DEFAULT_TOKEN})
        await client.read({})
        async with client.session.get(client.cloud.auth_url):
            pass

        assert client.cloud.counters.requests == {"tasks": 2, "iam": 1}


async def test_of_a_request_that_failed_on_the_way_nobody_heard() -> None:
    async with served(token=DEFAULT_TOKEN) as client:
        client.cloud.behave(throttle_requests=1)
        client.cloud.faults.add("503", count=10)
        told = {(await client.sign(secret="guessed"))[0] for _ in range(10)}
        readings = client.cloud.readings(client.project_id())

        assert told == {503}
        assert not client.cloud.counters.signatures_refused
        assert not readings
        assert (await client.sign())[0] == 200


async def test_no_repr_shows_a_secret() -> None:
    async with served() as client:
        pair, token = client.cloud.identity.lend_keys(), client.token()
        shown = repr((pair, client.cloud.identity.tokens.find(token), client.cloud.identity.accounts))

    assert pair.secret not in shown
    assert str(pair.security_token) not in shown
    assert token not in shown
    assert "simulated-password" not in shown
