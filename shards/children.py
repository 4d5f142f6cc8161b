"""One child process of the supervisor: started by exec, spoken to over its control channel, declared dead by waitpid alone.

What always holds: silence is not death. A child counts as dead when the kernel has said so, never because it is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from enum import Enum

from ..router.control import FD_VARIABLE, TERMINAL_SIGNALS, Channel, Lines, Message
from ..router.pulse import Pulse


@contextlib.contextmanager
def held_back() -> Generator[None, None, None]:
    """What is started meanwhile has the signals of a terminal blocked until it says that they are not its own.

    A Ctrl-C reaches the whole group, also a process that has only begun to import. `router.process.main` lets go.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINAL_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Phase(Enum):
    """Where a child stands."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    DEAD = "dead"


class Child:
    """A started process. `on_message(child, message)` and `on_death(child)` are called on the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        module: str,
        name: str,
        start: Message,
        keep_fds: Sequence[int],
        on_message: Callable[[Child, Message], None],
        on_death: Callable[[Child], None],
    ) -> None:
        self.name = name
        self.module = module
        self.start = start
        self.phase = Phase.STARTING
        self.served = False
        self.failure: Message | None = None
        self.returncode: int | None = None
        self.killed_as_stuck = False
        self.buried = False
        """Of a shard's: its session's log is among those that are to be recovered."""
        self._loop = loop
        self._on_message = on_message
        self._on_death = on_death
        with contextlib.ExitStack() as undo:  # a start that fails leaves nothing behind: it is tried again
            self.pulse, pulse_fd = Pulse.make()
            undo.callback(self.pulse.close)
            try:
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                with theirs:
                    environment = {**os.environ, FD_VARIABLE: str(theirs.fileno())}
                    with held_back():
                        self._process = subprocess.Popen(
                            [sys.executable, "-m", module],
                            env=environment,
                            pass_fds=(theirs.fileno(), pulse_fd, *keep_fds),
                            stdin=subprocess.DEVNULL,
                            stdout=2,  # stdout is the supervisor's own: it carries the one line `ready`
                        )
            finally:
                os.close(pulse_fd)
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self.pid = self._process.pid
            self._pidfd = os.pidfd_open(self.pid)
            undo.pop_all()
        loop.add_reader(self._pidfd, self.look)
        self._channel = Channel(loop, ours, Lines(), self._on_line, lambda: None)
        self.send({**start, "pulse_fd": pulse_fd})

    def __repr__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    def send(self, message: Message) -> None:
        """Queue a message to the child."""
        if self.phase is Phase.DEAD:
            return
        self._channel.send(message)

    def _on_line(self, message: Message) -> None:
        if message.get("type") == "ready":
            self.phase = Phase.SERVING if self.phase is Phase.STARTING else self.phase
            self.served = True
        elif message.get("type") == "failed":
            self.failure = message
        self._on_message(self, message)

    def look(self) -> None:
        """Ask the kernel whether it is dead. Raises what `on_message` and `on_death` raise, when everything is done."""
        if self.phase is Phase.DEAD:
            return
        code = self._process.poll()
        if code is None:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.returncode = code
        try:
            self._channel.close()  # with what it said before it died
        finally:
            self.phase = Phase.DEAD
            try:
                self._on_death(self)
            finally:
                self.pulse.close()

    def drain(self, seconds: float) -> None:
        """Ask it to finish what it has accepted, and to end."""
        if self.phase is not Phase.DEAD:
            self.phase = Phase.DRAINING
            self.send({"type": "drain", "seconds": seconds})

    def drain_gently(self) -> None:
        """Ask a gateway whose successor listens to end without failing a request, also one that is not yet sent."""
        if self.phase is not Phase.DEAD:
            self.phase = Phase.DRAINING
            self.send({"type": "retire"})

    def begin(self, message: Message) -> None:
        """Give a process that stands by what it is to serve."""
        self.start = {**self.start, **message}
        self.send({"type": "begin", **message})

    def kill(self) -> None:
        """End it now. The log brings back whatever was acknowledged."""
        if self.phase is not Phase.DEAD:
            self._process.send_signal(signal.SIGKILL)
