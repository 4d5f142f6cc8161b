"""`perdure dev`: serve a program in development, and reload it when a file of its folder changes.

The folder is looked through by modification time and size, twice a second: no library, and it works on every file system (inotify
does not on network ones and in some containers). What always holds: a program that cannot be imported leaves the one that serves.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping

import click

from ..engine.errors import PerdureError
from ..router import logs
from ..shards.setups import Setup
from ..shards.supervisor import supervise
from . import settings
from .door import ask
from .packages import provide
from .run import run
from .terminal import print_error, print_ready

LOOK_S = 0.5
FILES_MAX = 20_000
_LEFT_OUT = ("node_modules", "__pycache__", "venv", "site-packages")
_NAMES = (".py", ".toml", ".json", ".jsonc")
Seen = Mapping[str, tuple[int, int]]


def look(folder: str, data: str) -> Seen:
    """Path → (modification time in ns, bytes) of the program's sources and settings; not what begins with a dot, not `data`."""
    found: dict[str, tuple[int, int]] = {}
    for path, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if name not in _LEFT_OUT and not name.startswith(".") and os.path.join(path, name) != data
        ]
        for name in names:
            if name.endswith(_NAMES) and not name.startswith("."):
                try:
                    status = os.stat(os.path.join(path, name))
                except FileNotFoundError:  # an editor replaces it
                    continue
                found[os.path.join(path, name)] = (status.st_mtime_ns, status.st_size)
        if len(found) > FILES_MAX:
            break
    return found


def changed(before: Seen, after: Seen) -> list[str]:
    """Paths that are new, gone or different."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


class Watch:
    """Calls `reload(paths)` after a change, when a second look finds that nothing changes any more."""

    def __init__(self, look: Callable[[], Seen], reload: Callable[[list[str]], None]) -> None:
        self._look = look
        self._reload = reload
        self._served = self._last = look()

    def step(self) -> None:
        """One look. To be called at intervals."""
        found = self._look()
        settled, self._last = found == self._last, found
        if settled and (paths := changed(self._served, found)):
            self._served = found
            self._reload(paths)


def _reload(setup: Setup, paths: list[str]) -> None:
    click.echo(f"  changed: {', '.join(os.path.basename(path) for path in paths[:5])}", err=True)
    try:
        for message in ask(setup.data, "reload"):
            if message["type"] == "done":
                click.echo(f"  reloaded in {message['seconds']} s", err=True)
    except PerdureError as error:
        print_error(error)
        click.echo("  the code from before goes on serving", err=True)


def _watching(setup: Setup) -> None:
    """Until the process ends; on a thread of its own."""
    folders = [path if os.path.isdir(path) else os.path.dirname(path) for path in setup.programs]

    def look_at_all() -> Seen:
        return {path: seen for folder in folders for path, seen in look(folder, setup.data).items()}

    watch = Watch(look_at_all, lambda paths: _reload(setup, paths))
    pause = threading.Event()
    while True:
        pause.wait(LOOK_S)
        watch.step()


@click.command(params=[p for p in run.params if p.name != "development"])
def dev(programs: tuple[str, ...], config: str | None, install: bool, **flags: object) -> None:
    """Serve PROGRAM with errors shown, and reload it whenever a file of its folder changes."""
    logs.configure()
    setup = settings.resolve_run(programs, config, {**flags, "development": True})
    provide(setup.programs, install=install)

    def ready(url: str, about: dict[str, object]) -> None:
        print_ready(url, about)
        threading.Thread(target=_watching, args=(setup,), name="watch", daemon=True).start()

    sys.exit(supervise(setup, ready, lambda: settings.resolve_run(programs, config, {**flags, "development": True})))
