"""What every command of `perdure objects` begins with: how it reaches the runtime, and a place for its copies."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import cast

import click

from . import copies, output
from .operator import Link, Operator, Target, connect
from .times import Moment, parse_time

Opener = Callable[[str | None, str | None], Link]
json_flag = click.option("--json", "as_json", is_flag=True, help="JSON, one line a row")


class Session:
    """One command: the connection is opened when it is needed, and closed at the end."""

    def __init__(self, context: click.Context, opener: Opener, data: str | None, address: str | None) -> None:
        self._context = context
        self._open = lambda: opener(data, address)
        self._data = data
        self._operator: Operator | None = None

    @property
    def operator(self) -> Operator:
        """Raises NotConnected."""
        if self._operator is None:
            link = self._open()
            self._context.call_on_close(link.close)
            self._operator = Operator(link)
        return self._operator

    def moment(self, text: str | None) -> Moment:
        """The time that an option names; None when it was not given."""
        return None if text is None else parse_time(text, time.time_ns() // 1_000_000)

    @contextmanager
    def workspace(self) -> Generator[str]:
        """A folder for this command's copies, under the data folder of the runtime."""
        with copies.workspace(self.operator.data) as folder:
            yield folder

    @contextmanager
    def copy(self, target: Target, at: Moment = None) -> Generator[str]:
        """The path of a copy of the object, as the shard wrote it."""
        with self.workspace() as folder:
            yield self.copy_into(folder, "object", target, at)

    def copy_into(self, folder: str, name: str, target: Target, at: Moment) -> str:
        """Have a copy written into a workspace; its path."""
        path = f"{folder}/{name}.sqlite"
        with output.working(f"copying {target}"):
            self.operator.export(target, path, at)
        return path


def reaching(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which runtime; the command gets a Session first.

    The context's `obj` may hold another opener than `connect`: tests put one there.
    """

    @click.option("--data", metavar="FOLDER", help="data folder of the runtime")
    @click.option("--address", help="its address [PERDURE_ADDRESS, else the one runtime of this user]")
    @click.pass_context
    @functools.wraps(command)
    def reach(context: click.Context, data: str | None, address: str | None, **given: object) -> None:
        command(Session(context, cast("Opener", context.obj or connect), data, address), **given)

    return reach
