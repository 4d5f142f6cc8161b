"""What is measured: the bare path and the product, each started as processes of its own, each stopped at the end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from types import TracebackType

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Rig:
    """Processes on a scratch folder."""

    def __init__(self, folder: str | None) -> None:
        self.folder = tempfile.mkdtemp(prefix="bench-", dir=folder)
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, *command: str, **options: object) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-m", *command], text=True, cwd=ROOT, **options)  # type: ignore[call-overload]
        self._processes.append(process)
        return process

    def __enter__(self) -> Rig:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Bare(Rig):
    """The ceiling's shard, and uvicorn in front of it."""

    def __init__(self, folder: str | None) -> None:
        super().__init__(folder)
        self.endpoint = f"ipc://{self.folder}/shard"
        self.start("bench.ceiling", self.endpoint, self.folder)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.start("bench.bare_http", self.endpoint, str(port))
        _wait_for(port)


class Product(Rig):
    """`perdure run examples/counter`: two shards, one gateway."""

    def __init__(self, folder: str | None, shards: int = 2) -> None:
        super().__init__(folder)
        data = f"{self.folder}/data"
        command = ["perdure.cli.main", "run", f"{ROOT}/examples/counter", "--port", "0", "--data", data]
        process = self.start(*command, "--shards", str(shards), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError("the product did not start")
        self.url = line.split()[1]
        with open(f"{data}/address") as file:
            self.address = file.read()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 15
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > end:
            raise RuntimeError(f"nothing listens on {port}")
        time.sleep(0.05)
