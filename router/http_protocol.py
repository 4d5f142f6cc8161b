"""HTTP of one connection, as uvicorn speaks it, and what it leaves out: the bytes behind an upgrade, and bounds of heads.

What always holds: what a client sends behind the head of its upgrade is the socket's, also in the same packet; the head of a
request is there within twice HEAD_S_MAX of its beginning (the first of a connection: within HEAD_S_MAX of that), or the
connection ends; of one that is not complete no more than HEAD_BYTES_MAX are kept.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_S_MAX = 30.0
HEAD_BYTES_MAX = 128 << 10
_COMPLETE = object()
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class HttpProtocol(HttpToolsProtocol):
    """See the module. uvicorn makes one for each connection."""

    _look_timer: asyncio.TimerHandle | None = None
    _seen: object = None
    """The head that was not complete at the last look; None: before the first."""
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().connection_made(transport)
        self._look_timer = self.loop.call_later(HEAD_S_MAX, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_looking()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        parser = self.parser
        assert parser is not None, "nothing comes over a connection that is lost"
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._upgrade(data[cast("int", upgrade.args[0]) :])
            else:
                self._unsupported_upgrade_warning()
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
        else:
            if self._in_head():
                self._head_bytes += len(data)
                if self._head_bytes > HEAD_BYTES_MAX:
                    self.transport.write(_TOO_LONG)
                    self.transport.close()
            else:
                self._head_bytes = 0

    def _in_head(self) -> bool:
        """Whether nothing has come yet, or a head that is not complete."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.scope is not self.scope

    def _upgrade(self, behind: bytes) -> None:
        """The connection is the socket's from here on."""
        self._stop_looking()
        self.handle_websocket_upgrade()
        if behind:
            cast("asyncio.Protocol", self.transport.get_protocol()).data_received(behind)

    # ------------------------------------------------------------------ time
    def _look(self) -> None:
        """End a connection whose client is still in the head of its first request, or in that of the last look."""
        self._look_timer = self.loop.call_later(HEAD_S_MAX, self._look)
        if not self._in_head():
            self._seen = _COMPLETE
        elif self._seen is None or self._seen is self.scope:
            self._stop_looking()
            self.transport.close()
        else:
            self._seen = self.scope

    def _stop_looking(self) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
