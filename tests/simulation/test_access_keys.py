"""Requests signed with an access key, in virtual time: a key that is refused is never locked."""

import asyncio
from collections.abc import Coroutine
from datetime import timedelta

import pytest
import structlog
from structlog.testing import capture_logs
from yarl import URL

from taskwatch.cloud.auth.account import Account
from taskwatch.cloud.auth.aksk import AkskLogin, Keys, Signer
from taskwatch.cloud.transport import Request
from taskwatch.errors import CloudError
from tests.fakes.gateway import FakeGateway
from tests.fakes.virtual_time import VirtualClock, in_virtual_time, virtual_clock

DAY = 86_400.0


class KeyFiles:
    """What an operator, or whatever rotates keys, writes."""

    def __init__(self, access: str = "AK-FIRST") -> None:
        self.keys = Keys(access=access, secret="SK-canary-0123456789")

    def read(self) -> Keys:
        return self.keys

    def write(self, access: str) -> None:
        self.keys = Keys(access=access, secret="SK-canary-0123456789", security_token="token-0123456789")


class Credential:
    """A credential that signs, and the gateway that it asks."""

    def __init__(self, clock: VirtualClock, *, deadline: float = 20.0) -> None:
        self.clock = clock
        self._deadline = deadline
        begun, start = clock.now(), clock.monotonic()
        self.gateway = FakeGateway(
            now=lambda: begun + timedelta(seconds=clock.monotonic() - start), monotonic=clock.monotonic
        )
        self.files = KeyFiles()
        account = Account(name="otc", clock=clock, log=structlog.get_logger())
        self.signer = Signer(self.files, account=account, clock=clock, log=structlog.get_logger())
        self._logins: dict[str, AkskLogin] = {}
        self.errors: list[CloudError] = []
        self.timeouts: dict[str, int] = {}
        self.answered: set[str] = set()

    async def poll(self, project: str) -> CloudError | None:
        login = self._logins.setdefault(project, AkskLogin(self.signer, project_id=project))
        url = URL(f"https://gaussdb.example/v3/{project}/tasks?limit=100&offset=0", encoded=True)
        try:
            async with asyncio.timeout(self._deadline):
                await login.send(Request(url=url), self.gateway.serve)
            self.answered.add(project)
        except CloudError as error:
            self.errors.append(error)
            return error
        except TimeoutError:
            self.timeouts[project] = self.timeouts.get(project, 0) + 1
        return None

    async def watch(self, project: str, *, every: float, seconds: float) -> None:
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            await self.poll(project)
            await asyncio.sleep(every)

    def watch_all(self, projects: int, *, every: float, seconds: float) -> Coroutine[None, None, None]:
        async def all_of_them() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(projects):
                    group.create_task(self.watch(f"p{number}", every=every, seconds=seconds))

        return all_of_them()


@in_virtual_time
async def test_a_wrong_key_is_never_locked_over_a_day() -> None:
    credential = Credential(virtual_clock())
    credential.files.write("AK-WRONG")
    await credential.watch_all(50, every=60.0, seconds=DAY)
    assert credential.gateway.locks == 0
    assert len(credential.gateway.refused) <= DAY / 600 + 4


@in_virtual_time
async def test_a_key_that_is_revoked_under_load_is_never_locked() -> None:
    credential = Credential(virtual_clock())
    polls = asyncio.create_task(credential.watch_all(30, every=10.0, seconds=2 * 3600))
    await asyncio.sleep(1000)
    credential.gateway.accepted = "AK-SECOND"
    await polls
    assert credential.gateway.locks == 0


@pytest.mark.parametrize("seconds", [0.3, 4.0, 8.0, 30.0])
def test_a_wrong_key_is_never_locked_however_slowly_it_is_refused(seconds: float) -> None:
    @in_virtual_time
    async def scenario() -> None:
        credential = Credential(virtual_clock(), deadline=100.0)
        credential.gateway.seconds = seconds
        credential.files.write("AK-WRONG")
        await credential.watch_all(30, every=15.0, seconds=DAY / 4)
        assert credential.gateway.locks == 0
        credential.files.write("AK-FIRST")
        await credential.watch_all(30, every=15.0, seconds=900)
        assert len(credential.answered) == 30

    scenario()


@pytest.mark.parametrize("seconds", [0.3, 4.0, 8.0, 30.0])
def test_a_key_that_is_revoked_under_load_is_never_locked_however_slowly_it_is_refused(
    seconds: float,
) -> None:
    @in_virtual_time
    async def scenario() -> None:
        credential = Credential(virtual_clock(), deadline=100.0)
        polls = asyncio.create_task(credential.watch_all(30, every=15.0, seconds=3600))
        await asyncio.sleep(1000)
        credential.gateway.accepted = "AK-SECOND"
        credential.gateway.seconds = seconds
        await polls
        assert credential.gateway.locks == 0

    scenario()


