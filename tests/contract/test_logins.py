"""Every way to log in, over real sockets: to the simulated cloud, and to an IAM that says strange things."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import pytest
import structlog
import yaml
from structlog.testing import capture_logs
from yarl import URL

from taskwatch.clock import Clock, SystemClock
from taskwatch.cloud import iam as iam_module
from taskwatch.cloud.auth import beside
from taskwatch.cloud.auth import clouds as clouds_module
from taskwatch.cloud.auth.account import Account
from taskwatch.cloud.auth.agency import AgencySource
from taskwatch.cloud.auth.aksk import AkskLogin, SecretKeys, Signer
from taskwatch.cloud.auth.clouds import CloudLogin, OpenstackCloud
from taskwatch.cloud.auth.login import Login
from taskwatch.cloud.auth.password import PasswordSource
from taskwatch.cloud.auth.renewed import RenewedLogin
from taskwatch.cloud.auth.token import TokenLogin
from taskwatch.cloud.caller import Caller
from taskwatch.cloud.iam import Iam, Scope, User
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Session, Transport, open_session
from taskwatch.errors import CloudCause, CloudError
from taskwatch.secret import Kept, Secret
from taskwatch.simulator.principals import Accounts
from taskwatch.simulator.server import SimulatedCloud
from tests.fakes.builders import quiet_log
from tests.fakes.iam_server import IamServer, login, refusal
from tests.fakes.records import StillClock

# openstacksdk warns of itself wherever it is used.
pytestmark = pytest.mark.filterwarnings("ignore:Support for InfluxDB")

CLOCK: Final = SystemClock()
PASSWORD: Final = "canary-pässword/0123 &<456>"
ESCAPED: Final = json.dumps(PASSWORD)[1:-1]


class Bench:
    """A simulated cloud with accounts, and what asks it."""

    def __init__(self, cloud: SimulatedCloud, session: Session, files: Path) -> None:
        self.cloud = cloud
        self.session = session
        self.files = files
        self.transport = Transport(session=session)
        self.project_id = cloud.projects[0].project_id
        self._opened: list[RenewedLogin | CloudLogin] = []

    @property
    def user(self) -> User:
        return User(name=self.cloud.identity.user.name, domain_name=self.cloud.identity.home.name)

    def account(self, name: str = "otc") -> Account:
        return Account(name=name, clock=CLOCK, log=structlog.get_logger())

    def iam(self, auth_url: str | None = None, name: str = "otc") -> Iam:
        return Iam(
            auth_url=auth_url or self.cloud.auth_url,
            credential=name,
            transport=self.transport,
            limiter=Limiter(100, CLOCK, quiet_log()),
        )

    def file(self, name: str, text: str) -> Secret:
        path = self.files / name
        path.write_text(text, "utf-8")
        return Secret(Kept.FILE, str(path))

    def opened(self, source: Any, account: Account | None = None) -> RenewedLogin:
        renewed = RenewedLogin(source, account=account or self.account(), clock=CLOCK)
        self._opened.append(renewed)
        return renewed

    def by_password(
        self,
        *,
        scope: Scope | None = None,
        user: User | None = None,
        password: str = PASSWORD,
        auth_url: str | None = None,
        account: Account | None = None,
    ) -> RenewedLogin:
        source = PasswordSource(
            iam=self.iam(auth_url),
            user=user or self.user,
            password=self.file("password", password),
            scope=scope or Scope(project_id=self.project_id),
        )
        return self.opened(source, account)

    def by_keys(
        self, *, secret: str | None = None, token: str | None = None, access: str | None = None
    ) -> AkskLogin:
        pair = self.cloud.identity.keys.permanent
        keys = SecretKeys(
            access_key=self.file("ak", access or pair.access),
            secret_key=self.file("sk", secret or pair.secret),
            security_token=None if token is None else self.file("st", token),
        )
        signer = Signer(keys, account=self.account(), clock=CLOCK, log=structlog.get_logger())
        return AkskLogin(signer, project_id=self.project_id)

    def clouds_yaml(
        self, monkeypatch: pytest.MonkeyPatch, clock: Clock = CLOCK, **entry: Any
    ) -> OpenstackCloud:
        path = self.files / "clouds.yaml"
        path.write_text(yaml.safe_dump({"clouds": {"mine": entry}}), "utf-8")
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
        return OpenstackCloud("mine", account=self.account(), clock=clock, log=structlog.get_logger())

    def entry(self, **auth: Any) -> dict[str, Any]:
        known = {
            "auth_url": self.cloud.auth_url,
            "username": self.user.name,
            "password": PASSWORD,
            "user_domain_name": self.user.domain_name,
            "project_name": self.cloud.projects[1].iam_name,
            "project_domain_name": self.user.domain_name,
        }
        return {"auth": known | auth, "region_name": "eu-de"}

    async def read(self, login: Login) -> dict[str, Any]:
        """Read a page of the first project."""
        if isinstance(login, CloudLogin):
            self._opened.append(login)
        caller = Caller(
            transport=self.transport,
            endpoint=self.cloud.url,
            login=login,
            limiter=Limiter(100, CLOCK, quiet_log()),
        )
        url = f"{self.cloud.url}/v3/{self.project_id}/tasks?offset=0&limit=1"
        answer = await caller.get(URL(url, encoded=True))
        page: dict[str, Any] = json.loads(answer.body)
        return page

    async def refused(self, login: Login) -> CloudError:
        with pytest.raises(CloudError) as refused:
            await self.read(login)
        return refused.value

    async def close(self) -> None:
        for each in self._opened:
            await each.close()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    accounts = Accounts(password=PASSWORD, token_length=60_000)
    async with SimulatedCloud(seed=1, projects=3, token=None, accounts=accounts) as cloud:
        session = open_session()
        bench = Bench(cloud, session, tmp_path)
        yield bench
        await bench.close()
        await session.close()


@pytest.fixture
async def iam() -> AsyncIterator[IamServer]:
    async with IamServer() as server:
        yield server


# The password.


async def test_a_user_reads_the_list_with_a_token_of_sixty_kilobytes(bench: Bench) -> None:
    login = bench.by_password()
    assert (await bench.read(login))["tasks"]
    await bench.read(login)
    assert bench.cloud.counters.logins_granted.total() == 1


async def test_a_project_can_be_named_and_the_token_says_its_id(bench: Bench) -> None:
    token = await bench.by_password(scope=Scope(project_name=bench.cloud.projects[0].iam_name)).token()
    assert token.project_id == bench.project_id


async def test_a_revoked_token_is_replaced_by_one_login(bench: Bench) -> None:
    login = bench.by_password()
    await bench.read(login)
    bench.cloud.identity.tokens.revoke()
    await asyncio.gather(*(bench.read(login) for _ in range(20)))
    assert bench.cloud.counters.logins_granted.total() == 2


async def test_a_password_that_is_wrong_is_told_and_tried_when_it_changes(bench: Bench) -> None:
    login = bench.by_password(password="another-canary-password")
    error = await bench.refused(login)
    assert error.cause is CloudCause.LOGIN
    assert str(error).startswith(f"credential otc: {URL(bench.cloud.url).authority} answered 401 ")
    assert "check username, user_domain_name and password" in str(error)
    assert "next try in 60 s" in str(error)
    await bench.refused(login)
    assert bench.cloud.counters.logins_refused.total() == 1
    bench.file("password", PASSWORD)
    assert (await bench.read(login))["tasks"]


async def test_the_project_that_was_asked_for_is_logged_and_stands_in_no_line_of_another(
    bench: Bench,
) -> None:
    with capture_logs() as lines:
        login = bench.by_password(scope=Scope(project_id="0" * 32))
        errors = [await bench.refused(login), await bench.refused(login)]
    assert f"(asked for project {'0' * 32})" in lines[0]["error"]
    for error in errors:
        assert "that the project is visible to this user" in str(error)
        assert "0" * 32 not in str(error)


async def test_where_the_whole_account_is_asked_for_no_project_is_suspected(bench: Bench) -> None:
    login = bench.by_password(
        scope=Scope(domain_name=bench.user.domain_name), password="another-canary-password"
    )
    assert "project" not in (await bench.refused(login)).message


@pytest.mark.parametrize(
    ("said", "is_lockout"),
    [
        ("The account is locked.", True),
        ("User LOCKED by administrator", True),
        ("too many tries: lockout", True),
        ("The username or password is wrong.", False),
        ("the unlocked door", False),
    ],
)
async def test_an_account_that_is_locked_is_told_from_a_wrong_password(
    bench: Bench, iam: IamServer, *, said: str, is_lockout: bool
) -> None:
    iam.answer = refusal(401, {"error": {"code": 401, "message": said}})
    user = bench.user
    with pytest.raises(CloudError) as refused:
        await bench.iam(iam.auth_url).token_by_password(user, PASSWORD, Scope(project_id="p"))
    assert refused.value.is_lockout is is_lockout
    assert ("find who else still logs in with an old password" in str(refused.value)) is is_lockout
    assert ("check username, user_domain_name and password" in str(refused.value)) is not is_lockout


async def test_the_projects_of_a_user_are_listed(bench: Bench) -> None:
    login = bench.by_password(scope=Scope(domain_name=bench.user.domain_name))
    listed = await bench.iam().projects(login)
    assert [(one.id, one.name) for one in listed] == [
        (one.project_id, one.iam_name) for one in bench.cloud.projects
    ]


async def test_a_token_by_the_name_of_a_project_says_its_id(bench: Bench) -> None:
    project = bench.cloud.projects[2]
    token = await bench.by_password(scope=Scope(project_name=project.iam_name)).token()
    assert token.project_id == project.project_id


async def test_the_catalogue_says_where_the_services_are(bench: Bench) -> None:
    login = bench.by_password(scope=Scope(project_id=bench.project_id))
    listed = await bench.iam().catalogue(login)
    assert ("gaussdb-opengauss", "eu-de", bench.cloud.url) in [
        (one.type, one.region, one.url) for one in listed
    ]


async def test_a_token_says_the_project_that_it_is_for(bench: Bench) -> None:
    made = await bench.by_password(scope=Scope(project_id=bench.project_id)).token()
    assert await bench.iam().own_project(TokenLogin(bench.file("token", made.text))) == bench.project_id


async def test_a_token_of_a_domain_is_for_no_project(bench: Bench) -> None:
    made = await bench.by_password(scope=Scope(domain_name=bench.user.domain_name)).token()
    assert await bench.iam().own_project(TokenLogin(bench.file("token", made.text))) is None


async def test_the_question_whose_a_token_is_has_an_end_and_keeps_to_the_rate(
    bench: Bench, iam: IamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam.answer = iam.silence
    monkeypatch.setattr(iam_module, "LOGIN_SECONDS", 0.05)
    login = TokenLogin(bench.file("token", "t"))
    with pytest.raises(CloudError, match=r"no whole answer within 0\.05 s"):
        await bench.iam(iam.auth_url).own_project(login)
    throttled = bench.iam(iam.auth_url)
    iam.answer = refusal(429, {}, {"Retry-After": "100"})
    with pytest.raises(CloudError, match="answered 429"):
        await throttled.own_project(login)
    with pytest.raises(CloudError, match="no requests for another 100 s"):
        await throttled.own_project(login)
    assert len(iam.asked) == 2


# Access keys.


async def test_a_signed_request_reads_the_list(bench: Bench) -> None:
    assert (await bench.read(bench.by_keys()))["tasks"]


async def test_a_temporary_key_is_sent_with_its_security_token(bench: Bench) -> None:
    pair = bench.cloud.identity.lend_keys()
    login = bench.by_keys(access=pair.access, secret=pair.secret, token=pair.security_token)
    assert (await bench.read(login))["tasks"]


async def test_a_wrong_secret_key_is_asked_once_and_told(bench: Bench) -> None:
    login = bench.by_keys(secret="canary-secret-key-0123456789")
    error = await bench.refused(login)
    assert "verify aksk signature fail" in str(error)
    assert "check secret_key, then access_key, of the credential otc; the clock of this host" in str(error)
    assert "next try in 60 s" in str(error)
    await bench.refused(login)
    assert bench.cloud.counters.signatures_refused.total() == 1


async def test_keys_that_change_while_a_request_is_refused_are_tried_at_once(bench: Bench) -> None:
    login = bench.by_keys()
    await bench.read(login)
    pair = bench.cloud.identity.keys.change()
    bench.file("ak", pair.access)
    bench.file("sk", pair.secret)
    assert (await bench.read(login))["tasks"]


async def test_the_projects_of_a_key_are_listed(bench: Bench) -> None:
    signs = AkskLogin(bench.by_keys()._signer, project_id=None)
    listed = await bench.iam().projects(signs, signs=True)
    assert [one.id for one in listed] == [one.project_id for one in bench.cloud.projects]


# Agencies.


def _agency(bench: Bench, *, password: str = PASSWORD, agency: str | None = None) -> RenewedLogin:
    identity = bench.cloud.identity
    partner = User(name=identity.agent.name, domain_name=identity.partner.name)
    via = bench.by_password(
        user=partner,
        password=password,
        scope=Scope(domain_name=identity.partner.name),
        account=bench.account("partner"),
    )
    source = AgencySource(
        iam=bench.iam(name="agency"),
        via=via,
        domain_name=identity.home.name,
        agency_name=agency or identity.agency.name,
        scope=Scope(project_id=bench.project_id),
    )
    return bench.opened(source, bench.account("agency"))


async def test_an_agency_reads_the_list(bench: Bench) -> None:
    assert (await bench.read(_agency(bench)))["tasks"]


async def test_an_agency_whose_credential_lost_its_token_logs_in_again_through_it(bench: Bench) -> None:
    login = _agency(bench)
    await bench.read(login)
    bench.cloud.identity.tokens.revoke()
    assert (await bench.read(login))["tasks"]
    assert bench.cloud.counters.logins_granted.total() == 4


async def test_an_agency_that_is_not_there_is_told_with_what_to_check(bench: Bench) -> None:
    error = await bench.refused(_agency(bench, agency="nobody"))
    assert str(error).startswith("credential agency: ")
    assert "Could not find agency" in str(error)
    said = str(error).partition("Could not find agency")[2]
    assert said.index("check agency_name and domain_name") < said.index("that the project is visible")


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_whatever_iam_refuses_an_agency_with_its_two_names_are_suspected_first(
    bench: Bench, iam: IamServer, status: int
) -> None:
    iam.answer = refusal(status, {"error": {"code": status, "message": "no"}})
    with pytest.raises(CloudError, match='"no": check agency_name and domain_name'):
        await bench.iam(iam.auth_url).token_by_agency(
            TokenLogin(bench.file("token", "t")),
            domain_name="d",
            agency_name="a",
            scope=Scope(project_id="p"),
        )


async def test_an_agency_is_tried_as_soon_as_the_password_behind_it_is_right(bench: Bench) -> None:
    login = _agency(bench, password="not-the-password")
    error = await bench.refused(login)
    assert str(error).startswith("credential partner: ")
    bench.file("password", PASSWORD)
    assert (await bench.read(login))["tasks"]


async def test_an_agency_through_a_token_that_was_made_elsewhere(bench: Bench) -> None:
    identity = bench.cloud.identity
    partner = User(name=identity.agent.name, domain_name=identity.partner.name)
    made = await bench.iam().token_by_password(partner, PASSWORD, Scope(domain_name=partner.domain_name))
    source = AgencySource(
        iam=bench.iam(),
        via=TokenLogin(bench.file("token", made.text)),
        domain_name=identity.home.name,
        agency_name=identity.agency.name,
        scope=Scope(project_id=bench.project_id),
    )
    assert (await bench.read(bench.opened(source)))["tasks"]


# clouds.yaml.


async def test_an_entry_of_clouds_yaml_logs_in_to_the_project_that_is_watched(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = bench.clouds_yaml(monkeypatch, **bench.entry())  # it names another project
    login = cloud.login(bench.project_id)
    await bench.read(login)
    assert (await bench.read(login))["tasks"]
    assert bench.cloud.counters.logins_granted.total() == 1
    assert (await cloud.entry()).region == "eu-de"


async def test_a_secure_yaml_holds_what_clouds_yaml_does_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = bench.entry()
    del entry["auth"]["password"]
    secure = bench.files / "secure.yaml"
    secure.write_text(yaml.safe_dump({"clouds": {"mine": {"auth": {"password": PASSWORD}}}}), "utf-8")
    monkeypatch.setenv("OS_CLIENT_SECURE_FILE", str(secure))
    assert (await bench.read(bench.clouds_yaml(monkeypatch, **entry).login(bench.project_id)))["tasks"]


async def test_an_entry_with_an_access_key_signs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = bench.cloud.identity.keys.permanent
    cloud = bench.clouds_yaml(
        monkeypatch, ak=pair.access, sk=pair.secret, auth={"auth_url": bench.cloud.auth_url}
    )
    assert (await bench.read(cloud.login(bench.project_id)))["tasks"]
    assert bench.cloud.counters.requests["login"] == 0


async def test_a_changed_entry_is_tried_at_the_next_poll(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StillClock()
    cloud = bench.clouds_yaml(monkeypatch, clock, **bench.entry(password="not-the-password"))
    login = cloud.login(bench.project_id)
    error = await bench.refused(login)
    assert "check what cloud mine of clouds.yaml logs in with" in str(error)
    assert error.http_status == 401
    bench.clouds_yaml(monkeypatch, **bench.entry())
    clock.seconds += 1
    assert (await bench.read(login))["tasks"]


async def test_the_projects_of_an_entry_are_listed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = bench.clouds_yaml(monkeypatch, **bench.entry())
    listed = await bench.iam((await cloud.entry()).auth_url).projects(cloud.login(None))
    assert [one.id for one in listed] == [one.project_id for one in bench.cloud.projects]


async def test_the_projects_of_an_entry_that_signs_are_listed_by_iam(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = bench.cloud.identity.keys.permanent
    auth = {"auth_url": bench.cloud.auth_url}
    cloud = bench.clouds_yaml(monkeypatch, ak=pair.access, sk=pair.secret, auth=auth)
    listed = await bench.iam((await cloud.entry()).auth_url).projects(cloud.login(None), signs=True)
    assert [one.id for one in listed] == [one.project_id for one in bench.cloud.projects]


async def test_a_token_of_an_entry_says_its_project_and_its_life(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud = bench.clouds_yaml(monkeypatch, **bench.entry())
    token = await cloud.token(None)
    assert token.project_id == bench.cloud.projects[1].project_id
    assert token.life == pytest.approx(86_400, abs=1)


async def test_an_entry_that_is_not_there_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.clouds_yaml(monkeypatch, **bench.entry())
    cloud = OpenstackCloud("other", account=bench.account(), clock=CLOCK, log=structlog.get_logger())
    error = await bench.refused(cloud.login(bench.project_id))
    assert str(error).startswith("credential otc: cloud other of clouds.yaml")
    assert "was not found" in str(error)


async def test_an_entry_without_its_password_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = bench.entry()
    del entry["auth"]["password"]
    error = await bench.refused(bench.clouds_yaml(monkeypatch, **entry).login(bench.project_id))
    assert "password" in str(error)


async def test_a_clouds_yaml_that_is_no_yaml_is_told_without_what_it_holds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = bench.clouds_yaml(monkeypatch, **bench.entry())
    (bench.files / "clouds.yaml").write_text("clouds:\n  mine:\n    auth: {password: *canary-password}\n")
    error = await bench.refused(cloud.login(bench.project_id))
    assert "is no YAML: look at line 3" in str(error)
    assert "canary" not in str(error) + caplog.text


async def test_without_the_extra_the_error_says_how_to_install_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openstack.config", None)
    error = await bench.refused(bench.clouds_yaml(monkeypatch, **bench.entry()).login(bench.project_id))
    assert "pip install 'taskwatch[openstack]'" in str(error)


async def test_the_proxy_of_the_environment_is_not_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    login = bench.clouds_yaml(monkeypatch, **bench.entry()).login(bench.project_id)
    assert (await bench.read(login))["tasks"]


async def test_openstacksdk_that_hangs_is_left_behind(
    bench: Bench, iam: IamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam.answer = iam.silence
    monkeypatch.setattr(clouds_module, "LOGIN_SECONDS", 1.5)
    cloud = bench.clouds_yaml(monkeypatch, **bench.entry(auth_url=iam.auth_url))
    await cloud.entry()
    monkeypatch.setattr(beside, "LOGIN_SECONDS", 0.05)
    error = await bench.refused(cloud.login(bench.project_id))
    assert error.cause is CloudCause.TIMEOUT
    with pytest.raises(CloudError, match="still at an earlier request"):
        await cloud.token(bench.project_id)


# An IAM that says strange things.


@pytest.mark.parametrize(
    ("answer", "cause", "words"),
    [
        (login(token=None), CloudCause.BAD_ANSWER, "without the header X-Subject-Token"),
        (login(token=""), CloudCause.BAD_ANSWER, "without the header X-Subject-Token"),
        (login(body=b"<html>"), CloudCause.BAD_ANSWER, "no JSON object"),
        (login(body=b"[" * 100_000), CloudCause.BAD_ANSWER, "no JSON object"),
        (login(body=b"\xff\xfe"), CloudCause.BAD_ANSWER, "no JSON object"),
        (login(body=b'{"token": []}'), CloudCause.BAD_ANSWER, "without a token in its body"),
        (login(expires_at="2026-11-23T09:59:59Z"), CloudCause.BAD_ANSWER, "had expired when it was issued"),
        (login(status=200), CloudCause.BAD_ANSWER, "answered 200"),
        (
            login(status=200, body=b"<html>"),
            CloudCause.BAD_ANSWER,
            "200 an HTML page: that is no answer of its API; check auth_url",
        ),
        (
            login(status=404, body=b"<!DOCTYPE html>"),
            CloudCause.NOT_FOUND,
            "404 an HTML page: that is no answer of its API; check auth_url",
        ),
        (
            login(status=503, body=b"<html>"),
            CloudCause.CLOUD,
            "503 an HTML page: the service has trouble of its own",
        ),
        (login(token="tökén"), CloudCause.LOGIN, "the token that the credential otc was given"),
        (
            refusal(400, {"error": {"code": 400, "message": "malformed"}}),
            CloudCause.BAD_ANSWER,
            'answered 400 "malformed"',
        ),
        (
            refusal(403, {"error": {"code": 403, "message": "forbidden"}}),
            CloudCause.PERMISSION,
            "is visible to this user",
        ),
        (
            refusal(404, {"error": {"code": 404, "message": "no project"}}),
            CloudCause.NOT_FOUND,
            "check auth_url, and that the project is visible to this user",
        ),
        (
            refusal(401, {"error": {"code": 401, "message": "The account is locked."}}),
            CloudCause.LOGIN,
            "next try in 900 s",
        ),
        (refusal(429, {}, {"Retry-After": "100"}), CloudCause.THROTTLED, "next try in 100 s"),
        (refusal(503, {}), CloudCause.CLOUD, "next try in 5 s"),
    ],
)
async def test_what_iam_says_is_told_and_not_used(
    bench: Bench, iam: IamServer, answer: Any, cause: CloudCause, words: str
) -> None:
    iam.answer = answer
    error = await bench.refused(bench.by_password(auth_url=iam.auth_url))
    assert error.cause is cause
    assert words in str(error)
    assert len(iam.asked) == 1


@pytest.mark.parametrize(
    ("answer", "life"),
    [
        (login(), 86_400.0),
        (login(header="x-subject-token"), 86_400.0),
        (login(expires_at="2026-11-24T11:00:00+01:00"), 86_400.0),
        (login(expires_at="2026-11-23T10:00:01Z"), 1.0),
        (login(expires_at="9999-12-31T23:59:59Z"), 251_614_043_999.0 + 7_541_600.0),
        (login(expires_at="1000002026-11-24T10:00:00Z"), 3600.0),
        (login(expires_at=17), 3600.0),
        (login(expires_at=None, issued_at=None), 3600.0),
        (login(issued_at=None, headers={"Date": "Mon, 23 Nov 2026 10:00:00 GMT"}), 86_400.0),
        (login(catalog="none", project=["?"]), 86_400.0),
    ],
)
async def test_a_token_lives_as_long_as_iam_says(
    bench: Bench, iam: IamServer, answer: Any, life: float
) -> None:
    iam.answer = answer
    token = await bench.by_password(auth_url=iam.auth_url).token()
    assert token.text == "a-token-of-iam"
    assert token.life == pytest.approx(life, rel=1e-2)


async def test_a_login_ends_by_itself_when_iam_says_nothing(
    bench: Bench, iam: IamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam.answer = iam.silence
    monkeypatch.setattr(iam_module, "LOGIN_SECONDS", 0.05)
    error = await bench.refused(bench.by_password(auth_url=iam.auth_url))
    assert error.cause is CloudCause.TIMEOUT
    assert "no whole answer within 0.05 s" in str(error)
    assert "it is up and slow, or hangs: look at its status page and at a proxy on the way" in str(error)


async def test_an_iam_that_is_not_there_is_named_with_its_setting(bench: Bench) -> None:
    error = await bench.refused(bench.by_password(auth_url="http://127.0.0.1:1/v3"))
    assert error.cause is CloudCause.NETWORK
    assert "127.0.0.1:1: cannot connect" in str(error)


async def test_a_redirect_gets_no_password(bench: Bench, iam: IamServer) -> None:
    async with IamServer() as other:
        iam.answer = refusal(307, {}, {"Location": f"{other.auth_url}/auth/tokens"})
        error = await bench.refused(bench.by_password(auth_url=iam.auth_url))
        assert "redirect refused" in str(error)
        assert other.asked == []


async def test_openstacksdk_follows_no_redirect_either(
    bench: Bench, iam: IamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with IamServer() as other:
        iam.answer = refusal(307, {}, {"Location": f"{other.auth_url}/auth/tokens"})
        entry = bench.entry(auth_url=iam.auth_url) | {"auth_type": "v3password"}
        error = await bench.refused(bench.clouds_yaml(monkeypatch, **entry).login(bench.project_id))
        assert "redirects" in str(error)
        assert other.asked == []


async def test_no_error_and_no_log_repeats_what_was_sent(
    bench: Bench, iam: IamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IAM repeats the password in its refusal; nobody else does."""
    told: list[str] = []
    with capture_logs() as lines:
        for status in (400, 401, 403, 404, 500, 503):
            iam.answer = refusal(status, {"error": {"code": status, "message": f"bad: {PASSWORD}"}})
            by_password = bench.by_password(auth_url=iam.auth_url)
            entry = bench.entry(auth_url=iam.auth_url) | {"auth_type": "v3password"}
            by_entry = bench.clouds_yaml(monkeypatch, **entry).login(bench.project_id)
            for each in (by_password, by_entry):
                error: BaseException | None = await bench.refused(each)
                while error is not None:
                    told.append(repr(error))
                    error = error.__cause__ or error.__context__
                told += [repr(each), str(each)]
    told.append(repr(lines))
    assert len(iam.asked) == 2 * 6
    assert all(PASSWORD in body.decode() or ESCAPED in body.decode() for _, _, body in iam.asked)
    assert [text for text in told if "canary" in text] == []


@pytest.mark.parametrize("url", [str, lambda url: f"{url}/", lambda url: url.removesuffix("/v3")])
async def test_auth_url_may_end_as_people_write_it(
    bench: Bench, iam: IamServer, url: Callable[[str], str]
) -> None:
    await bench.by_password(auth_url=url(iam.auth_url)).token()
    assert iam.asked[0][0] == "/v3/auth/tokens?nocatalog=1"
