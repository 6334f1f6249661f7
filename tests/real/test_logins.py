"""Secrets that change under a running daemon with many projects: nobody is locked, nothing is lost or told falsely."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes.commands import until
from tests.fakes.daemon import Daemon
from tests.fakes.simulated import Simulated, be_alone, simulated

pytestmark = pytest.mark.real

PROJECTS: Final = 20


@pytest.fixture
async def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Simulated]:
    be_alone(monkeypatch, tmp_path)
    async with simulated(tmp_path, "--projects", str(PROJECTS)) as cloud:
        yield cloud


def keep(directory: Path, **secrets: str) -> None:
    """Keep secrets in files, each replaced at once."""
    for name, secret in secrets.items():
        new = directory / f"{name}.new"
        new.write_text(secret)
        new.chmod(0o600)
        new.rename(directory / name)


@asynccontextmanager
async def watching(cloud: Simulated, directory: Path, **credential: object) -> AsyncIterator[Daemon]:
    """Watch all projects until the block ends; the first poll of each is over when it begins."""
    projects = cloud.accounts["projects"][:PROJECTS]
    file = directory / "taskwatch.yaml"
    document = {
        "log": {"format": "json"},
        "credentials": {"otc": {"auth_url": cloud.auth_url, "rate": "1000/s", **credential}},
        "defaults": {"interval": "200ms", "endpoint": cloud.url},
        "projects": [{"name": one["name"], "project_id": one["id"]} for one in projects],
    }
    file.write_text(json.dumps(document))
    async with Daemon(file, directory / "log") as daemon:
        await until(lambda: len(told(daemon, "project.baseline")) == PROJECTS, "polls", said=daemon.said)
        yield daemon
    assert "Traceback" not in daemon.said()
    assert not [canary for canary in cloud.canaries if canary in daemon.said()], "a secret in the log"


def lines(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in daemon.said().splitlines() if line.endswith("}")]
    return [line for line in found if line["event"] == event]


def told(daemon: Daemon, kind: str) -> list[str]:
    return [line["subject"] for line in lines(daemon, f"taskwatch.{kind}")]


async def nobody_is_locked(cloud: Simulated) -> None:
    counters = await cloud.counters()
    assert (counters["accounts_locked"], counters["keys_locked"]) == ({}, {})


def by_password(cloud: Simulated) -> dict[str, object]:
    user = cloud.accounts["user"]
    named = {"username": user["username"], "user_domain_name": user["domain_name"]}
    return {"type": "password", "password": {"file": "password"}, **named}


async def a_failure_is_told(cloud: Simulated, daemon: Daemon, known: list[str]) -> None:
    """Let one more task fail: it is told, once, and nothing else was."""
    known.append(await cloud.let_fail())
    await until(lambda: known[-1] in told(daemon, "task.failed"), "the failure", said=daemon.said)
    assert told(daemon, "task.failed") == known


async def test_a_rotated_password_is_one_warning_few_tries_and_recovery_when_the_file_changes(
    cloud: Simulated, tmp_path: Path
) -> None:
    keep(tmp_path, password=cloud.accounts["user"]["password"])
    async with watching(cloud, tmp_path, **by_password(cloud)) as daemon:
        failed: list[str] = []
        await a_failure_is_told(cloud, daemon, failed)
        granted = sum((await cloud.counters())["logins_granted"].values())
        await cloud.set_password("rotated-at-noon")
        await until(lambda: lines(daemon, "login_refused") != [], "the refusal", said=daemon.said)
        await asyncio.sleep(1)  # five polls of each project
        failed.append(await cloud.let_fail())  # nobody can see it yet
        refused = sum((await cloud.counters())["logins_refused"].values())
        assert refused == 2  # the first is taken for its project's, the second for the credential's
        keep(tmp_path, password="rotated-at-noon")
        await until(lambda: lines(daemon, "logged_in_again") != [], "recovery", said=daemon.said)
        await asyncio.sleep(1)  # five polls of each project
        await until(
            lambda: failed[-1] in told(daemon, "task.failed"), "what happened meanwhile", said=daemon.said
        )
        counters = await cloud.counters()
        assert len(lines(daemon, "login_refused")) == 1
        assert len(lines(daemon, "logged_in_again")) == 1
        assert sum(counters["logins_refused"].values()) == refused
        assert sum(counters["logins_granted"].values()) == granted + PROJECTS
        assert told(daemon, "task.failed") == failed
        await nobody_is_locked(cloud)


async def test_revoked_tokens_are_one_login_a_project_and_nobody_is_told(
    cloud: Simulated, tmp_path: Path
) -> None:
    keep(tmp_path, password=cloud.accounts["user"]["password"])
    async with watching(cloud, tmp_path, **by_password(cloud)) as daemon:
        failed: list[str] = []
        await a_failure_is_told(cloud, daemon, failed)
        await cloud.ask("DELETE", "accounts/tokens")
        asked = (await cloud.counters())["requests"]["tasks"]
        counters: dict[str, Any] = {}
        while counters.get("requests", {}).get("tasks", 0) < asked + 5 * PROJECTS:
            counters = await cloud.counters()
        await a_failure_is_told(cloud, daemon, failed)
        assert sum((await cloud.counters())["logins_granted"].values()) == 2 * PROJECTS
        warnings = [one for one in daemon.said().splitlines() if '"level": "warning"' in one]
        assert warnings == []


async def test_a_changed_key_is_read_from_its_files_and_the_pair_is_never_locked(
    cloud: Simulated, tmp_path: Path
) -> None:
    keys = cloud.accounts["keys"]
    keep(tmp_path, access=keys["access_key"], secret=keys["secret_key"])
    credential = {"type": "aksk", "access_key": {"file": "access"}, "secret_key": {"file": "secret"}}
    async with watching(cloud, tmp_path, **credential) as daemon:
        failed: list[str] = []
        await a_failure_is_told(cloud, daemon, failed)
        keys = (await cloud.ask("POST", "accounts/keys"))["keys"]
        cloud.canaries.add(keys["secret_key"])
        await until(lambda: lines(daemon, "login_refused") != [], "the refusal", said=daemon.said)
        await asyncio.sleep(1)  # five polls of each project
        failed.append(await cloud.let_fail())
        keep(tmp_path, access=keys["access_key"], secret=keys["secret_key"])
        await until(
            lambda: failed[-1] in told(daemon, "task.failed"), "what happened meanwhile", said=daemon.said
        )
        assert told(daemon, "task.failed") == failed
        assert len(lines(daemon, "login_refused")) == 1
        counters = await cloud.counters()
        # As many as were in flight when it changed, and one more that was tried; six lock a key.
        assert 1 <= sum(counters["signatures_refused"].values()) <= 5
        await nobody_is_locked(cloud)
