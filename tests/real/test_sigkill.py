"""SIGKILL at random under load, with receivers that fail, time out after accepting and lose acknowledgements."""

import asyncio
import os
import random
import shutil
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

import taskwatch
from tests.fakes.commands import until
from tests.fakes.kill_scene import Scene, a_row, chaos
from tests.fakes.watched import pid_of, watched
from tests.fakes.webhook_sink import accept
from tests.planted.patch import PLACE, read

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]

KILLS = int(os.environ.get("TASKWATCH_KILLS", "30"))
SEED = int(os.environ.get("TASKWATCH_SEED", "1"))


async def test_after_random_kills_under_load_nothing_is_lost_nothing_false_and_order_is_kept(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as stack:
        scene = Scene(tmp_path, random.Random(SEED))
        daemon = await chaos(scene, stack, kills=KILLS)

        assert await scene.settled() == [], (
            f"TASKWATCH_SEED={SEED} TASKWATCH_KILLS={KILLS}\n{daemon.said()[-3000:]}"
        )
        assert len(scene.sinks["good"].accepted) > 3 * KILLS, (
            "too little happened for this test to mean anything"
        )

        # And the daemon still works: a fresh change arrives everywhere.
        scene.cloud.rows.insert(0, a_row("fresh", "Failed"))
        await until(
            lambda: all(
                any(post.event["subject"] == "fresh" for post in sink.accepted)
                for sink in scene.sinks.values()
            ),
            "a fresh change at every receiver",
            seconds=10.0,
        )


async def test_a_kill_between_a_2xx_and_its_record_makes_one_copy_of_the_same_id_and_bytes(
    tmp_path: Path,
) -> None:
    async with watched(tmp_path) as place:
        place.begin("job")
        place.configure()
        async with place.daemon() as daemon:
            await place.baseline(daemon)

            async def take_and_kill(_: web.Request) -> web.StreamResponse:
                os.kill(pid_of(daemon), signal.SIGSTOP)  # what it is answered from now on it never reads
                return web.Response(status=204)

            place.sink.choose = lambda: take_and_kill
            place.end("job")
            await until(lambda: len(place.sink.posts) == 2, "the failure", said=daemon.said)
            await asyncio.sleep(0.2)  # the answer is on its way
            await daemon.kill()
        place.sink.choose = lambda: accept
        async with place.daemon() as daemon:
            await place.told(daemon)
            await asyncio.sleep(1.0)
        _, first, second = place.sink.posts
        assert (first.id, first.body) == (second.id, second.body)


async def test_the_oracle_goes_red_when_the_acknowledgement_is_written_before_the_send(
    tmp_path: Path,
) -> None:
    package = tmp_path / "planted"
    shutil.copytree(Path(taskwatch.__file__).parent, package / "taskwatch")
    read(PLACE / "acknowledge_before_send.patch").plant(package)

    async with AsyncExitStack() as stack:
        scene = Scene(tmp_path, random.Random(SEED))
        await chaos(scene, stack, kills=4, package=package)
        await asyncio.sleep(3)  # more than any retry takes

        assert any("lost" in violation or "last told" in violation for violation in scene.violations())
