"""The example of Alertmanager's own configuration: it is one, whatever taskwatch sends has its receiver there, and texts."""

import asyncio
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from taskwatch.clock import SystemClock
from taskwatch.core.outage_events import Word, outage_event
from taskwatch.model.alert import OPENING
from taskwatch.model.delivery import Message
from taskwatch.model.event import EventType, Severity
from taskwatch.model.outage import Kind, Place
from taskwatch.model.project import Project
from taskwatch.notifiers.alertmanager import AlertmanagerOptions, open_notifier
from tests.fakes.alert_book import AlertBookInMemory
from tests.fakes.builders import a_project, quiet_log
from tests.fakes.commands import ROOT
from tests.fakes.real_alertmanager import PROGRAM, RealAlertmanager

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(PROGRAM is None, reason="needs Alertmanager: apt install prometheus-alertmanager"),
]

EXAMPLE: Final = ROOT / "config" / "alertmanager.yml"
NAMES: Final = {
    "".join(word.capitalize() for word in re.split("[._]", type_))
    for type_ in OPENING | {EventType.RECEIVER_TEST}
}
CALLED: Final = {("TaskwatchTaskFailed", "critical")}
OF_ITSELF: Final = {"TaskwatchProjectDegraded", "TaskwatchReceiverDown", "TaskwatchReceiverTest"}


def amtool(*arguments: str) -> str:
    ran = subprocess.run(["amtool", *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.strip()


def receiver_of(**labels: str) -> str:
    told = [f"{name}={text}" for name, text in labels.items()]
    return amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *told)


def test_it_is_accepted() -> None:
    assert "SUCCESS" in amtool("check-config", str(EXAMPLE))


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("name", sorted(NAMES))
def test_whatever_taskwatch_sends_goes_to_whoever_it_is_for(name: str, severity: Severity) -> None:
    expected = "watchers" if name in OF_ITSELF else "on-call" if (name, severity) in CALLED else "dba"
    assert receiver_of(alertname=name, severity=severity, project="prod") == expected


def test_what_others_send_goes_elsewhere() -> None:
    assert receiver_of(alertname="HostIsDown", severity="critical") == "others"


def test_it_says_of_each_alert_that_there_is_one() -> None:
    said = {
        line.split()[1]
        for line in EXAMPLE.read_text("utf-8").splitlines()
        if line.startswith("#   Taskwatch")
    }
    assert said == NAMES


def _texts(receiver: dict[str, Any]) -> list[str]:
    """Return what a receiver would fill in."""
    found: list[str] = []
    waiting: list[object] = [receiver]
    while waiting:
        match waiting.pop():
            case dict(one):
                waiting += one.values()
            case list(one):
                waiting += one
            case str(one) if "{{" in one:
                found.append(one)
    return found


def test_its_texts_can_be_filled_in(tmp_path: Path) -> None:
    (tmp_path / "none.tmpl").touch()
    texts = [text for one in yaml.safe_load(EXAMPLE.read_text("utf-8"))["receivers"] for text in _texts(one)]
    assert len(texts) >= 4
    for text in texts:
        made = amtool(
            "template", "render", f"--template.glob={tmp_path / 'none.tmpl'}", f"--template.text={text}"
        )
        assert "{{" not in made


def an_outage(severity: Severity, *projects: Project, sequence: int, place: Place) -> Message:
    word = Word(
        type=EventType.PROJECT_DEGRADED,
        place=place,
        projects=projects,
        severity=severity,
        cause="network",
        error="cannot be reached",
        since=datetime.now(UTC),
    )
    event = outage_event(word, sequence=sequence, at=datetime.now(UTC))
    return Message(event_id=event.id, body=event.body)


async def test_the_warning_of_an_outage_is_passed_over_once_the_same_one_is_critical(tmp_path: Path) -> None:
    prod, other = a_project("prod"), a_project("other", project_id="7")
    host, project = Place(Kind.HOST, "gaussdb.example"), Place(Kind.PROJECT, "prod")
    async with RealAlertmanager(tmp_path / "am", hook="http://127.0.0.1:9/") as manager:
        await manager.kill()
        (manager.directory / "alertmanager.yml").write_bytes(EXAMPLE.read_bytes())
        await manager.start()  # and killed before any group_wait is over: nobody is told
        book = AlertBookInMemory()
        options = AlertmanagerOptions.model_validate(
            {"name": "am", "type": "alertmanager", "urls": [manager.url]}
        )
        notifier = open_notifier(options, clock=SystemClock(), log=quiet_log(), alerts=book)
        for severity, sequence in ((Severity.WARNING, 1), (Severity.CRITICAL, 2)):
            await notifier.notify(book.open(an_outage(severity, prod, sequence=sequence, place=project)))
            await notifier.notify(book.open(an_outage(severity, prod, other, sequence=sequence, place=host)))
        alone = Place(Kind.PROJECT, "other")
        await notifier.notify(book.open(an_outage(Severity.WARNING, other, sequence=1, place=alone)))
        await notifier.close()
        await _fire(manager, {("prod", "critical"), ("gaussdb.example", "critical"), ("other", "warning")})


async def _fire(manager: RealAlertmanager, expected: set[tuple[str, str]]) -> None:
    """Wait until these fire there, by what they are about, and nothing else."""
    firing: set[tuple[str, str]] = set()
    for _ in range(50):
        labels = [alert["labels"] for alert in await manager.alerts()]
        firing = {(one.get("project") or one["host"], one["severity"]) for one in labels}
        if firing == expected:
            break
        await asyncio.sleep(0.1)
    assert firing == expected
