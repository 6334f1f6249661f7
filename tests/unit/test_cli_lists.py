"""What a command that lists something carries: it is typed by people, who wait for it."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from taskwatch.clock import SystemClock
from taskwatch.store.sqlite import open_store

# Of the daemon's; each takes as long to import as a good part of the command.
HEAVY: Final = ("aiohttp", "apscheduler", "structlog", "jinja2", "prometheus_client", "taskwatch.app")
CONFIGURATION: Final = """\
store: {path: t.db}
credentials: {c: {type: none}}
projects: [{name: prod, endpoint: "https://gaussdb.example", project_id: p}]
receivers:
  - {name: hook, type: webhook, url: "https://hook.example/"}
  - {name: am, type: alertmanager, urls: ["http://am:9093"]}
  - {name: pd, type: pagerduty, routing_key: k}
  - {name: mail, type: email, smtp: "smtps://mail.example", from: tw@x.example, to: [dba@x.example]}
"""
PROGRAM: Final = f"""
import sys
sys.argv[0] = "taskwatch"
try:
    from taskwatch.__main__ import main
    main()
finally:
    print("took:", *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["projects", "tasks", "events", "deliveries", "alerts", "check"])
def test_a_command_that_lists_brings_nothing_of_what_a_daemon_needs(command: str, tmp_path: Path) -> None:
    file = tmp_path / "taskwatch.yaml"
    file.write_text(CONFIGURATION)
    asyncio.run(open_store(tmp_path / "t.db", clock=SystemClock()).close())
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, command, "-c", str(file)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "took:")
