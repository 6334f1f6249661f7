"""Logins over days, in virtual time: as many as tokens expired, few where IAM refuses, none that is lost."""

import asyncio
import math
from itertools import pairwise
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from yarl import URL

from taskwatch.cloud.auth.account import Account
from taskwatch.cloud.auth.login import Authentication
from taskwatch.cloud.auth.renewed import RenewedLogin
from taskwatch.cloud.caller import Caller
from taskwatch.cloud.limiter import Limiter
from taskwatch.cloud.transport import Answer, Request
from taskwatch.errors import CloudCause, CloudError
from tests.fakes.builders import quiet_log
from tests.fakes.iam import ANSWER, FakeIam, FakeSource, PasswordFile, refused, throttled, unreachable
from tests.fakes.virtual_time import VirtualClock, in_virtual_time, virtual_clock

DAY = 86_400.0
REQUEST = Request(url=URL("https://gaussdb.example/v3/p/tasks"))


class CountingTransport:
    """Answers everything, and keeps when it was asked."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.sent: list[float] = []

    async def send(self, *_: object) -> Answer:
        self.sent.append(self._clock.monotonic())
        return ANSWER


class Credential:
    """A credential with as many projects as are asked for, each with a login of its own."""

    def __init__(self, clock: VirtualClock, *, iam: FakeIam | None = None, name: str = "otc") -> None:
        self.clock = clock
        self.iam = iam or FakeIam(clock)
        self.file = PasswordFile()
        self.account = Account(name=name, clock=clock, log=structlog.get_logger())
        self.logins: dict[str, RenewedLogin] = {}
        self.errors: list[CloudError] = []
        self.answers = 0
        self.requests = 0

    def login(self, project: str) -> RenewedLogin:
        if project not in self.logins:
            source = FakeSource(self.iam, project, self.file)
            self.logins[project] = RenewedLogin(source, account=self.account, clock=self.clock)
        return self.logins[project]

    async def request(self, project: str) -> Answer:
        async def send(shown: Authentication) -> Answer:
            self.requests += 1
            await asyncio.sleep(0.1)
            return self.iam.serve(shown, project)

        return await self.login(project).send(REQUEST, send)

    async def poll(self, project: str) -> CloudError | None:
        try:
            await self.request(project)
        except CloudError as error:
            self.errors.append(error)
            return error
        self.answers += 1
        return None

    async def watch(self, project: str, *, every: float, seconds: float) -> None:
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            await self.poll(project)
            await asyncio.sleep(every)

    async def watch_all(self, projects: int, *, every: float, seconds: float) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(projects):
                group.create_task(self.watch(f"p{number}", every=every, seconds=seconds))

    async def close(self) -> None:
        for login in self.logins.values():
            await login.close()


Lines = list[Any]


def warnings(lines: Lines) -> list[str]:
    return [line["event"] for line in lines if line["log_level"] == "warning"]


@pytest.mark.parametrize("days", [1, 7])
def test_a_week_of_tokens_takes_as_many_logins_as_tokens_there_were(days: int) -> None:
    @in_virtual_time
    async def scenario() -> None:
        clock = virtual_clock()
        credentials = [Credential(clock, name=f"c{number}") for number in range(3)]
        async with asyncio.TaskGroup() as group:
            for credential, projects in zip(credentials, (17, 17, 16), strict=True):
                group.create_task(credential.watch_all(projects, every=600.0, seconds=days * DAY - 600))
        for credential in credentials:
            # half an hour before the 24 hours are over
            assert set(credential.iam.granted.values()) == {math.ceil(days * DAY / (DAY - 1800))}
            assert credential.errors == []
            assert credential.iam.most_at_once == 1

    scenario()


@in_virtual_time
async def test_hundreds_that_wait_share_one_login() -> None:
    credential = Credential(virtual_clock())
    await asyncio.gather(*(credential.poll("p") for _ in range(500)))
    assert (credential.iam.logins, credential.answers) == (1, 500)


@in_virtual_time
async def test_tokens_that_die_between_two_pages_of_twenty_projects_are_replaced_by_one_login() -> None:
    credential = Credential(virtual_clock())
    await credential.poll("p")
    credential.iam.kill_tokens()
    await asyncio.gather(*(credential.poll("p") for _ in range(20)))
    assert (credential.iam.logins, credential.answers, credential.errors) == (2, 21, [])


@in_virtual_time
async def test_a_poll_that_gives_up_ends_no_login_that_others_wait_for() -> None:
    credential = Credential(virtual_clock())
    first = asyncio.create_task(credential.poll("p"))
    second = asyncio.create_task(credential.poll("p"))
    await asyncio.sleep(0.1)
    first.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled()
    assert (credential.iam.logins, credential.answers) == (1, 1)


@in_virtual_time
async def test_a_login_that_nobody_waits_for_any_more_counts_for_the_next_poll() -> None:
    credential = Credential(virtual_clock())
    poll = asyncio.create_task(credential.poll("p"))
    await asyncio.sleep(0.1)
    poll.cancel()
    await asyncio.sleep(1)
    await credential.poll("p")
    assert (len(credential.iam.tries), credential.answers) == (1, 1)


def test_a_rotated_password_is_few_logins_one_warning_and_recovery_with_the_next_poll() -> None:
    @in_virtual_time
    async def scenario() -> None:
        credential = Credential(virtual_clock())
        polls = asyncio.create_task(credential.watch_all(50, every=15.0, seconds=3600))
        await asyncio.sleep(1000)
        credential.iam.password = "rotated-password"
        credential.iam.kill_tokens()
        begun = len(credential.iam.tries)
        await asyncio.sleep(300)
        assert len(credential.iam.tries) - begun <= 5
        await asyncio.sleep(900)
        credential.file.password = "rotated-password"
        await asyncio.sleep(30)
        answers, errors = credential.answers, len(credential.errors)
        await asyncio.sleep(15)
        assert len(credential.errors) == errors
        assert credential.answers - answers >= 49  # the last one may be under way
        assert credential.iam.locks == 0
        await polls

    with capture_logs() as lines:
        scenario()
    assert warnings(lines) == ["login_refused"]
    assert [line["event"] for line in lines if line["log_level"] == "info"] == ["logged_in_again"]
    assert {line["credential"] for line in lines} == {"otc"}


@in_virtual_time
async def test_a_wrong_password_never_locks_the_account_over_a_day() -> None:
    credential = Credential(virtual_clock())
    credential.file.password = "wrong-password"
    await credential.watch_all(50, every=120.0, seconds=DAY)
    assert credential.iam.locks == 0
    assert len(credential.iam.tries) <= DAY / 600 + 4


@in_virtual_time
async def test_a_start_with_a_wrong_password_is_refused_once_in_its_first_minute() -> None:
    credential = Credential(virtual_clock())
    credential.file.password = "wrong-password"
    await credential.watch_all(50, every=5.0, seconds=59)
    assert len(credential.iam.tries) == 1


@in_virtual_time
async def test_commands_beside_a_daemon_with_a_wrong_password_do_not_lock_the_account() -> None:
    daemon = Credential(virtual_clock())
    daemon.file.password = "wrong-password"
    polls = asyncio.create_task(daemon.watch_all(20, every=15.0, seconds=900))
    for _ in range(2):
        await asyncio.sleep(120)
        command = Credential(daemon.clock, iam=daemon.iam)
        command.file.password = "wrong-password"
        await asyncio.gather(*(command.poll(f"p{number}") for number in range(20)))
    await polls
    assert daemon.iam.locks == 0
    assert len(daemon.iam.tries) == 4


@in_virtual_time
async def test_a_file_that_is_rewritten_wrongly_again_and_again_does_not_lock_the_account() -> None:
    credential = Credential(virtual_clock())
    polls = asyncio.create_task(credential.watch_all(3, every=15.0, seconds=3600))
    for number in range(100):
        credential.file.password = f"wrong-password-{number}"
        await asyncio.sleep(30)
    assert credential.iam.locks == 0
    await polls


@in_virtual_time
async def test_a_project_that_nobody_may_see_stops_no_other() -> None:
    credential = Credential(virtual_clock())
    credential.iam.unknown = {"p0", "p7"}
    credential.iam.life = 3600.0
    await credential.watch_all(20, every=60.0, seconds=DAY)
    blind = {project for project in credential.logins if credential.iam.granted[project] == 0}
    assert blind == {"p0", "p7"}
    # an hour's token is renewed a quarter before its end
    assert min(credential.iam.granted[f"p{number}"] for number in (1, 2, 19)) >= DAY / 3600
    assert all(error.http_status == 401 for error in credential.errors)
    failed_polls_of_others = len(credential.errors) - 2 * math.ceil(DAY / 60)
    assert failed_polls_of_others <= 0.01 * 18 * DAY / 60


@in_virtual_time
async def test_while_iam_is_down_tokens_are_used_to_their_end_and_logins_are_few() -> None:
    credential = Credential(virtual_clock())
    await asyncio.gather(*(credential.poll(f"p{number}") for number in range(50)))
    credential.iam.trouble = unreachable
    begun = len(credential.iam.tries)
    await credential.watch_all(50, every=120.0, seconds=DAY - 180)
    assert credential.errors == []
    await credential.watch_all(50, every=30.0, seconds=6 * 3600)
    # once a minute at most, from half an hour before the end on
    assert len(credential.iam.tries) - begun <= (6 * 3600 + 1800) / 60 + 10
    credential.iam.trouble = lambda: None
    await asyncio.sleep(61)
    assert await credential.poll("p0") is None


def test_a_renewal_that_fails_is_told_once_although_no_poll_fails() -> None:
    @in_virtual_time
    async def scenario() -> None:
        credential = Credential(virtual_clock())
        await credential.poll("p")
        credential.iam.trouble = unreachable
        await credential.watch("p", every=15.0, seconds=DAY - 120)
        assert credential.errors == []
        credential.iam.trouble = lambda: None
        await credential.watch("p", every=15.0, seconds=100)

    with capture_logs() as lines:
        scenario()
    events = [line["event"] for line in lines if line["log_level"] != "debug"]
    assert events == ["login_failed", "logged_in_again"]


@pytest.mark.parametrize("asked_for", [None, 1.0, 300.0, 1e9])
def test_a_throttling_iam_is_left_alone_for_as_long_as_it_asks(asked_for: float | None) -> None:
    @in_virtual_time
    async def scenario() -> None:
        credential = Credential(virtual_clock())
        credential.iam.trouble = lambda: throttled(asked_for)
        await credential.watch_all(10, every=5.0, seconds=7200)
        least = min(max(asked_for or 60.0, 5.0), 3600.0)
        pauses = [later - earlier for earlier, later in pairwise(credential.iam.tries)]
        assert min(pauses) >= least

    scenario()


@in_virtual_time
async def test_a_wrong_region_refuses_for_ever_and_is_a_login_in_ten_minutes() -> None:
    credential = Credential(virtual_clock())
    credential.iam.serve = lambda *_: (_ for _ in ()).throw(refused("wrong region"))  # type: ignore[method-assign]  # all tokens
    await credential.watch("p", every=15.0, seconds=DAY)
    assert len(credential.iam.tries) <= DAY / 600 + 3
    assert credential.requests <= DAY / 15 + len(credential.iam.tries) + 2
    assert "a new token was refused as well" in str(credential.errors[-1])


@in_virtual_time
async def test_a_token_that_is_replaced_meanwhile_is_not_replaced_again() -> None:
    credential = Credential(virtual_clock())
    await credential.poll("p")
    slow = asyncio.Event()

    async def send(shown: Authentication) -> Answer:
        if shown.headers["X-Auth-Token"].endswith("1"):
            await slow.wait()
        return credential.iam.serve(shown, "p")

    late = asyncio.create_task(credential.login("p").send(REQUEST, send))
    await asyncio.sleep(0)
    credential.iam.kill_tokens()
    await credential.poll("p")
    slow.set()
    assert await late is ANSWER
    assert credential.iam.logins == 2


@in_virtual_time
async def test_a_token_that_expires_is_replaced_before_it_is_shown() -> None:
    credential = Credential(virtual_clock())
    await credential.poll("p")
    await asyncio.sleep(DAY + 1)
    await credential.poll("p")
    assert credential.requests == 2


@in_virtual_time
async def test_tokens_that_live_for_a_second_are_one_login_a_poll() -> None:
    credential = Credential(virtual_clock())
    credential.iam.life = 1.0
    await credential.watch("p", every=15.0, seconds=3600)
    assert credential.errors == []
    assert len(credential.iam.tries) <= 3600 / 15 + 1


@in_virtual_time
async def test_a_wall_clock_that_jumps_changes_no_tokens_life() -> None:
    credential = Credential(clock := virtual_clock())
    await credential.poll("p")
    for seconds in (10 * 365 * DAY, -20 * 365 * DAY):
        clock.jump(seconds)
        await credential.poll("p")
    assert len(credential.iam.tries) == 1


@in_virtual_time
async def test_a_password_that_cannot_be_read_stops_nothing_while_the_token_holds() -> None:
    credential = Credential(virtual_clock())
    await credential.poll("p")
    credential.file.is_readable = False
    await credential.watch("p", every=15.0, seconds=DAY - 120)
    assert credential.errors == []
    await asyncio.sleep(120)
    error = await credential.poll("p")
    assert error is not None
    assert str(error) == "credential otc: no password: cannot read /run/password"
    credential.file.is_readable = True
    assert await credential.poll("p") is None


def test_a_password_that_is_refused_after_a_change_is_told_anew_and_one_that_has_to_wait_too() -> None:
    @in_virtual_time
    async def scenario() -> None:
        credential = Credential(virtual_clock())
        polls = asyncio.create_task(credential.watch_all(5, every=15.0, seconds=1800))
        for number in range(4):
            credential.file.password = f"wrong-password-{number}"
            await asyncio.sleep(45)
        credential.file.password = "right-password"
        await polls
        assert credential.iam.locks == 0
        assert credential.iam.logins == 5

    with capture_logs() as lines:
        scenario()
    told = [line for line in lines if line["log_level"] != "debug"]
    events = [line["event"] for line in told]
    # the fourth, and the right one, wait until the first refusal is a quarter of an hour old
    assert events == ["login_refused"] * 3 + ["login_put_off"] * 2 + ["logged_in_again"]
    assert 600 < told[3]["retry_in_seconds"] < 900
    assert "what has changed since is not tried yet" in told[3]["error"]


def test_a_lock_that_others_caused_is_told_and_waited_for() -> None:
    @in_virtual_time
    async def scenario() -> None:
        credential = Credential(virtual_clock())
        await credential.poll("p")
        for _ in range(5):  # by somebody else
            with pytest.raises(CloudError):
                await credential.iam.obtain("stale-password", "p")
        credential.file.password = "wrong-password"
        credential.iam.kill_tokens()
        tries = len(credential.iam.tries)
        await credential.watch_all(5, every=15.0, seconds=890)
        assert len(credential.iam.tries) - tries == 1
        credential.file.password = "right-password"
        await credential.watch_all(5, every=15.0, seconds=30)

    with capture_logs() as lines:
        scenario()
    (line,) = [line for line in lines if line["log_level"] == "warning"]
    assert line["event"] == "login_refused"
    assert line["retry_in_seconds"] == 900


def test_a_reload_that_leaves_a_refused_login_behind_ends_what_was_told() -> None:
    @in_virtual_time
    async def scenario() -> None:
        credential = Credential(virtual_clock())
        credential.account.leave()  # well: nothing to say
        credential.file.password = "wrong-password"
        await credential.poll("p")
        credential.account.leave()
        credential.account.leave()

    with capture_logs() as lines:
        scenario()
    assert [line["event"] for line in lines] == ["login_refused", "login_not_needed_any_more"]


@in_virtual_time
async def test_two_hundred_projects_that_start_at_once_wait_for_their_logins_and_none_times_out() -> None:
    credential = Credential(clock := virtual_clock())
    credential.iam.seconds = 0.5
    limiter = Limiter(10.0, clock, quiet_log())
    transport = CountingTransport(clock)

    async def poll(number: int) -> None:
        caller = Caller(
            transport=transport,  # type: ignore[arg-type]  # counts what would be sent
            endpoint="https://gaussdb.example",
            login=credential.login(f"p{number}"),
            limiter=limiter,
        )
        await caller.turn()
        async with asyncio.timeout(20):
            await caller.get(REQUEST.url)

    await asyncio.gather(*(poll(number) for number in range(200)))
    assert len(transport.sent) == 200
    assert credential.iam.most_at_once == 1


@in_virtual_time
async def test_in_a_pause_the_error_says_why_since_when_and_when_next() -> None:
    credential = Credential(virtual_clock())
    credential.file.password = "wrong-password"
    await credential.poll("p")
    await asyncio.sleep(20)
    error = await credential.poll("p")
    assert str(error) == (
        "credential otc: iam.example answered 401 The username or password is wrong."
        " (since 10:00 UTC; next try in 40 s, or as soon as what it logs in with changes)"
    )


@in_virtual_time
async def test_closing_ends_a_login_and_who_waits_gets_an_error() -> None:
    credential = Credential(virtual_clock())
    credential.iam.seconds = 1e6
    polls = [asyncio.create_task(credential.poll("p")) for _ in range(3)]
    await asyncio.sleep(1)
    await credential.close()
    errors = await asyncio.gather(*polls)
    assert [error and error.cause for error in errors] == [CloudCause.LOGIN] * 3
    assert await credential.poll("p") is not None
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


@in_virtual_time
async def test_what_waited_for_a_slow_login_goes_out_at_the_rate() -> None:
    credential = Credential(clock := virtual_clock())
    credential.iam.seconds = 12.0
    limiter = Limiter(10.0, clock, quiet_log())
    transport = CountingTransport(clock)
    callers = [
        Caller(
            transport=transport,  # type: ignore[arg-type]  # counts what would be sent
            endpoint="https://gaussdb.example",
            login=credential.login("p"),
            limiter=limiter,
        )
        for _ in range(100)
    ]

    async def poll(caller: Caller) -> None:
        await caller.turn()
        await caller.get(REQUEST.url)

    await asyncio.gather(*(poll(caller) for caller in callers))
    busiest = max(sum(1 for other in transport.sent if 0 <= other - one < 1.0) for one in transport.sent)
    assert busiest <= 20  # a burst of a second's worth, and the rate
    assert credential.iam.logins == 1


@in_virtual_time
async def test_an_early_renewal_that_is_refused_is_told_and_stops_nothing() -> None:
    credential = Credential(virtual_clock())
    await credential.poll("p")
    credential.iam.password = "rotated-password"
    with capture_logs() as lines:
        await credential.watch("p", every=15.0, seconds=DAY - 60)
    assert credential.errors == []
    assert warnings(lines) == ["login_refused"]
    assert len(credential.iam.tries) - 1 <= 1800 / 300