@in_virtual_time
async def test_until_one_is_accepted_requests_go_out_one_at_a_time_and_then_a_few_at_once() -> None:
    credential = Credential(virtual_clock())
    credential.files.write("AK-WRONG")
    await asyncio.gather(*(credential.poll(f"p{number}") for number in range(50)))
    assert credential.gateway.most_in_flight == 1
    credential.files.write("AK-FIRST")
    await asyncio.gather(*(credential.poll(f"p{number}") for number in range(50)))
    assert credential.gateway.most_in_flight == 3
    assert credential.gateway.served == 50


@in_virtual_time
async def test_keys_that_rotate_every_quarter_of_an_hour_lose_no_poll() -> None:
    credential = Credential(virtual_clock())
    polls = asyncio.create_task(credential.watch_all(10, every=15.0, seconds=DAY / 4))
    for number in range(20):
        await asyncio.sleep(900)
        credential.gateway.accepted = f"AK-{number}"
        credential.files.write(f"AK-{number}")
    await polls
    assert credential.errors == []


@in_virtual_time
async def test_a_changed_key_is_tried_with_the_next_poll() -> None:
    credential = Credential(virtual_clock())
    credential.files.write("AK-WRONG")
    await credential.watch_all(5, every=15.0, seconds=100)
    credential.files.write("AK-FIRST")
    assert await credential.poll("p0") is None
    assert await credential.poll("p1") is None


def test_a_host_whose_clock_is_an_hour_off_goes_on_by_the_clouds_and_says_so() -> None:
    @in_virtual_time
    async def scenario() -> None:
        credential = Credential(clock := virtual_clock())
        clock.jump(3600)
        await credential.watch_all(10, every=15.0, seconds=7200)
        assert credential.errors == []
        assert len(credential.gateway.refused) == 1
        clock.jump(-3600)  # somebody set it right
        await credential.watch_all(10, every=15.0, seconds=7200)
        assert credential.errors == []
        assert len(credential.gateway.refused) == 1

    with capture_logs() as lines:
        scenario()
    (line,) = [line for line in lines if line["log_level"] == "warning"]
    assert line["event"] == "clock_found_wrong"
    assert (
        line["error"] == "this host's clock is 3600 s ahead of the cloud's, whose time is used; set it (NTP)"
    )


@in_virtual_time
async def test_a_clock_that_goes_wrong_under_load_locks_no_key_and_loses_no_poll() -> None:
    credential = Credential(clock := virtual_clock())
    polls = asyncio.create_task(credential.watch_all(50, every=5.0, seconds=3600))
    await asyncio.sleep(1000)
    clock.jump(-7200)
    await polls
    assert credential.errors == []
    assert credential.gateway.locks == 0


@in_virtual_time
async def test_projects_behind_which_nothing_answers_hold_up_no_other() -> None:
    credential = Credential(virtual_clock())
    assert await credential.poll("p4") is None
    credential.gateway.hanging = {"p0", "p1", "p2", "p3"}
    await credential.watch_all(20, every=15.0, seconds=3600)
    assert set(credential.timeouts) == {"p0", "p1", "p2", "p3"}
    assert credential.gateway.served >= 16 * 3600 / 15 * 0.85


@in_virtual_time
async def test_a_key_that_nothing_answers_first_is_proven_by_the_projects_that_are_answered() -> None:
    credential = Credential(virtual_clock())
    credential.gateway.hanging = {"p0", "p1", "p2", "p3"}
    await credential.watch_all(20, every=15.0, seconds=5 * (20 + 15))  # in step: the worst case
    assert credential.answered == {f"p{number}" for number in range(4, 20)}


@in_virtual_time
async def test_a_project_of_somebody_else_stops_no_other() -> None:
    credential = Credential(virtual_clock())
    credential.gateway.foreign = {"p3"}
    await credential.watch_all(20, every=15.0, seconds=3600)
    assert credential.gateway.locks == 0
    assert credential.gateway.served >= 19 * 3600 / 15 * 0.95


@in_virtual_time
async def test_a_poll_that_gives_up_leaves_its_place_to_the_next() -> None:
    credential = Credential(virtual_clock())
    polls = [asyncio.create_task(credential.poll("p")) for _ in range(10)]
    await asyncio.sleep(0.05)
    for poll in polls:
        poll.cancel()
    await asyncio.wait(polls)
    assert await credential.poll("p") is None
    assert credential.gateway.in_flight == 0


@in_virtual_time
async def test_the_error_names_the_credential_the_host_and_the_next_try() -> None:
    credential = Credential(virtual_clock())
    credential.files.write("AK-WRONG")
    error = await credential.poll("p")
    assert str(error) == (
        "credential otc: gaussdb.example answered 401 verify aksk signature fail"
        " (next try in 60 s, or as soon as what it logs in with changes)"
    )
    assert "canary" not in repr(credential.files.keys)
