"""A restore that was acknowledged is found after a power cut, also when every folder above the object is new."""

from __future__ import annotations

import asyncio
import os

from perdure.testing.disk import SimDisk

from .machine import Machine
from .power import LIMITS


def test_the_folders_of_a_replaced_file_are_durable(tmp_path) -> None:
    async def run() -> None:
        root = str(tmp_path / "data")
        disk = SimDisk(root)
        disk.make_folder(root)
        machine = Machine(disk, 1, LIMITS)
        await machine.call("o", "write", 1)
        _, bookmark = await machine.call("o", "mark")  # pyright: ignore[reportGeneralTypeIssues]
        await machine.call("o", "write", 2)
        await machine.call("o", "restore", bookmark)
        await asyncio.gather(machine.call("o", "abort"), return_exceptions=True)
        assert (await machine.call("o", "mark"))[0] == 1  # pyright: ignore[reportIndexIssue]
        path = next(path for path in disk.names if "/objects/" in path and path.endswith(".sqlite"))
        while path != root:
            assert path in disk.durable_names, f"{path} would be lost"
            path = os.path.dirname(path)
        machine.abandon()
        disk.close_vfs()

    asyncio.run(run())
