"""The router endpoint: `python -m perdure.router.endpoint`, one ROUTER socket that programs connect to.

It hands out slot map, classes and endpoints, pushes newer maps, and relays calls by hash for clients that can reach this one
address only. Over tcp:// a client must prove one of the known CURVE keys; who does not is refused, and logged.
"""

from __future__ import annotations

import asyncio
import os
from typing import cast

import zmq
from zmq.auth.thread import ThreadAuthenticator

from .control import Control, Message
from .keys import read_router
from .logs import Report, configure, reporter
from .process import main
from .relay import Relay
from .slots import SlotMap


def _authenticate(context: zmq.Context[zmq.Socket[bytes]], clients: list[bytes], report: Report) -> ThreadAuthenticator:
    """Let in those keys only."""
    authenticator = ThreadAuthenticator(context)
    authenticator.start()

    class Known:
        """Asked for each handshake, on the authenticator's thread."""

        def callback(self, _domain: str, key: bytes) -> bool:
            accepted = key in clients
            if not accepted:
                report("warning", "client_refused", {"key": key.decode(errors="replace")})
            return accepted

    authenticator.configure_curve_callback("*", credentials_provider=Known())
    return authenticator


async def _body(control: Control, start: Message, loop: asyncio.AbstractEventLoop) -> int:
    report = reporter("router")
    drained: asyncio.Future[float] = loop.create_future()
    relay = Relay(
        cast("str", start["endpoint"]),
        loop,
        SlotMap.from_wire(start["map"]),
        cast("dict[str, str]", start["classes"]),
        report,
    )
    authenticator: ThreadAuthenticator | None = None
    tcp = cast("dict[str, str] | None", start.get("tcp"))
    if tcp is not None:
        public, secret, clients = read_router(tcp["keys"])
        authenticator = _authenticate(relay.context, clients, report)
        relay.listen(tcp["endpoint"], (public, secret))
        report("info", "listening", {"endpoint": tcp["endpoint"], "clients": len(clients)})

    def on_control(message: Message) -> None:
        if message.get("type") == "map":
            relay.adopt(SlotMap.from_wire(message["map"]), cast("dict[str, str]", message.get("classes") or {}))
        elif message.get("type") == "drain" and not drained.done():
            drained.set_result(cast("float", message["seconds"]))

    control.attach(loop, on_control, lambda: os._exit(0))
    control.send({"type": "ready"})
    seconds = await drained
    await relay.drain(seconds)
    if authenticator is not None:
        authenticator.stop()
    relay.close()
    return 0


if __name__ == "__main__":
    main(lambda start: "router", _body, configure)
