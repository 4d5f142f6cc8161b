"""A runtime in the test's own process for the commands of `perdure objects`: operations with the signatures that a shard has,
over real SQLite files, some of them versions of one object."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable

import apsw
from click.testing import CliRunner, Result
from perdure.cli.commands import cli
from perdure.engine.database import TEMPLATE
from perdure.engine.errors import InvalidArgument, ObjectNotFound
from perdure.engine.ids import ClassKey
from perdure.engine.values import pack, unpack
from perdure.shards.operations import Operations

CLASSES = {"Room": "chat-Room", "Lobby": "chat-Lobby"}


def bookmark(number: int) -> str:
    return f"{0:08x}-{number:08x}-{0:08x}-{number:032x}"


class Workshop:
    """Implements the operator's Link. `save(name, change)` makes a version of a Room at second 1,000, 1,001, …"""

    def __init__(self, folder: str) -> None:
        self.classes = CLASSES
        self.shards = [0, 1]
        self.data = folder
        self.closed = False
        self.objects: dict[bytes, list[tuple[str, int, str]]] = {}
        self.about: dict[bytes, tuple[str, str | None]] = {}
        self.asked: list[tuple[str, dict[str, object]]] = []
        self.exported: list[tuple[str, int]] = []
        self._count = 0
        self._loop = asyncio.new_event_loop()
        self._operations = Operations(self._loop, lambda *_: None)
        for name in ("list", "describe", "export", "delete", "history", "upgrade_class", "restore"):
            self._operations.add(name, getattr(self, f"_{name}"))
        self._operations.add("import", self._import)
        self._operations.add("about", self._about)

    # ------------------------------------------------------------------ what tests call
    def room(self, name: str) -> bytes:
        return ClassKey(CLASSES["Room"]).id_from_name(name)

    def save(self, name: str, change: Callable[[apsw.Connection], object], key: str = CLASSES["Room"]) -> str:
        """A new version of the object: the last one, changed. Its bookmark."""
        object_id = ClassKey(key).id_from_name(name)
        versions = self.objects.setdefault(object_id, [])
        self.about[object_id] = (key, name)
        path = self._new_path()
        if versions:
            shutil.copyfile(versions[-1][2], path)
        else:
            with open(path, "wb") as file:
                file.write(TEMPLATE)
        connection = apsw.Connection(path)
        connection.execute("pragma journal_mode=delete").fetchall()
        change(connection)
        connection.close()
        return self._add(object_id, path)

    def _new_path(self) -> str:
        self._count += 1
        return f"{self.data}/version{self._count}.sqlite"

    def _add(self, object_id: bytes, path: str) -> str:
        versions = self.objects.setdefault(object_id, [])
        versions.append((bookmark(self._count), 999_000 + 1_000 * self._count, path))
        return versions[-1][0]

    def run(self, *arguments: str, input: str | None = None) -> Result:
        """`perdure objects …`; errors of ours are raised."""
        result = CliRunner().invoke(cli, ["objects", *arguments], input=input, obj=lambda _data, _address: self)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    # ------------------------------------------------------------------ Link
    def operate(
        self, target: bytes | int, operation: str, *, deadline_s: float | None = None, **arguments: object
    ) -> object:
        self.asked.append((operation, arguments))
        object_id = bytes([target]) * 32 if isinstance(target, int) else target
        given = unpack(pack(arguments))
        return unpack(pack(self._loop.run_until_complete(self._operations.perform(operation, object_id, given))))

    def close(self) -> None:
        self.closed = True

    def end(self) -> None:
        self._loop.close()

    # ------------------------------------------------------------------ operations, with the signatures of a shard
    async def _about(self) -> dict[str, object]:
        return {"data": self.data}

    async def _list(
        self, limit: int, class_key: str | None = None, prefix: str | None = None, after: list | None = None
    ) -> dict[str, object]:
        return {
            "objects": [self._row(each) for each in sorted(self.objects, key=lambda i: self.about[i])],
            "next": None,
        }

    def _row(self, object_id: bytes) -> dict[str, object]:
        key, name = self.about[object_id]
        _, time_ms, path = self.objects[object_id][-1]
        size = size_of(path)
        return {
            "id": object_id.hex(),
            "class": key,
            "name": name,
            "created_ms": 1,
            "active_ms": time_ms,
            "bytes": size,
        }

    async def _describe(self, object_id: bytes) -> dict[str, object]:
        if object_id not in self.objects:
            raise ObjectNotFound(f"there is no object {object_id.hex()}")
        return {**self._row(object_id), "resident": True}

    def _version(self, object_id: bytes, at: str | int | None) -> tuple[str, int, str]:
        versions = self.objects.get(object_id)
        if not versions:
            raise ObjectNotFound(f"there is no object {object_id.hex()}")
        fits = [v for v in versions if at is None or (v[0] <= at if isinstance(at, str) else v[1] <= at)]
        if not fits:
            raise InvalidArgument("nothing is known of that time")
        return fits[-1]

    async def _export(self, class_key: str, object_id: bytes, path: str, at: str | int | None) -> dict[str, object]:
        self.exported.append((path, mode_of_folder(path)))
        mark, time_ms, found = self._version(object_id, at)
        shutil.copyfile(found, path)
        return {"bytes": size_of(path), "bookmark": mark, "time_ms": time_ms}

    async def _import(
        self, class_key: str, object_id: bytes, name: str | None, path: str, replace: bool
    ) -> dict[str, object]:
        if object_id in self.objects and not replace:
            raise InvalidArgument("the object has something stored", hint="say --replace")
        mine = self._new_path()
        shutil.copyfile(path, mine)
        self.about[object_id] = (class_key, name)
        return {"bytes": size_of(mine), "bookmark": self._add(object_id, mine)}

    async def _delete(self, class_key: str, object_id: bytes) -> dict[str, object]:
        return {"existed": self.objects.pop(object_id, None) is not None}

    async def _history(self, class_key: str, object_id: bytes) -> dict[str, object]:
        self._version(object_id, None)
        points = [
            {"bookmark": mark, "time_ms": time_ms, "bytes": size_of(path)}
            for mark, time_ms, path in self.objects[object_id]
        ]
        return {"points": points, "oldest_ms": points[0]["time_ms"], "bytes": sum(point["bytes"] for point in points)}

    async def _upgrade_class(self, class_key: str, now: bool = False) -> dict[str, object]:
        return {"upgraded": True, "objects": sum(1 for key, _ in self.about.values() if key == class_key)}

    async def _restore(self, class_key: str, object_id: bytes, at: str | int) -> dict[str, object]:
        undo = self.objects[object_id][-1][0]
        _, _, path = self._version(object_id, at)
        mine = self._new_path()
        shutil.copyfile(path, mine)
        self._add(object_id, mine)
        return {"undo": undo}


def put(**values: object) -> Callable[[apsw.Connection], None]:
    """A change that stores keys."""

    def change(connection: apsw.Connection) -> None:
        for key, value in values.items():
            connection.execute("insert or replace into _cf_KV values(?, ?)", (key, pack(value)))

    return change


def sql(text: str) -> Callable[[apsw.Connection], None]:
    """A change by statements."""
    return lambda connection: connection.execute(text).fetchall() and None


def size_of(path: str) -> int:
    return os.stat(path).st_size


def mode_of_folder(path: str) -> int:
    """Of the folder that a new file is to lie in; the file must not be there yet."""
    assert os.path.isabs(path)
    assert not os.path.exists(path)
    return os.stat(os.path.dirname(path)).st_mode & 0o777
