"""What waits its turn says for what; ids of messages, as logs and mail have them, are known for what they are."""

import json

import pytest

from taskwatch.core.route import Hop
from taskwatch.engine.ports import Bound
from taskwatch.model.delivery import Dead, DeliveryId, Reason
from taskwatch.model.event import EventId
from taskwatch.model.task import COMPLETED, FAILED
from tests.fakes.builders import a_task, at
from tests.unit.test_cli_told import (  # noqa: F401  (after is a fixture)
    FAILURE,
    GROUP,
    HOOK,
    MAIL,
    After,
    Scene,
    after,
    an_event,
    page,
    shown,
)

OTHER_TASK = a_task("job-2", FAILED)
OTHER = an_event(OTHER_TASK)
END = an_event(a_task("job-1", COMPLETED), from_status=FAILED)
MESSAGE = EventId("tw_zmessage")


async def one_fails_and_another_waits(scene: Scene) -> None:
    await scene.tells(HOOK)
    await scene.fails(1, 62, 64)
    await scene.tells(HOOK, event=OTHER, task=OTHER_TASK)


def test_what_was_never_tried_says_that_its_receiver_fails_since_when_and_with_what(after: After) -> None:  # noqa: F811
    run = after(one_fails_and_another_waits)

    assert (
        "waits hook has been failing since 2026-11-23 11:02:00Z, last 2026-11-23 11:04:00Z server_error: "
        "hook.example answered 503; until it works again it is tried with one at a time"
    ) in page(run, OTHER)
    assert shown(run, OTHER)["deliveries"][0]["receiver_failing"] == {
        "since": "2026-11-23T11:02:00Z",
        "last_at": "2026-11-23T11:04:00Z",
        "reason": "server_error",
        "detail": "hook.example answered 503",
    }
    assert "has been failing" not in page(run), "its own attempts say it"


def test_what_waits_for_a_receiver_that_is_paused_says_what_ends_that(after: After) -> None:  # noqa: F811
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)
        await scene.fails(1, 62, reason=Reason.GONE)
        await scene.tells(HOOK, event=OTHER, task=OTHER_TASK)

    told = page(after(happens), OTHER)

    assert "it is tried no more until a reload, or taskwatch receiver test hook" in told
    assert "one at a time" not in told


def test_where_the_receiver_works_nothing_is_said_of_it(after: After) -> None:  # noqa: F811
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK, event=OTHER, task=OTHER_TASK)
        await scene.tells(Hop(receiver="other", path="route"))
        await scene.fails(2, 62)

    assert "waits" not in page(after(happens), OTHER)


def test_what_comes_behind_an_earlier_event_of_its_task_says_so(after: After) -> None:  # noqa: F811
    async def happens(scene: Scene) -> None:
        await scene.tells(HOOK)
        await scene.tells(HOOK, event=END)
        await scene.tells(HOOK, event=OTHER, task=OTHER_TASK)

    run = after(happens)

    assert f"waits for {FAILURE.id}, an earlier event of the same task, to be told first" in page(run, END)
    assert shown(run, END)["deliveries"][0]["behind"] == FAILURE.id
    assert "waits" not in page(run, OTHER)
    assert "waits" not in page(run)


async def a_message_tells_two(scene: Scene) -> None:
    await scene.tells(MAIL)
    await scene.tells(MAIL, event=OTHER, task=OTHER_TASK)
    deliveries = (DeliveryId(1), DeliveryId(2))
    await scene.store.post.bind(
        Bound(
            event_id=MESSAGE, receiver="mail", groups=(GROUP,), at=at(62), body=b"{}", deliveries=deliveries
        )
    )


@pytest.mark.parametrize("written", [MESSAGE, "tw_zmess", f"<{MESSAGE}@b.example>"])
def test_the_id_of_a_message_says_which_events_it_tells(written: str, after: After) -> None:  # noqa: F811
    ended = after(a_message_tells_two)("explain", written)

    assert ended.code == 1
    assert f"{MESSAGE} is a message to mail that tells 2 events, " in ended.err
    assert ended.err.endswith(": explain one of them\n")
    assert {FAILURE.id[:10], OTHER.id[:10]} <= set(ended.err.replace(",", " ").replace(":", " ").split())


def test_a_message_that_is_sent_again_is_all_of_its_events(after: After) -> None:  # noqa: F811
    async def happens(scene: Scene) -> None:
        await a_message_tells_two(scene)
        end = Dead(reason=Reason.REJECTED, detail="no", why="poison", poisoned=10, tried_seconds=1.0)
        await scene.store.post.record(DeliveryId(1), end, at(63))

    run = after(happens)

    assert run("deliveries", "replay", MESSAGE).out == "2 deliveries queued again\n"
    states = [json.loads(line)["state"] for line in run("deliveries", "--json").out.splitlines()]
    assert states == ["pending", "pending"]


def test_a_message_whose_events_are_forgotten_says_so(after: After) -> None:  # noqa: F811
    async def happens(scene: Scene) -> None:
        await scene.store.post.bind(
            Bound(event_id=MESSAGE, receiver="mail", groups=(GROUP,), at=at(62), body=b"{}")
        )

    run = after(happens)

    for command in (("explain", MESSAGE), ("deliveries", "replay", MESSAGE)):
        assert f"{MESSAGE} is a message to mail whose events are not on record any more" in run(*command).err
