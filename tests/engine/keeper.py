"""A holder of connections in one test: what a keeper does, in a few lines, and a shard whose process can be killed under it."""

from __future__ import annotations

import asyncio
import os

from perdure.engine.database import PAGE, TEMPLATE
from perdure.engine.errors import Overloaded, PerdureError, SocketUnknown
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.socket_calls import CLOSE, CLOSED, MESSAGE, METHODS, OPENED, SEND, SOCKET, Rules, SocketCall

from .shelf import Shard

LOST = (1006, "disconnected without sending Close frame", False)


class Connection:
    """One connection: what its client sent and got."""

    def __init__(self, ref) -> None:
        self.ref = ref
        self.got: list[object] = []
        """Messages; (code, reason) of a Close frame; "cut" when it ended without one."""
        self.sent = 0
        self.unacknowledged: dict[int, tuple[int, object]] = {}
        self.acknowledged = 0
        self.causes: dict[tuple[bytes, int], int] = {}
        self.auto_ms: int | None = None
        self.ended = False

    @property
    def prefix(self) -> int:
        return min(self.unacknowledged, default=self.sent + 1) - 1


class Keeper:
    """Implements Holder. Delivers what is not acknowledged again when it is told to, or when the shard is a new one."""

    def __init__(self, identity: str = "keeper 0") -> None:
        self.identity = identity
        self.gone = False
        self.shard: Shard | None = None
        self.connections: dict[bytes, Connection] = {}
        self.had: set[int] = set()
        self.causes: dict[tuple[bytes, int], int] = {}
        self.rules_told: list[Rules] = []
        self.asked: list[bytes] = []
        self.frames: list[tuple[int, object, object]] = []
        self.answers: list[tuple[int, object]] = []
        self.errors: list[PerdureError] = []
        self.tells_seen = True
        self.answers_asks = True
        self.deaf = False

    # ------------------------------------------------------------------ Holder
    def effects(self, object_id, number, cause, effects):
        if self.deaf:
            return
        self.frames.append((number, cause, effects))
        if number and number in self.had:
            effects = []
        if number:
            self.had.add(number)
            if self.tells_seen:
                self.shard.loop.call_soon(self.shard.residents.seen, self, object_id, number)
        if cause is not None:
            key = (cause.socket, cause.number)
            had = self.causes.get(key, 0)
            new = max(had - cause.ordinal, 0)
            self.causes[key] = max(had, cause.ordinal + len(effects))
            effects = effects[new:]
        for sockets, what, data in effects:
            for socket in sockets:
                connection = self.connections.get(socket)
                if connection is None or connection.ended:
                    continue
                if what == SEND:
                    connection.got.append(data)
                elif what == CLOSE:
                    connection.got.append(data)
                    connection.ended = True
                else:
                    connection.got.append("cut")
                    connection.ended = True

    def rules(self, object_id, rules):
        self.rules_told.append(rules)

    def ask(self, class_key, object_id):
        self.asked.append(object_id)
        if self.answers_asks:
            self.shard.loop.call_soon(self.tell_held, True)

    # ------------------------------------------------------------------ what a test does with it
    def tell_held(self, asked: bool, name: str = "a") -> None:
        found = [
            (socket, connection.auto_ms)
            for socket, connection in self.connections.items()
            if not connection.ended and connection.ref.name == name
        ]
        key = self.shard.key
        self.shard.residents.held(self, key.unique, key.id_from_name(name), name, found, asked)

    async def open(self, response: HttpResponse) -> Connection:
        """The gateway has handed over the connection of an answered upgrade."""
        ref = response.web_socket.ref
        assert ref is not None
        connection = self.connections[ref.socket] = Connection(ref)
        await self._event(connection, OPENED, 0, None)
        return connection

    def send(self, connection: Connection, data, what: int = MESSAGE) -> asyncio.Future:
        """A message of the client."""
        connection.sent += 1
        after = max(connection.unacknowledged, default=0)
        connection.unacknowledged[connection.sent] = (what, data)
        return self._event(connection, what, connection.sent, data, after)

    def close(self, connection: Connection, code: int | None = 1000, reason: str = "", clean: bool = True):
        """The client closes, or is lost."""
        return self.send(connection, (code, reason, clean), CLOSED)

    def again(self) -> None:
        """Deliver what is not acknowledged again, in order."""
        for connection in self.connections.values():
            after = 0
            for number, (what, data) in sorted(connection.unacknowledged.items()):
                self._event(connection, what, number, data, after)
                after = number

    def _event(self, connection: Connection, what: int, number: int, data, after: int = 0) -> asyncio.Future:
        shard = self.shard
        done = shard.loop.create_future()

        def answer(call, result):
            if self.shard is not shard or self.deaf:  # of a process that is dead
                return
            self.answers.append((number, result))
            error = result if isinstance(result, PerdureError) else None
            if error is not None:
                self.errors.append(error)
            if not isinstance(error, Overloaded):
                connection.unacknowledged.pop(number, None)
                self.causes.pop((connection.ref.socket, number), None)
                if (isinstance(error, SocketUnknown) or (error and error.durableObjectReset)) and not connection.ended:
                    connection.ended = True
                    connection.got.append("cut")
            if not done.done():
                done.set_result(result)

        ref = connection.ref
        payload = data if isinstance(data, str | bytes) else b""
        call = SocketCall(
            ref.class_key, ref.object_id, ref.name, SOCKET, METHODS[what], payload, answer,
            socket=ref.socket, what=what, number=number, acknowledged=connection.prefix, after=after, data=data,
            holder=self, auto_ms=connection.auto_ms,
        )  # fmt: skip
        connection.auto_ms = None
        shard.residents.deliver(call)
        return done


