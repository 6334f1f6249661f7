"""The real Alertmanager as a process on loopback, which tells a webhook what it would tell people."""

import asyncio
import json
import os
import shutil
import signal
import socket
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.commands import until

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

CONFIGURATION = """
route: {{receiver: people, group_by: [...], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}
receivers: [{{name: people, webhook_configs: [{{url: "{hook}", send_resolved: true}}]}}]
"""


@dataclass
class RealAlertmanager:
    """Keeps its storage over `kill` and `start`; it keeps no alerts there, which is the point."""

    directory: Path
    hook: str  # where it tells what it would tell people
    port: int = 0
    process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self.directory.mkdir()
        (self.directory / "alertmanager.yml").write_text(CONFIGURATION.format(hook=self.hook))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def start(self) -> None:
        assert PROGRAM is not None
        with (self.directory / "log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                PROGRAM,
                f"--config.file={self.directory / 'alertmanager.yml'}",
                f"--storage.path={self.directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )
        await until(self._is_ready, "Alertmanager", said=(self.directory / "log").read_text)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await asyncio.wait_for(self.process.wait(), 10)

    async def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that fire there."""
        found: list[dict[str, Any]] = await asyncio.to_thread(self._get, "/api/v2/alerts")
        return [alert for alert in found if alert["status"]["state"] != "suppressed"]

    def _is_ready(self) -> bool:
        try:
            self._get("/api/v2/status")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}{path}", timeout=5) as answer:
            return json.load(answer)
