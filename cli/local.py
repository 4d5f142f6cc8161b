"""`perdure.local("app.py")`: a private runtime on a temporary folder, for notebooks and tests.

    with perdure.local("app.py") as runtime:
        runtime.client.namespace("Counter").getByName("a").increment()
        print(runtime.url)

With `async with` the client is the asyncio one. It ends with the block, and with the process that started it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Generic, TypeVar

from ..engine.errors import NotConnected
from ..router.blocking import BlockingClient, connect_blocking
from ..router.client import Client, connect
from ..shards.supervisor import STOP_FD_VARIABLE

_STOP_S = 30.0
C = TypeVar("C")


class Running(Generic[C]):
    """A private runtime: `url` of its front door, `address` of its router endpoint, `client` connected to it."""

    def __init__(self, url: str, address: str, data: str, client: C) -> None:
        self.url = url
        self.address = address
        self.data = data
        self.client = client


class Local:
    """What `local` gives: a context manager, sync and async."""

    def __init__(self, program: str, shards: int) -> None:
        self._program = program
        self._shards = shards
        self._process: subprocess.Popen[str] | None = None
        self._client: object = None

    def _start(self) -> tuple[str, str]:
        """Start the runtime; its URL and its data folder. Raises NotConnected with what it said."""
        self._folder = tempfile.mkdtemp(prefix="perdure-local-")
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in _end
        read, write = os.pipe()
        self._stop_fd = write
        command = [
            sys.executable,
            "-m",
            "perdure.cli.main",
            "run",
            self._program,
            "--port",
            "0",
            "--data",
            self._folder,
        ]
        try:
            self._process = subprocess.Popen(
                [*command, "--shards", str(self._shards), "--development"],
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                pass_fds=(read,),
                env={**os.environ, STOP_FD_VARIABLE: str(read)},
            )
        finally:
            os.close(read)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("ready "):
            self._process.wait()
            self._log.seek(0)
            said = self._log.read().strip()
            self._end()
            raise NotConnected(f"the program {self._program} could not be served:\n{said}")
        return line.split()[1], self._folder

    def _end(self) -> None:
        process = self._process
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()
        os.close(self._stop_fd)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _address(self) -> str:
        with open(f"{self._folder}/address") as file:
            return file.read()

    def __enter__(self) -> Running[BlockingClient]:
        url, data = self._start()
        try:
            client = connect_blocking(self._address())
        except BaseException:
            self._end()
            raise
        self._client = client
        return Running(url, self._address(), data, client)

    def __exit__(self, *_exc: object) -> None:
        if isinstance(self._client, BlockingClient):
            self._client.close()
        self._end()

    async def __aenter__(self) -> Running[Client]:
        url, data = await asyncio.to_thread(self._start)
        try:
            client = await connect(self._address())
        except BaseException:
            await asyncio.to_thread(self._end)
            raise
        self._client = client
        return Running(url, self._address(), data, client)

    async def __aexit__(self, *_exc: object) -> None:
        if isinstance(self._client, Client):
            await self._client.close()
        await asyncio.to_thread(self._end)


def local(program: str, *, shards: int = 1) -> Local:
    """A private runtime of `program` (a Python file or a folder with a wrangler file). Raises NotConnected when entered."""
    return Local(program, shards)