class Realm:
    """A shard with a keeper; `kill()` ends the shard's process: what was durable is what the next one finds."""

    def __init__(self, kind: type, folder: object, **options) -> None:
        self.kind, self.folder, self.options = kind, str(folder), options
        self.lives = 0
        self.images: dict[bytes, bytearray] = {}
        """Of the objects' databases, as the log of dead processes has them."""
        self.keeper = Keeper()
        self.shard = self._shard()

    def _shard(self) -> Shard:
        shard = Shard(self.kind, f"{self.folder}/{self.lives}", **self.options)
        os.makedirs(f"{self.folder}/{self.lives}/objects", exist_ok=True)
        shard.residents.holders = lambda: [self.keeper]
        self.keeper.shard = shard
        return shard

    async def connect(self, name: str = "a", *tags: str, url: str = "https://h/", **headers: str):
        """A client's connection, accepted by the object's `fetch`."""
        given = [("tags", ",".join(tags))] if tags else []
        request = HttpRequest("GET", url, [("Upgrade", "websocket"), *given, *headers.items()])
        response = await self.shard.fetch(name, request)
        return await self.keeper.open(response)

    def commit_and_die(self) -> None:
        """What is written becomes durable, and nothing that waited for it leaves any more."""
        self.keeper.deaf = True
        self.shard.commits.commit()
        self.kill(revive=False)
        self.keeper.deaf = False
        self.keeper.again()

    def kill(self, *, revive: bool = True) -> None:
        """SIGKILL: nothing that was not durable is there any more. The keeper delivers again what is not acknowledged."""
        old = self.shard
        for record in old.commits.records:
            whole = self.images.setdefault(record.object_id, bytearray(TEMPLATE))
            for number, image in record.pages.items():
                end = number * PAGE
                whole.extend(bytes(max(end - len(whole), 0)))
                whole[end - PAGE : end] = image
            del whole[record.size_pages * PAGE :]
        old.commits.touch = lambda who: old.commits.open
        old.commits.held, old.commits.touched = [], {}
        for instance in list(old.residents.instances):
            instance.broken = PerdureError("killed")
            instance.abandoned = True
            instance.input.shut()
            for task in [event.task for event in instance.events if event.task] + list(instance.tasks):
                task.cancel()
            instance.storage.discard()
            if instance.pending is not None:
                instance.pending.end()
            if instance.sockets is not None:
                instance.sockets.stop()
        old.residents.stop()
        self.lives += 1
        self.shard = self._shard()
        for object_id, whole in self.images.items():
            with open(self.shard.files.path(object_id), "wb") as file:
                file.write(whole)
        if revive:
            self.keeper.again()

    def stop(self) -> None:
        self.shard.stop()


async def rounds(count: int = 12) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
