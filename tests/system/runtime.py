"""A whole runtime as a user starts it: the command, its one line on stdout, its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLES = f"{ROOT}/examples"
PERDURE = os.path.join(os.path.dirname(sys.executable), "perdure")
START_S = 30.0


class Runtime:
    """`perdure run PROGRAM` on a free port. `log` collects what it says on stderr."""

    def __init__(self, program: str, data: str, *flags: str, env: dict[str, str] | None = None) -> None:
        command = [PERDURE, "run", program, "--port", "0", "--data", data, *flags]
        self.data = data
        self.log: list[str] = []
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = ""

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def wait_ready(self) -> Runtime:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), f"{line!r}\n{self.text()}"
        self.url = line.split()[1]
        return self

    def text(self) -> str:
        return "\n".join(self.log)

    @property
    def address(self) -> str:
        with open(f"{self.data}/address") as file:
            return file.read()

    def pids(self, name: str) -> list[int]:
        """Children whose title begins with `perdure <name>`."""
        return [pid for pid in children(self.process.pid) if title(pid).startswith(f"perdure {name}")]

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM, then its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def kill(self) -> None:
        """kill -9 of the supervisor and all its processes."""
        pids = [self.process.pid, *children(self.process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        wait_gone(pids[1:])

    def close(self) -> None:
        """Close the pipes of an ended process."""
        self._reader.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def title(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(parent: int) -> list[int]:
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    fields = file.read().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[1]) == parent and fields[0] != "Z":
                found.append(int(name))
    return found


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_gone(pids: list[int], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < end, f"still alive: {[title(pid) for pid in pids if is_alive(pid)]}"
        time.sleep(0.01)


@contextlib.contextmanager
def serving(program: str, data: str, *flags: str, env: dict[str, str] | None = None) -> Iterator[Runtime]:
    """A runtime that serves; killed at the end if the test has not stopped it."""
    runtime = Runtime(program, data, *flags, env=env)
    try:
        yield runtime.wait_ready()
    finally:
        if runtime.process.poll() is None:
            runtime.kill()
        runtime.close()


def run_failing(program: str, data: str, *flags: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """The exit code and stderr of a start that must not succeed."""
    done = subprocess.run(
        [PERDURE, "run", program, "--port", "0", "--data", data, *flags],
        capture_output=True,
        text=True,
        timeout=START_S,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert "ready" not in done.stdout
    return done.returncode, done.stderr
