"""The endpoint of the benchmarks: a process of its own, as cheap as it can be, so that it is never what is measured.

`python -m tests.bench.server ROWS` prints its port. Path segment 3 is the project id; its first
letter chooses the answer: `u` always the same bytes, `d` bytes that differ in every row but say the
same, `c` one row whose progress changes at every request.
"""

import asyncio
import json
import sys
from typing import Final

EPOCH: Final = "2026-11-01T08:15:07+0800"


def row(number: int, project: str) -> dict[str, object]:
    return {
        "instance_info": {
            "instance_id": f"{number:08x}f50365430abe161bab79495a6ein14",
            "instance_name": f"gauss-{number}-zzh",
            "instance_status": "creating",
        },
        "job_id": f"{project[-8:]}-{number:04d}-4245-8bd8-b0bc6d3350b3",
        "name": "CreateGaussDBV5Instance",
        "status": "Failed" if number else "Running",
        "process": None if number else "10",
        "fail_reason": "An exception occurs when the ECS processes services." if number else None,
        "created_at": EPOCH,
        "ended_at": "2026-11-01T09:06:52+0800" if number else None,
    }


class Endpoint(asyncio.Protocol):
    rows = 99
    cache: Final[dict[tuple[str, int], bytes]] = {}
    asked: Final[dict[str, int]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
            project = head.split(b"/", 3)[2].decode()
            turn = self.asked[project] = self.asked.get(project, 0) + 1
            self.transport.write(self.answer(project, 0 if project[0] == "u" else turn % 10))

    def answer(self, project: str, turn: int) -> bytes:
        whole = self.cache.get((project, turn))
        if whole is None:
            rows = [row(number, project) for number in range(self.rows)]
            if project[0] == "d":
                # Another order of keys: the same rows in other bytes.
                rows = [dict([*list(r.items())[turn % 8 :], *list(r.items())[: turn % 8]]) for r in rows]
            if project[0] == "c":
                rows[0]["process"] = str(10 + turn)
            body = json.dumps({"tasks": rows, "total_count": len(rows)}).encode()
            head = (
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n"
                f"X-Request-Id: 42267f\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            whole = self.cache[project, turn] = head.encode() + body
        return whole


async def serve() -> None:
    Endpoint.rows = int(sys.argv[1])
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until whoever started it is gone


if __name__ == "__main__":
    asyncio.run(serve())
