"""The client's twin for threads: Flask, Django, a REPL. The same calls, each returns its result or raises.

    with perdure.connect_blocking() as client:
        client.namespace("Counter").getByName("a").increment()

One thread of its own runs the event loop; any number of threads may call, each waits for its own answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar, cast

from ..engine.errors import NotConnected, ProgramBug
from ..engine.ids import ObjectId
from ..engine.retrying import RetryPolicy
from ..engine.stubs import Namespace, Stub, Transport
from .client import DEADLINE_S, Client, connect
from .retries import with_deadline, with_key, with_retry

T = TypeVar("T")


class BlockingResponse:
    """What `stub.fetch` gives: status, headers, and the whole body."""

    def __init__(self, status: int, headers: object, content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.content = content

    @property
    def ok(self) -> bool:
        return 200 <= self.status <= 299

    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def json(self) -> object:
        return json.loads(self.content)


class BlockingStub:
    """The caller's handle of one object; its methods wait for the answer."""

    def __init__(self, client: BlockingClient, stub: Stub) -> None:
        self._client = client
        self._stub = stub
        self.id = stub.id

    def _with_retry(self, policy: RetryPolicy | None) -> BlockingStub:
        return BlockingStub(self._client, with_retry(self._stub, policy))

    def _with_key(self, key: str) -> BlockingStub:
        return BlockingStub(self._client, with_key(self._stub, key))

    def _with_deadline(self, seconds: float) -> BlockingStub:
        return BlockingStub(self._client, with_deadline(self._stub, seconds))

    @property
    def name(self) -> str | None:
        return self._stub.name

    def fetch(self, request: object, **init: object) -> BlockingResponse:
        """The HTTP call, with its whole body read."""

        async def send() -> BlockingResponse:
            response = await self._stub.fetch(request, **init)
            return BlockingResponse(response.status, response.headers, await response.bytes())  # pyright: ignore

        return self._client.run(send)

    def __getattr__(self, method: str) -> Callable[..., object]:
        remote = getattr(self._stub, method)

        def blocking(*args: object, **kwargs: object) -> object:
            return self._client.run(lambda: remote(*args, **kwargs))

        blocking.__name__ = method
        return blocking


class BlockingNamespace:
    """All objects of a class."""

    def __init__(self, client: BlockingClient, namespace: Namespace) -> None:
        self._client = client
        self._namespace = namespace
        self.idFromName = namespace.idFromName
        self.idFromString = namespace.idFromString
        self.newUniqueId = namespace.newUniqueId

    def _with_retry(self, policy: RetryPolicy | None) -> BlockingNamespace:
        return BlockingNamespace(self._client, with_retry(self._namespace, policy))

    def get(self, id: ObjectId) -> BlockingStub:
        return BlockingStub(self._client, self._namespace.get(id))

    def getByName(self, name: str) -> BlockingStub:
        return BlockingStub(self._client, self._namespace.getByName(name))

    get_by_name = getByName


class BlockingClient:
    """A connected client for threads. Close it, or use it as a context manager."""

    def __init__(
        self,
        address: str | None,
        deadline_s: float,
        relay: bool | None,
        keys: str | None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._pid = os.getpid()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="perdure client", daemon=True)
        self._thread.start()
        try:
            self._client: Client = self.run(
                lambda: connect(address, deadline_s=deadline_s, relay=relay, keys=keys, retry=retry)
            )
        except BaseException:
            self._end()
            raise
        self._client.exports.enter = self.run  # stubs that calls return are used by threads too

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` on the client's loop and wait. Raises what it raises, ProgramBug from its own loop or a forked child."""
        if os.getpid() != self._pid:
            raise ProgramBug("this client was made before the process forked", hint="connect again in the child")
        if self._closed:
            raise NotConnected("the client was closed")
        if threading.get_ident() == self._thread.ident:
            raise ProgramBug("the blocking client was used on its own loop", hint="use perdure.connect in async code")
        done: Future[T] = Future()
        started: list[asyncio.Future[T]] = []

        def start() -> None:
            try:
                task = asyncio.ensure_future(work(), loop=self._loop)
            except BaseException as error:
                done.set_exception(error)
                return
            started.append(task)
            task.add_done_callback(finish)

        def give_up() -> None:
            for task in started:
                task.cancel()

        def finish(task: asyncio.Future[T]) -> None:
            if task.cancelled():
                done.cancel()
            elif task.exception() is not None:
                done.set_exception(cast("BaseException", task.exception()))
            else:
                done.set_result(task.result())

        self._loop.call_soon_threadsafe(start)
        try:
            return done.result()
        except KeyboardInterrupt:  # the thread that waits was told to stop: so is what it waits for
            self._loop.call_soon_threadsafe(give_up)
            raise

    @property
    def classes(self) -> dict[str, str]:
        """Class name → its key."""
        return dict(self._client.classes)

    @property
    def transport(self) -> Transport:
        """What namespaces reach objects with; their calls are made inside of `run`."""
        return self._client

    @property
    def shards(self) -> list[int]:
        """Indices of the shards, for `operate`."""
        return self._client.shards

    def operate(
        self, target: bytes | int, operation: str, *, deadline_s: float | None = None, **arguments: object
    ) -> object:
        """`Client.operate` for threads."""
        return self.run(lambda: self._client.operate(target, operation, deadline_s=deadline_s, **arguments))

    def namespace(self, name: str) -> BlockingNamespace:
        """All objects of a class. Raises ClassNotFound."""
        return BlockingNamespace(self, self._client.namespace(name))

    def get(self, cls: type[T], name: str) -> T:
        """The stub of an object, typed as its class."""
        return cast("T", self.namespace(cls.__name__).getByName(name))

    def close(self) -> None:
        """Fail what is pending and end the thread."""
        if not self._closed:
            self.run(self._client.close)
            self._end()

    def _end(self) -> None:
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def __enter__(self) -> BlockingClient:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def connect_blocking(
    address: str | None = None,
    *,
    deadline_s: float = DEADLINE_S,
    relay: bool | None = None,
    keys: str | None = None,
    retry: RetryPolicy | None = None,
) -> BlockingClient:
    """`perdure.connect` for threads. Raises NotConnected, VersionMismatch, ConfigError."""
    return BlockingClient(address, deadline_s, relay, keys, retry)
