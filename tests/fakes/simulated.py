"""`taskwatch simulate` as a process, steered over its own port, and the environments that log in to it."""

import asyncio
import json
import os
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.commands import listening

DOMAIN = "OTC00000000001000000001"


@dataclass
class Simulated:
    """A simulated cloud. What it holds of secrets is kept in `canaries`."""

    url: str
    accounts: dict[str, Any] = field(default_factory=dict)
    canaries: set[str] = field(default_factory=set)

    @property
    def auth_url(self) -> str:
        return f"{self.url}/v3"

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Steer it, or look at it."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_simulator/{path}", data, method=method)  # noqa: S310  (loopback)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        answer = await asyncio.to_thread(lambda: opener.open(request, timeout=10).read())
        found: dict[str, Any] = json.loads(answer)
        return found

    async def counters(self) -> dict[str, Any]:
        return await self.ask("GET", "counters")

    async def let_fail(self, **about: object) -> str:
        """Let a task fail within a moment; return its id."""
        started = await self.ask("POST", "tasks", {"outcome": "Failed", "seconds": 0.05, **about})
        return str(started["task"]["job_id"])

    async def set_password(self, password: str) -> None:
        await self.ask("PATCH", "accounts", {"password": password})
        self.canaries.add(password)

    async def token(self, project: str) -> str:
        """Return a token for a project, as a person would get one."""
        user = self.accounts["user"]
        who = {
            "name": user["username"],
            "password": user["password"],
            "domain": {"name": user["domain_name"]},
        }
        identity = {"methods": ["password"], "password": {"user": who}}
        body = json.dumps({"auth": {"identity": identity, "scope": {"project": {"name": project}}}}).encode()
        request = urllib.request.Request(f"{self.auth_url}/auth/tokens?nocatalog=1", body)  # noqa: S310  (loopback)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        answer = await asyncio.to_thread(opener.open, request, None, 10)
        token = str(answer.headers["X-Subject-Token"])
        answer.close()
        self.canaries.add(token)
        return token


@asynccontextmanager
async def simulated(directory: Path, *options: str) -> AsyncIterator[Simulated]:
    """Keep a simulated cloud running in which nothing happens by itself."""
    arguments = ("simulate", "--listen", "127.0.0.1:0", "--tasks-per-day", "0", *options)
    async with listening("-m", "taskwatch", *arguments, cwd=directory) as url:
        cloud = Simulated(url)
        cloud.accounts = await cloud.ask("GET", "accounts")
        cloud.canaries = {cloud.accounts["user"]["password"], cloud.accounts["keys"]["secret_key"]}
        yield cloud


def login_variables(cloud: Simulated, *, user: str = "user") -> dict[str, str]:
    """Return the environment of a person who logs in with a password."""
    who = cloud.accounts[user]
    return {
        "OS_AUTH_URL": cloud.auth_url,
        "OS_USERNAME": who["username"],
        "OS_PASSWORD": who["password"],
        "OS_USER_DOMAIN_NAME": who["domain_name"],
    }


def be_alone(environment: pytest.MonkeyPatch, directory: Path) -> None:
    """Let the environment say nothing of logins, and have a home and a store of its own in the directory."""
    for name in list(os.environ):
        if name.startswith(("OS_", "S3_", "TASKWATCH_")):
            environment.delenv(name)
    for name, place in {
        "HOME": "home",
        "XDG_CONFIG_HOME": "home/.config",
        "STATE_DIRECTORY": "state",
    }.items():
        (directory / place).mkdir(exist_ok=True)
        environment.setenv(name, str(directory / place))
    # openstacksdk settles where it looks when it is imported: in the directory and the home of whichever test came first.
    for files in ("CONFIG_FILES", "SECURE_FILES", "VENDOR_FILES"):
        environment.setattr(f"openstack.config.loader.{files}", [])
