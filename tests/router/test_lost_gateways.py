"""Objects hear of the sockets of dead gateways, once, and of those of living ones never."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import cast

from perdure.engine.disk import LocalDisk
from perdure.engine.socket_calls import SocketRef
from perdure.router.held_sockets import HeldSockets
from perdure.router.lost_gateways import LOOK_S, LostGateways, hold
from perdure.router.socket_journal import SocketJournal, journals, path_of

DISK = LocalDisk()


class Sink:
    def forgotten(self) -> None: ...


class Told:
    """In place of a gateway's sockets: who was told that what is lost."""

    def __init__(self) -> None:
        self.lost_ones: list[tuple[SocketRef, Sink]] = []

    def lost(self, ref: SocketRef, sink: Sink) -> None:
        self.lost_ones.append((ref, sink))

    def sockets(self) -> list[int]:
        return [int.from_bytes(ref.socket, "big") for ref, _ in self.lost_ones]


class Scene:
    """A data folder, and gateways that look at it."""

    def __init__(self, tmp_path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self.data = str(tmp_path)
        self.loop = loop
        os.makedirs(tmp_path / "sockets")
        self.reports: list[str] = []

    def gateway(self, told: Told) -> LostGateways:
        def report(_level: str, event: str, _fields: dict[str, object]) -> None:
            self.reports.append(event)

        return LostGateways(DISK, self.data, cast("HeldSockets", told), self.loop, report)

    def journal(self, identity: str, *numbers: int) -> SocketJournal:
        journal = SocketJournal(DISK, path_of(self.data, identity), list, hold)
        for number in numbers:
            journal.opened(SocketRef("K", bytes(32), None, number.to_bytes(8, "big"), True))
        return journal

    def dies(self, journal: SocketJournal) -> None:
        os.close(journal._fd)


async def _rounds() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_living_gateway_s_sockets_are_its_own_a_dead_one_s_are_told(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, asyncio.get_running_loop())
        alive, dying = scene.journal("gateway 0 aa", 1), scene.journal("gateway 0 bb", 2, 3)
        told, others = Told(), Told()
        gateway, another = scene.gateway(told), scene.gateway(others)
        gateway.look()
        await _rounds()
        assert told.sockets() == []
        scene.dies(dying)
        gateway.look()
        another.look()
        await _rounds()
        assert told.sockets() == [2, 3]
        assert others.sockets() == [], "one tells"
        for _, sink in told.lost_ones:
            sink.forgotten()
        await _rounds()
        assert journals(DISK, scene.data) == [alive.path]
        another.look()
        await _rounds()
        assert others.sockets() == []
        assert scene.reports == ["sockets_lost"]
        gateway.close()
        another.close()

    asyncio.run(main())


def test_who_dies_while_it_tells_is_followed_by_another(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, asyncio.get_running_loop())
        scene.dies(scene.journal("gateway 1 aa", 7))
        first, second = Told(), Told()
        gateway, another = scene.gateway(first), scene.gateway(second)
        gateway.look()
        await _rounds()
        gateway.close()
        another.look()
        await _rounds()
        assert (first.sockets(), second.sockets()) == ([7], [7])
        another.close()

    asyncio.run(main())


def test_a_journal_that_is_made_anew_stays_locked(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, asyncio.get_running_loop())
        journal = scene.journal("gateway 0 aa", 1)
        for _ in range(2):
            journal._make_anew()
        told = Told()
        gateway = scene.gateway(told)
        gateway.look()
        await _rounds()
        assert told.sockets() == []
        assert LOOK_S <= 5.0, "so soon objects hear of it"
        gateway.close()
        journal.end()
        assert journals(DISK, scene.data) == []

    asyncio.run(main())


def test_a_keeper_s_journal_is_another_keeper_s(tmp_path: Path) -> None:
    async def main() -> None:
        scene = Scene(tmp_path, asyncio.get_running_loop())
        scene.dies(scene.journal("keeper 0 aa", 1))
        told = Told()
        gateway = scene.gateway(told)
        gateway.look()
        await _rounds()
        assert told.sockets() == []
        gateway.close()

    asyncio.run(main())
