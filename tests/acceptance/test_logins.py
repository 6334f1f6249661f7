"""Every login as an operator comes by it: `init`, `check`, `run` until a failure was told, and an end in order."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.fakes.commands import Ended, taskwatch, until
from tests.fakes.daemon import Daemon
from tests.fakes.simulated import DOMAIN, Simulated, be_alone, login_variables, simulated

SHOP: Final = "eu-de_shop-prod"


@dataclass
class Desk:
    """Where an operator sits: a directory, an environment, and all that was ever said there."""

    directory: Path
    cloud: Simulated
    environment: pytest.MonkeyPatch
    said: list[str] = field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.directory / "taskwatch.yaml"

    def export(self, **variables: str) -> None:
        for name, value in variables.items():
            self.environment.setenv(name, value)

    async def give(self, *command: str, code: int = 0) -> Ended:
        """Give a command, which ends with this code."""
        ended = await taskwatch(*command, cwd=self.directory)
        self.said += [ended.out, ended.err]
        assert ended.code == code, ended
        return ended

    def replace(self, old: str, new: str) -> None:
        """Change the configuration, where it says so once."""
        text = self.file.read_text()
        assert text.count(old) == 1, text
        self.file.write_text(text.replace(old, new))

    def leaks(self) -> list[str]:
        """Return the secrets that were said."""
        everything = "\n".join(self.said)
        return [canary[:4] for canary in self.cloud.canaries if canary in everything]


@pytest.fixture
async def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    be_alone(monkeypatch, tmp_path)
    async with simulated(tmp_path) as cloud:
        yield Desk(tmp_path, cloud, monkeypatch)


@asynccontextmanager
async def watching(desk: Desk) -> AsyncIterator[Daemon]:
    """Run the daemon until the block ends, and end it in order."""
    daemon = Daemon(desk.file, desk.directory / "log")
    async with daemon:
        await until(lambda: '"watching"' in daemon.said(), "the daemon's start", said=daemon.said)
        yield daemon
        code = await daemon.kill(signal.SIGTERM)
    desk.said.append(daemon.said())
    assert code == 0, daemon.said()
    assert "Traceback" not in daemon.said()
    assert '"stopped"' in daemon.said()


def failures(daemon: Daemon) -> list[str]:
    """Return the tasks whose failure was told."""
    lines = (json.loads(line) for line in daemon.said().splitlines())
    return [line["subject"] for line in lines if line["event"] == "taskwatch.task.failed"]


async def tells_a_failure(desk: Desk) -> None:
    """Check, run and look whether what happens in the cloud is told: the failure, once, and nothing else."""
    online = await desk.give("check", "--online")
    assert f"project {'shop' if 'name: shop,' in desk.file.read_text() else SHOP}: ok" in online.out
    async with watching(desk) as daemon:
        await desk.give("poll")  # the baseline
        failed = await desk.cloud.let_fail(project=SHOP.removeprefix("eu-de_"))
        await asyncio.sleep(0.1)
        await desk.give("poll")
        await until(lambda: failures(daemon) != [], "the failure", said=daemon.said)
        assert failures(daemon) == [failed]
    counters = await desk.cloud.counters()
    assert (counters["accounts_locked"], counters["keys_locked"], counters["logins_refused"]) == ({}, {}, {})
    assert desk.leaks() == []


# One for each login


async def by_password(desk: Desk) -> None:
    desk.export(**login_variables(desk.cloud))
    await desk.give("init")


async def by_a_token(desk: Desk) -> None:
    desk.export(OS_AUTH_URL=desk.cloud.auth_url, OS_TOKEN=await desk.cloud.token(SHOP))
    await desk.give("init")


async def by_a_key(desk: Desk) -> None:
    keys = desk.cloud.accounts["keys"]
    desk.export(OS_AUTH_URL=desk.cloud.auth_url, OS_ACCESS_KEY=keys["access_key"])
    desk.export(OS_SECRET_KEY=keys["secret_key"])
    await desk.give("init")


async def by_a_temporary_key(desk: Desk) -> None:
    keys = (await desk.cloud.ask("POST", "accounts/temporary-keys", {}))["keys"]
    desk.cloud.canaries |= {keys["secret_key"], keys["security_token"]}
    desk.export(OS_AUTH_URL=desk.cloud.auth_url, OS_ACCESS_KEY=keys["access_key"])
    desk.export(OS_SECRET_KEY=keys["secret_key"], OS_SECURITY_TOKEN=keys["security_token"])
    await desk.give("init")


async def by_an_agency(desk: Desk) -> None:
    """Log in as the agent, then follow the comments: the agency, which one counts, the project by its name."""
    desk.export(**login_variables(desk.cloud, user="agent"))
    await desk.give("init")
    desk.replace(
        "  #   NAME: {type: agency, via: NAME, domain_name: OTC…, agency_name: …}",
        f"  customer: {{type: agency, via: cloud, domain_name: {DOMAIN}, agency_name: taskwatch-readers}}",
    )
    desk.replace("\n  interval:", "\n  credential: customer\n  interval:")
    text = desk.file.read_text()
    desk.file.write_text(re.sub(r"  - \{name: eu-de, .*", f"  - {{name: shop, project: {SHOP}}}", text))


def entry(desk: Desk, body: Mapping[str, object]) -> None:
    place = desk.directory / "home" / ".config" / "openstack"
    place.mkdir(parents=True)
    (place / "clouds.yaml").write_text(json.dumps({"clouds": {"otc": body}}))


async def by_a_cloud_with_a_password(desk: Desk) -> None:
    user = desk.cloud.accounts["user"]
    names = {"username": user["username"], "user_domain_name": user["domain_name"], "project_name": SHOP}
    auth = {"auth_url": desk.cloud.auth_url, "password": user["password"], **names}
    entry(desk, {"auth": {**auth, "project_domain_name": user["domain_name"]}, "region_name": "eu-de"})
    await desk.give("init", "--cloud", "otc")


async def by_a_cloud_with_a_key(desk: Desk) -> None:
    keys = desk.cloud.accounts["keys"]
    entry(
        desk, {"auth": {"auth_url": desk.cloud.auth_url}, "ak": keys["access_key"], "sk": keys["secret_key"]}
    )
    await desk.give("init", "--cloud", "otc")


REAL: Final = pytest.mark.real  # seconds of processes each: `make test` has room for two of them


@pytest.mark.parametrize(
    "log_in",
    [
        by_password,
        pytest.param(by_a_token, marks=REAL),
        pytest.param(by_a_key, marks=REAL),
        pytest.param(by_a_temporary_key, marks=REAL),
        by_an_agency,
        pytest.param(by_a_cloud_with_a_password, marks=REAL),
        pytest.param(by_a_cloud_with_a_key, marks=REAL),
    ],
)
async def test_from_init_to_the_first_failure_that_is_told(
    desk: Desk, log_in: Callable[[Desk], Awaitable[None]]
) -> None:
    await log_in(desk)
    await tells_a_failure(desk)
