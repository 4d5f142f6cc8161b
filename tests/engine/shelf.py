"""A shard in one test: real residents, storage and SQLite files on a folder; the group commit is driven by hand or at once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from perdure.engine.alarm_calls import AlarmCall, read_answer
from perdure.engine.alarm_retries import Outcome
from perdure.engine.calls import ALARM, FETCH, RPC, Call
from perdure.engine.class_runtime import ClassRuntime
from perdure.engine.commits import CommitRecord, Committable, Effect
from perdure.engine.database import Located, read_version
from perdure.engine.disk import LocalDisk
from perdure.engine.errors import LogFailed, PerdureError
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.engine.ids import ClassKey
from perdure.engine.limits import Limits
from perdure.engine.residents import Residents
from perdure.engine.values import pack, unpack


class Clock:
    """Time that stands still unless a test moves it."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def now_ms(self) -> int:
        return int(self.s * 1000)

    def monotonic_s(self) -> float:
        return self.s


class LoopClock(Clock):
    """Time of the loop: virtual in `tests.sim.virtual`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    @property
    def s(self) -> float:  # type: ignore[override]
        return 1_000.0 + self._loop.time()


class HandCommits:
    """A group commit whose sync happens when the test says so (`auto`: in the same loop round)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, auto: bool = True) -> None:
        self.loop = loop
        self.auto = auto
        self.records: list[CommitRecord] = []
        self.open = 1
        self.done = 0
        self.touched: dict[Committable, None] = {}
        self.held: list[tuple[int, Committable, Callable[..., None], tuple[object, ...]]] = []
        self.scheduled = False

    def touch(self, who: Committable) -> int:
        self.touched[who] = None
        if self.auto and not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.commit)
        return self.open

    def durable(self) -> int:
        return self.done

    def hold(self, batch: int, who: Committable, effect: Callable[..., None], *args: object) -> None:
        if batch <= self.done:
            effect(*args)
        else:
            self.held.append((batch, who, effect, args))

    def commit(self, fail: BaseException | None = None) -> None:
        """Seal the open batch and make it durable, or fail it."""
        self.scheduled = False
        touched, self.touched = self.touched, {}
        captured: list[tuple[Committable, CommitRecord]] = []
        for who in touched:
            try:
                record = who.capture()
                while record is not None and record.more:
                    record = who.capture()
            except PerdureError as error:
                who.failed(error, self.drop(who))
                continue
            if record is not None:
                captured.append((who, record))
        batch = self.open
        self.open += 1
        if fail is not None:
            self.done = batch
            for who, _ in captured:
                self.touched.pop(who, None)
                who.failed(fail, self.drop(who))
        else:
            self.done = batch
            self.records += [record for _, record in captured]
            for who, record in captured:
                who.committed(record.change)
        held, self.held = self.held, []
        for number, who, effect, args in held:
            if number <= self.done:
                effect(*args)
            else:
                self.held.append((number, who, effect, args))

    def fail(self) -> None:
        self.commit(LogFailed("Internal error in Durable Object storage write: the object was reset"))

    def end(self, error: BaseException) -> None:
        raise AssertionError("a commit was half done") from error

    def drop(self, who: Committable) -> list[Effect]:
        dropped = [(effect, args) for _, owner, effect, args in self.held if owner is who]
        self.held = [held for held in self.held if held[1] is not who]
        return dropped


class FolderFiles:
    """Objects' files in one folder, without a log: what was checkpointed is what there is."""

    def __init__(self, folder: str, disk: LocalDisk) -> None:
        self.folder = folder
        self.disk = disk
        self.rebuilt: list[bytes] = []
        os.makedirs(f"{folder}/live", exist_ok=True)

    def path(self, object_id: bytes) -> str:
        return f"{self.folder}/objects/{object_id.hex()}.sqlite"

    def exists(self, key: ClassKey, object_id: bytes) -> bool:
        return os.path.exists(self.path(object_id))

    def locate(self, key: ClassKey, object_id: bytes) -> Located:
        path = self.path(object_id)
        exists = os.path.exists(path)
        change = 0
        if exists:
            fd = self.disk.open(path, write=False)
            change = read_version(self.disk, fd)[1]
            self.disk.close(fd)
        return Located(exists, path, f"{self.folder}/live/{object_id.hex()}.sqlite", 1, change)

    def rebuild(self, key: ClassKey, object_id: bytes) -> None:
        self.rebuilt.append(object_id)

    def closed(self, object_id: bytes, change: int) -> None:
        pass

    def generation(self, key: ClassKey, object_id: bytes) -> int:
        return 1

    def emptied(self, key: ClassKey, object_id: bytes, change: int) -> None:
        pass

    def may_fold(self, object_id: bytes) -> bool:
        return True


