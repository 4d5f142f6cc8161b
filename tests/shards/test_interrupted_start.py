"""Ctrl-C while a program is imported for its first migration."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from perdure.engine.errors import ConfigError
from perdure.shards.class_migrations import import_apart


def test_an_import_that_hangs_ends_with_the_signal_of_the_terminal(tmp_path, capfd) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    (tmp_path / "entry.py").write_text(
        f"import os, signal, threading\nopen({str(started)!r}, 'w').write(str(os.getpid()))\nthreading.Event().wait()\n"
    )
    (tmp_path / "wrangler.json").write_text('{"name": "hangs", "main": "entry.py"}')

    async def interrupted() -> None:
        running = asyncio.create_task(import_apart(str(tmp_path), None, {}))
        with await asyncio.to_thread(open, started) as opened:
            pid = int(await asyncio.to_thread(opened.read))
        os.kill(pid, signal.SIGINT)
        await running

    with pytest.raises(ConfigError, match="interrupted while"):
        asyncio.run(interrupted())
    assert capfd.readouterr().err == ""
