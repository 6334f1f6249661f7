"""The real Prometheus as a process on loopback, which reads one target and judges it by rules."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.fakes.commands import until

PROGRAM: Final = shutil.which("prometheus")
PROMTOOL: Final = shutil.which("promtool")

CONFIGURATION: Final = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: taskwatch
    static_configs: [{{targets: ["{target}"]}}]
    {authorization}
"""


@dataclass
class RealPrometheus:
    """Reads `target` five times a second, and its rules as often."""

    directory: Path
    target: str  # host and port
    rules: str
    token: Path | None = None  # the file of a bearer token
    port: int = 0
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        assert PROGRAM is not None
        self.directory.mkdir()
        authorization = "" if self.token is None else f"authorization: {{credentials_file: {self.token}}}"
        text = CONFIGURATION.format(target=self.target, authorization=authorization)
        (self.directory / "prometheus.yml").write_text(text)
        (self.directory / "rules.yml").write_text(self.rules)
        self.port = free_port()
        with (self.directory / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                PROGRAM,
                f"--config.file={self.directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )
        await until(self._is_ready, "Prometheus", said=(self.directory / "log").read_text)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await asyncio.wait_for(self.process.wait(), 10)

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that fire."""
        found = await asyncio.to_thread(self._get, "/api/v1/alerts")
        return [alert for alert in found["alerts"] if alert["state"] == "firing"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression is now. Raises urllib.error.HTTPError where Prometheus does not take it."""
        path = f"/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        found: list[dict[str, Any]] = (await asyncio.to_thread(self._get, path))["result"]
        return found

    def _is_ready(self) -> bool:
        try:
            self._get("/api/v1/status/runtimeinfo")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return json.load(answer)["data"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def promtool(*arguments: str, given: str = "") -> str:
    """Run it; fail with what it said unless it is content."""
    assert PROMTOOL is not None
    ran = subprocess.run(
        [PROMTOOL, *arguments], input=given, capture_output=True, text=True, timeout=60, check=False
    )
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    return said
