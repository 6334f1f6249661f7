"""What one pass over all projects prints, and how it ends."""

import pytest

from taskwatch.cli.poll import NOT_POLLED, _each
from taskwatch.engine.poller import Poller
from taskwatch.engine.watch import Watch
from taskwatch.errors import CloudCause, CloudError, StoreFailedError
from tests.fakes.builders import a_project, a_task, everything_to, quiet_log, some_rules
from tests.fakes.memory_store import Call, MemoryStore
from tests.fakes.records import StillClock
from tests.fakes.scripted_source import ScriptedSource

DENIED = CloudError(CloudCause.PERMISSION, "gaussdb.example denies it")


def a_watch(store: MemoryStore, name: str, source: ScriptedSource) -> Watch:
    clock = StillClock()
    poller = Poller(
        project=a_project(name, project_id=name),
        rules=some_rules(),
        source=source,
        ledger=store,
        routing=everything_to("hook"),
        clock=clock,
        told=lambda _: None,
    )
    return Watch(poller=poller, credential="c", clock=clock, log=quiet_log())


async def test_a_project_that_cannot_be_read_is_named_and_the_others_are_polled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = MemoryStore()
    watches = [
        a_watch(store, "prod", ScriptedSource.of(DENIED)),
        a_watch(store, "test", ScriptedSource.of([a_task()])),
    ]
    assert await _each(watches, True, commits=True) == NOT_POLLED == 3
    out, err = capsys.readouterr()
    assert err == "prod: gaussdb.example denies it\n"
    assert out.count("\n") == 1


async def test_a_store_that_fails_is_no_matter_of_a_project_and_ends_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = MemoryStore()
    store.fail(Call.COMMIT, 1)
    watches = [
        a_watch(store, "first", ScriptedSource.of([a_task()])),
        a_watch(store, "denied", ScriptedSource.of(DENIED)),
        a_watch(store, "last", ScriptedSource.of([a_task()])),
    ]
    with pytest.raises(StoreFailedError) as raised:
        await _each(watches, True, commits=True)
    assert raised.value.exit_code == 1
    assert store.projects[3].baseline_at is not None, "what was recorded of the others stays, and is shown"
    assert capsys.readouterr().out.count("\n") == 1


async def test_trouble_that_many_projects_share_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    store = MemoryStore()
    refused = [
        CloudError(CloudCause.LOGIN, "credential otc: refused", prospect=f"next try in {n} s")
        for n in range(20)
    ]
    watches = [a_watch(store, f"p{n}", ScriptedSource.of(error)) for n, error in enumerate(refused)]
    other = a_watch(store, "other", ScriptedSource.of(DENIED))
    assert await _each([*watches, other], False, commits=False) == NOT_POLLED
    assert capsys.readouterr().err == (
        "p0, p1, p2, p3, p4 and 15 more: credential otc: refused\nother: gaussdb.example denies it\n"
    )


async def test_what_would_be_told_of_projects_with_names_of_any_length_stands_in_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = MemoryStore()
    names = ("a", "a-longer-name")
    await _each([a_watch(store, name, ScriptedSource.of([a_task()])) for name in names], False, commits=False)
    lines = capsys.readouterr().out.splitlines()
    assert len({line.index("Watching ") for line in lines}) == 1
    assert len(lines) == len(names)
