"""Two daemons with two stores watch the same project: both tell, and receivers can drop the copies."""

import json
from collections import Counter
from pathlib import Path

from tests.fakes.commands import until
from tests.fakes.scene import Scene, watching
from tests.fakes.tasks_endpoint import TasksEndpoint, row
from tests.fakes.webhook_sink import WebhookSink


async def test_two_daemons_with_two_stores_both_tell_under_the_same_ids(tmp_path: Path) -> None:
    names = [f"job-{number}" for number in range(5)]
    async with TasksEndpoint() as cloud, WebhookSink() as sink:
        scenes = [Scene(tmp_path / name, cloud, sink, receivers={"hook": "/"}) for name in ("one", "two")]
        for scene in scenes:
            scene.directory.mkdir()
            scene.write()
        async with watching(scenes[0]), watching(scenes[1]):
            cloud.rows.extend(row(name, status="Running") for name in names)
            await until(lambda: len(sink.accepted) == 2 * (1 + len(names)), "both daemons, of the beginning")
            for one in cloud.rows:
                one.update(status="Failed", ended_at="2026-08-05T09:15:07+0800")
            await until(lambda: len(sink.accepted) == 2 * (1 + 2 * len(names)), "both daemons, of the end")
    assert set(Counter(post.id for post in sink.accepted).values()) == {2}
    told = {post.id: json.loads(post.body)["data"].get("transition", {}).get("to") for post in sink.accepted}
    assert Counter(told.values()) == {None: 1, "Running": 5, "Failed": 5}
