"""A runtime of `bench/program.py` that a row starts, watches from outside, kills and starts again on the same data."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping

from .rigs import ROOT, Rig

PROGRAM = f"{ROOT}/bench/program.py"


class Runtime(Rig):
    """One shard. `said` holds what the processes report, line by line in a file."""

    def __init__(self, folder: str | None, limits: Mapping[str, int] | None = None) -> None:
        super().__init__(folder)
        self.data = f"{self.folder}/data"
        self._config = f"{self.folder}/perdure.toml"
        self._said = f"{self.folder}/said"
        with open(self._config, "w") as file:
            file.write("[limits]\n" + "".join(f"{name} = {value}\n" for name, value in (limits or {}).items()))
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def serve(self, program: str = PROGRAM, shards: int = 1) -> float:
        """Start; seconds until it is ready. Raises RuntimeError when it does not start."""
        began = time.monotonic()
        command = ["perdure.cli.main", "run", program, "--port", "0", "--data", self.data]
        with open(self._said, "a") as said:
            flags = ["--shards", str(shards), "--config", self._config]
            self._process = self.start(*command, *flags, stdout=subprocess.PIPE, stderr=said, start_new_session=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith("ready "):
            raise RuntimeError(f"the product did not start:\n{self.said()}")
        self.url = line.split()[1]
        return time.monotonic() - began

    @property
    def address(self) -> str:
        with open(f"{self.data}/address") as file:
            return file.read()

    def said(self) -> str:
        """All lines so far."""
        with open(self._said) as file:
            return file.read()

    def wait_for(self, event: str, seconds: float, *, times: int = 1) -> None:
        """Until a process has reported `event` so often. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while self.said().count(f"] {event} ") < times:
            if time.monotonic() > end:
                raise TimeoutError(f"no {event} within {seconds} s:\n{self.said()[-2000:]}")
            time.sleep(0.02)

    def last_number(self, event: str, name: str) -> int:
        """A field of the newest report of that event."""
        line = [line for line in self.said().splitlines() if f"] {event} " in line][-1]
        return int(line.split(f" {name}=")[1].split()[0])

    def pids(self, name: str) -> list[int]:
        """Processes of this runtime whose title begins with `perdure <name>`."""
        assert self._process is not None
        found = [pid for pid in _descendants(self._process.pid) if _title(pid).startswith(f"perdure {name}")]
        return sorted(found)

    def kill(self) -> None:
        """kill -9 of everything, and wait until it is gone."""
        assert self._process is not None
        pids = [self._process.pid, *_descendants(self._process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        end = time.monotonic() + 20
        while any(_lives(pid) for pid in pids) and time.monotonic() < end:
            time.sleep(0.01)

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(90)

    def log_bytes(self) -> int:
        """Of all segments, as long as they are on the disk."""
        return _bytes_under(f"{self.data}/log")

    def history_bytes(self) -> int:
        return _bytes_under(f"{self.data}/history")


def memory_peak_kib(pid: int) -> int:
    """The highest resident memory since `forget_memory_peak`."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


def memory_now_kib(pid: int) -> int:
    """Resident memory."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def forget_memory_peak(pid: int) -> int:
    """Begin to watch the peak anew; what it is now, in KiB."""
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")
    return memory_peak_kib(pid)


def written_bytes(pid: int) -> int:
    """What a process has sent towards the disk."""
    with open(f"/proc/{pid}/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("write_bytes"))


def _bytes_under(folder: str) -> int:
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.path.getsize(f"{path}/{name}")
    return total


def _lives(pid: int) -> bool:
    """Whether it may still hold files and locks."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _title(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _descendants(parent: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{name}/stat") as file:
                children.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(int(name))
    found = [parent]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]
