"""The chat over WebSockets by `perdure run`, with the client's end in a process of its own: the same program as in a world."""

from __future__ import annotations

import asyncio
import json
import os

import aiohttp
import pytest

from .runtime import serving

CHAT = os.path.join(os.path.dirname(__file__), "..", "programs", "chat-sockets")
_WAIT_S = 10.0


async def heard(socket) -> str:
    return (await socket.receive(_WAIT_S)).data


async def talk(url: str) -> None:
    """What tests/testing/test_sockets.py says in virtual time."""
    async with aiohttp.ClientSession() as session:
        for path, status, text in (
            ("/room/x", 400, "Expected WebSocket upgrade"),
            ("/room/", 400, "Room name required"),
            ("/elsewhere", 404, "Not found"),
        ):
            async with session.get(url + path) as response:
                assert (response.status, await response.text()) == (status, text)
        for path, status in (("/room/", 400), ("/elsewhere", 404)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url + path)
            assert refused.value.status == status
        ada = await session.ws_connect(f"{url}/room/x?user=ada")
        bob = await session.ws_connect(f"{url}/room/x?user=bob", compress=15)
        await ada.send_str("ping")
        assert await heard(ada) == "pong"
        await ada.send_str("hello")
        for socket in (ada, bob):
            assert json.loads(await heard(socket)) == {"user": "ada", "text": "hello"}
        await bob.send_bytes(b"123")
        for socket in (ada, bob):
            assert json.loads(await heard(socket)) == {"user": "bob", "text": "3 bytes"}
        await ada.close(code=3001, message=b"bye")
        assert ada.close_code == 1000
        assert json.loads(await heard(bob)) == {"left": "ada"}
        relayed = await session.ws_connect(f"{url}/relay/x?user=eve")
        assert "hello" in await heard(relayed)
        assert "3 bytes" in await heard(relayed)
        await relayed.send_str("by the Worker")
        for socket in (bob, relayed):
            assert "by the Worker" in await heard(socket)
        hall = await session.ws_connect(f"{url}/hall/x")
        await hall.send_str("here")
        assert await heard(hall) == "1: here"
        for socket in (bob, relayed, hall):
            await socket.close()


@pytest.mark.system
def test_the_chat_runs_as_in_a_world(tmp_path):
    with serving(CHAT, str(tmp_path)) as runtime:
        asyncio.run(asyncio.wait_for(talk(runtime.url), 60))
        assert runtime.stop() == 0
