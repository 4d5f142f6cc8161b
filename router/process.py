"""What every process that the supervisor starts does first and last."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import NoReturn, cast

import setproctitle
import uvloop

from ..engine.errors import DataFolderError, PerdureError, StorageFull
from .control import TERMINAL_SIGNALS, Control, Message
from .log_lines import Lines

Body = Callable[[Control, Message, asyncio.AbstractEventLoop], Awaitable[int]]


def _watch_supervisor(fd: int) -> None:
    """A thread of its own: the end of the channel ends the process even while the loop is stuck in somebody's code."""
    poll = select.poll()
    poll.register(fd, select.POLLHUP | select.POLLRDHUP)
    while not any(event & (select.POLLHUP | select.POLLRDHUP) for _, event in poll.poll()):
        continue
    os._exit(0)


def _typed(error: BaseException) -> PerdureError:
    """What the supervisor is told."""
    if isinstance(error, PerdureError):
        return error
    if isinstance(error, OSError):
        where = error.filename or "the data folder"
        if error.errno == 28:
            return StorageFull(f"no space left: {where}", hint="free space on its disk")
        return DataFolderError(f"{where}: {error.strerror}")
    return PerdureError(f"{type(error).__name__}: {error}", hint="this is a bug of perdure: its traceback is above")


def main(name: Callable[[Message], str], body: Body, configure: Callable[[], None]) -> NoReturn:
    """Run a process: read its start message, run `body` on a uvloop, exit with its code. `configure()` sets up its logs.

    Signals are the supervisor's: a Ctrl-C reaches the whole group, but who drains first is decided by one.
    """
    for number in TERMINAL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINAL_SIGNALS)  # blocked since the supervisor started us
    control = Control.from_environment()
    start = control.read_start()
    setproctitle.setproctitle(f"perdure {name(start)}")
    configure()
    threading.Thread(target=_watch_supervisor, args=(control.fileno(),), name="supervisor watch", daemon=True).start()

    async def run() -> int:
        return await body(control, start, asyncio.get_running_loop())

    code = 2
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(run())
    except BaseException as error:
        if not isinstance(error, PerdureError | OSError):
            import traceback

            Lines(sys.stderr).write(traceback.format_exc())
        control.send({"type": "failed", "error": _typed(error).to_wire()})
    for stream in (sys.stdout, sys.stderr):
        Lines(stream).flush()
    os._exit(code)  # no finalisers: everything that must be closed is


def settle_garbage() -> None:
    """What was loaded at the start stays for good: do not look through it again and again, and look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def settings_of(start: Message) -> dict[str, object]:
    return cast("dict[str, object]", start.get("settings") or {})


def binding_settings_of(start: Message) -> dict[str, object]:
    """What the operator says of bindings."""
    return cast("dict[str, object]", start.get("binding_settings") or {})
