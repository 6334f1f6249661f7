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
        routes=everything_to("hook"),
        clock=clock,
        told=lambda _: None,
    )
    return Watch(poller=poller, clock=clock, log=quiet_log())


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