class PlainHttp:
    """Requests and responses as they travel."""

    def to_request(self, request: HttpRequest) -> object:
        return request

    async def from_response(self, response: object) -> HttpResponse:
        assert isinstance(response, HttpResponse)
        return response


class NoTransport:
    exports = None

    def call(self, *args: object) -> asyncio.Future[object]:
        raise AssertionError("no calls in this test")

    fetch = call


class Shard:
    """Residents of one class; `call` gives the result or raises what the caller would get."""

    def __init__(
        self,
        cls: type,
        folder: object,
        *,
        auto: bool = True,
        limits: Limits | None = None,
        sql: bool = True,
        clock: Clock | None = None,
        transport: object = None,
        env: object = None,
        **of_class: object,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.jitter = 0.0
        self.clock = clock or Clock()
        self.disk = LocalDisk()
        self.commits = HandCommits(self.loop, auto)
        self.files = FolderFiles(str(folder), self.disk)
        self.key = ClassKey(f"test-{cls.__name__}")
        self.logs: list[tuple[str, str, dict[str, object]]] = []
        runtime = ClassRuntime(self.key, cls.__name__, cls, env, PlainHttp(), sql, **of_class)  # type: ignore[arg-type]
        self.residents = Residents(
            {self.key.unique: runtime},
            files=self.files,
            commits=self.commits,
            clock=self.clock,
            disk=self.disk,
            limits=limits or Limits(),
            transport=transport or NoTransport(),
            random=lambda: self.jitter,
            log=lambda level, event, fields: self.logs.append((level, event, fields)),
            loop=self.loop,
        )
        self.residents.start()

    def send(self, name: str, method: str, *args: object) -> asyncio.Future[object]:
        """Deliver a call at once; the future is what its caller awaits."""
        return self._deliver(name, RPC, method, pack(list(args)), None)

    def fetch(self, name: str, request: HttpRequest) -> asyncio.Future[object]:
        return self._deliver(name, FETCH, "fetch", b"", request)

    def _deliver(
        self, name: str, kind: int, method: str, payload: bytes, request: HttpRequest | None
    ) -> asyncio.Future[object]:
        future: asyncio.Future[object] = self.loop.create_future()

        def answer(_call: Call, result: bytes | HttpResponse | PerdureError) -> None:
            assert not hasattr(future, "answered") or not future.done(), "answered twice"
            if future.cancelled():
                return
            if isinstance(result, PerdureError):
                future.set_exception(result)
            else:
                future.set_result(unpack(result) if isinstance(result, bytes) else result)

        call = Call(self.key.unique, self.key.id_from_name(name), name, kind, method, payload, answer, request)
        future.call = call  # type: ignore[attr-defined]
        self.residents.deliver(call)
        return future

    def fire(self, name: str, *, forced: bool = False, settles: AlarmCall | None = None) -> asyncio.Future[object]:
        """Deliver the object's alarm: (whether it ran, when it is due). A run that broke its object is settled, then raises."""
        future: asyncio.Future[object] = self.loop.create_future()

        def answer(call: Call, result: bytes | HttpResponse | PerdureError) -> None:
            assert isinstance(call, AlarmCall)
            if isinstance(result, bytes):
                future.set_result(read_answer(result))
            elif call.armed is None or settles is not None:
                future.set_exception(result)
            else:
                settling = self.fire(name, settles=call)
                settling.add_done_callback(lambda done: future.set_exception(done.exception() or result))

        outcome = None
        if settles is not None:
            outcome = Outcome.DROPPED if settles.dropped else Outcome.RAISED if settles.counted else Outcome.LOST
        object_id = self.key.id_from_name(name)
        call = AlarmCall(self.key.unique, object_id, None, ALARM, "alarm", b"", answer, forced=forced)
        call.outcome, call.armed = outcome, settles and settles.armed
        self.residents.deliver(call)
        return future

    async def call(self, name: str, method: str, *args: object) -> object:
        return await self.send(name, method, *args)

    def instance(self, name: str) -> object:
        return self.residents._by_id[self.key.id_from_name(name)]

    def stop(self) -> None:
        self.residents.stop()
        self.residents.close_all()


__all__ = ["Clock", "LoopClock", "Shard"]
