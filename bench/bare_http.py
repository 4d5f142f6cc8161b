"""The bare HTTP path: uvicorn in front of the ceiling's data path, with as little between as can be.

    python -m bench.bare_http ENDPOINT PORT

POST /counter/NAME/increment and GET /counter/NAME/echo, like the example; no routing beyond that, no errors.
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn
import uvloop

from .ceiling import Caller


async def main() -> None:
    caller = Caller(asyncio.get_running_loop(), sys.argv[1])

    async def app(scope, receive, send) -> None:
        _, _, name, method = scope["path"].split("/")
        body = b"%d\n" % await caller.call(name, method)  # type: ignore[str-bytes-safe]
        headers = [(b"content-type", b"text/plain;charset=UTF-8"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(
        app,
        port=int(sys.argv[2]),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    await uvicorn.Server(config).serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
