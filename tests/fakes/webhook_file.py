"""A webhook receiver in a process of its own: appends what it is told to a file, one JSON line each.

    python -m tests.fakes.webhook_file FILE

The first line it prints ends with its URL. A line in the file is {"id": the header, "event": the body}.
"""

import asyncio
import json
import sys
from pathlib import Path

from aiohttp import web


async def serve(file: Path) -> None:
    async def receive(request: web.Request) -> web.Response:
        line = json.dumps({"id": request.headers["webhook-id"], "event": await request.json()})
        with file.open("a") as stream:
            stream.write(line + "\n")
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/", receive)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)  # noqa: T201 - whoever started this reads it
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
