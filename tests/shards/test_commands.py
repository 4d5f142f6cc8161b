"""The supervisor's command door, over a real socket, with the client of `cli/door.py`."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from perdure.cli.door import ask, door_of
from perdure.engine.errors import Forbidden, InvalidArgument, NotConnected, OperationNotFound, Overloaded, PerdureError
from perdure.router.control import Message
from perdure.shards.commands import CONNECTIONS_MAX, Commands, Progress


def silent(_level: str, _event: str, _fields: dict[str, object]) -> None: ...


async def count(progress: Progress, up_to: int) -> dict[str, object]:
    for number in range(up_to):
        progress(number=number)
    return {"counted": up_to}


async def fail() -> dict[str, object]:
    raise PerdureError("it is late", hint="go to bed")


async def broken() -> dict[str, object]:
    raise KeyError("x")


def serve(tmp_path: Path, body: Callable[[Commands], Awaitable[object]]) -> object:
    """Run a door in tmp_path while `body` runs."""

    async def run() -> object:
        commands = Commands(silent)
        for name, function in (("count", count), ("fail", fail), ("broken", broken)):
            commands.add(name, function)
        await commands.listen(str(tmp_path))
        (tmp_path / "address").write_text(f"ipc://{tmp_path}/router")
        try:
            return await body(commands)
        finally:
            await commands.close()

    return asyncio.run(run())


def asked(tmp_path: Path, command: str, **arguments: object) -> list[Message]:
    async def body(_: Commands) -> object:
        return await asyncio.to_thread(lambda: list(ask(str(tmp_path), command, **arguments)))

    return cast("list[Message]", serve(tmp_path, body))


def test_progress_and_the_end_of_a_command(tmp_path: Path) -> None:
    assert asked(tmp_path, "count", up_to=2) == [
        {"type": "progress", "number": 0},
        {"type": "progress", "number": 1},
        {"type": "done", "counted": 2},
    ]


def test_errors_arrive_typed(tmp_path: Path) -> None:
    with pytest.raises(PerdureError, match="it is late") as raised:
        asked(tmp_path, "fail")
    assert raised.value.hint == "go to bed"


@pytest.mark.parametrize(
    ("command", "arguments", "kind", "words"),
    [
        ("vanish", {}, OperationNotFound, "no command 'vanish'"),
        ("count", {}, InvalidArgument, "up_to"),
        ("count", {"up_to": "2"}, InvalidArgument, "up_to must be int"),
        ("count", {"up_to": True}, InvalidArgument, "up_to must be int"),
        ("count", {"up_to": 1, "progress": 1}, InvalidArgument, "progress is told"),
        ("broken", {}, PerdureError, "KeyError"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, command: str, arguments: dict[str, object], kind: type[PerdureError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        asked(tmp_path, command, **arguments)


def test_the_door_is_for_its_user_only(tmp_path: Path) -> None:
    async def body(_: Commands) -> object:
        return stat.S_IMODE(os.stat(tmp_path / "supervisor").st_mode)

    assert serve(tmp_path, body) == 0o600


def test_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(NotConnected, match="no perdure is running") as raised:
        list(ask(str(tmp_path), "count"))
    assert raised.value.hint
    (tmp_path / "address").write_text(f"ipc://{tmp_path}/router")  # as after a kill -9
    with pytest.raises(NotConnected, match="no supervisor answers"):
        list(ask(str(tmp_path), "count"))


def test_a_supervisor_of_another_machine_takes_no_commands() -> None:
    with pytest.raises(Forbidden, match="on its own machine only"):
        door_of(None, "tcp://10.0.0.1:9000")


def test_malformed_lines_are_answered(tmp_path: Path) -> None:
    def talk() -> list[str]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(f"{tmp_path}/supervisor")
            connection.sendall(b'nonsense\n[1]\n{"command": 1}\n{"command": "count", "up_to": 0}\n')
            with connection.makefile() as lines:
                return [json.loads(next(lines))["type"] for _ in range(4)]

    async def body(_: Commands) -> object:
        return await asyncio.to_thread(talk)

    assert serve(tmp_path, body) == ["failed", "failed", "failed", "done"]


def test_a_command_goes_on_when_who_asked_is_gone(tmp_path: Path) -> None:
    async def body(commands: Commands) -> object:
        begun, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow() -> dict[str, object]:
            begun.set()
            await go_on.wait()
            ended.set()
            return {}

        commands.add("slow", slow)
        _, writer = await asyncio.open_unix_connection(f"{tmp_path}/supervisor")
        writer.write(b'{"command": "slow"}\n')
        await begun.wait()
        writer.close()
        await writer.wait_closed()
        go_on.set()
        await asyncio.wait_for(ended.wait(), 10)
        return True

    assert serve(tmp_path, body)


def test_a_supervisor_that_ends_is_no_answer(tmp_path: Path) -> None:
    raised: list[BaseException] = []

    async def body(commands: Commands) -> object:
        begun = asyncio.Event()

        async def forever() -> dict[str, object]:
            begun.set()
            await asyncio.Event().wait()
            return {}

        def talk() -> None:
            try:
                list(ask(str(tmp_path), "forever"))
            except NotConnected as error:
                raised.append(error)

        commands.add("forever", forever)
        thread = threading.Thread(target=talk)
        thread.start()
        await begun.wait()
        await commands.close()
        await asyncio.to_thread(thread.join, 10)
        return not thread.is_alive()

    assert serve(tmp_path, body)
    assert "ended before it had answered" in str(raised[0])


def test_connections_are_bounded(tmp_path: Path) -> None:
    async def body(_: Commands) -> object:
        open_ones = [await asyncio.open_unix_connection(f"{tmp_path}/supervisor") for _ in range(CONNECTIONS_MAX)]
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/supervisor")
        refused = json.loads(await reader.readline())
        for _, each in [*open_ones, (reader, writer)]:
            each.close()
        return refused["error"]["code"]

    assert serve(tmp_path, body) == Overloaded.code
