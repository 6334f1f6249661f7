"""Projects given by name, with the real credentials: one that IAM does not let in holds up no other and locks nothing."""

import asyncio
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import structlog

from taskwatch.app.clouds import Clouds
from taskwatch.cloud.errors import Asked
from taskwatch.cloud.transport import Answer, Request, Transport
from taskwatch.config.configuration import Config
from taskwatch.config.load import load
from taskwatch.errors import CloudCause, CloudError
from taskwatch.notifiers.registry import kinds
from taskwatch.runtime.naming import AGAIN_SECONDS, Naming
from tests.fakes.virtual_time import VirtualClock, in_virtual_time, virtual_clock

PROJECTS: Final = {"eu-de_good": "1" * 32, "eu-de_later": "2" * 32}
RIGHT: Final = "right"
QUARTER: Final = 900.0  # seconds in which five refusals lock an account
GOOD, LATER, TYPO = (f"{{name: {name}, project: eu-de_{name}}}" for name in ("good", "later", "typo"))


class Network:
    """IAM in the place of the network: to a name that it does not know it answers as to a wrong password."""

    proxy = None

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self.ids = dict(PROJECTS)
        self.refused_at: list[float] = []

    async def send(self, request: Request, _: Mapping[str, str], asked: Asked) -> Answer:
        assert asked.host == "iam.example"
        if request.body is None:
            return Answer(body=b'{"projects": []}', headers={})
        auth = json.loads(request.body)["auth"]
        name = auth["scope"].get("project", {}).get("name")
        is_right = auth["identity"]["password"]["user"]["password"] == RIGHT
        if not is_right or (name is not None and name not in self.ids):
            self.refused_at.append(self._clock.monotonic())
            raise CloudError(CloudCause.LOGIN, "401", http_status=401)
        token = {
            "issued_at": "2026-11-23T10:00:00Z",
            "expires_at": "2026-11-24T10:00:00Z",
            "project": {"id": self.ids.get(name or "")},
        }
        headers = {"X-Subject-Token": f"token-{next(self._numbers)}"}
        return Answer(body=json.dumps({"token": token}).encode(), headers=headers)

    @property
    def most_refusals_in_a_quarter(self) -> int:
        return max(
            (sum(at <= other < at + QUARTER for other in self.refused_at) for at in self.refused_at),
            default=0,
        )


class Scene:
    """The credentials of a configuration, and the naming that asks with them."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "taskwatch.yaml"
        clock = virtual_clock()
        log = structlog.get_logger()
        self.network = Network(clock)
        self.clouds = Clouds(session=cast("Any", None), clock=clock, log=log)
        transport = cast("Transport", self.network)
        self.clouds.transport = lambda _: transport  # type: ignore[method-assign,assignment]  # there is no network here
        self.naming = Naming(ask=self.clouds.project_id, log=log)

    def configured(self, *projects: str, password: str = RIGHT, domain: str = "d") -> Config:
        self._file.write_text(f"""
credentials:
  otc: {{type: password, auth_url: "https://iam.example/v3", username: u, user_domain_name: {domain}, password: {password}}}
defaults: {{endpoint: "https://gaussdb.example"}}
projects: [{", ".join(projects)}]
""")
        return self.naming.known(load(self._file, kinds()))

    async def asked(self, config: Config, *, seconds: float) -> Config:
        """Ask as the daemon does, for so long."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            if config.named and await self.naming.learn(config):
                config = self.naming.known(config)
            await asyncio.sleep(AGAIN_SECONDS)
        return config


def names(config: Config) -> set[str]:
    return {project.name for project in config.projects}


def test_a_mistyped_name_holds_up_no_other_of_its_credential(tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        scene = Scene(tmp_path)
        config = await scene.asked(scene.configured(TYPO), seconds=100)
        assert names(config) == set()
        config = await scene.asked(scene.configured(TYPO, GOOD, LATER), seconds=2 * AGAIN_SECONDS)
        assert names(config) == {"good", "later"}
        await scene.asked(config, seconds=6 * 3600)
        assert scene.network.most_refusals_in_a_quarter < 5

    scenario()


def test_a_name_that_comes_to_exist_is_found_although_it_was_refused(tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        scene = Scene(tmp_path)
        config = await scene.asked(scene.configured(TYPO), seconds=3600)
        scene.network.ids["eu-de_typo"] = "3" * 32
        assert names(await scene.asked(config, seconds=QUARTER)) == {"typo"}

    scenario()


def test_three_reloads_with_three_wrong_passwords_lock_no_account(tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        scene = Scene(tmp_path)
        for number in range(6):
            config = scene.configured(GOOD, LATER, password=f"wrong-{number}")
            await scene.clouds.settle(config)
            await scene.asked(config, seconds=2 * AGAIN_SECONDS)
        assert scene.network.most_refusals_in_a_quarter < 5
        config = await scene.asked(scene.configured(GOOD, LATER), seconds=QUARTER + 120)
        assert names(config) == {"good", "later"}

    scenario()


def test_an_id_that_another_account_has_said_is_forgotten(tmp_path: Path) -> None:
    @in_virtual_time
    async def scenario() -> None:
        scene = Scene(tmp_path)
        await scene.asked(scene.configured(GOOD), seconds=1)
        scene.network.ids["eu-de_good"] = "9" * 32
        config = await scene.asked(scene.configured(GOOD, domain="another"), seconds=1)
        assert [project.project.identity.project_id for project in config.projects] == ["9" * 32]

    scenario()
