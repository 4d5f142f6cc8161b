"""Copies of objects: a private folder under DATA/exports for one command, and what is moved out of it or into it.

What always holds: the folder is of mode 0700 and goes away with the command; what a killed command left is removed by the next
one; a file that is handed to the user gets its name only when it is whole.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import BinaryIO

import apsw

from ..engine.errors import ConfigError, InvalidArgument

_CHUNK = 1 << 20
Progress = Callable[[int, int], None]
"""`(bytes done, bytes of all)`."""


@contextmanager
def workspace(data: str) -> Generator[str]:
    """A fresh folder for copies, on the file system of the data folder."""
    root = os.path.join(data, "exports")
    os.makedirs(root, mode=0o700, exist_ok=True)
    os.chmod(root, 0o700)
    _remove_abandoned(root)
    folder = os.path.join(root, f"{os.getpid()}-{secrets.token_hex(8)}")
    os.mkdir(folder, 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(root: str) -> None:
    """Folders of commands whose process is gone."""
    for name in os.listdir(root):
        pid = name.partition("-")[0]
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(os.path.join(root, name), ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def send(path: str, out: BinaryIO, progress: Progress) -> int:
    """Copy the file to a stream; its bytes."""
    whole, done = os.path.getsize(path), 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            out.write(chunk)
            done += len(chunk)
            progress(done, whole)
    out.flush()
    return done


def check_new(path: str) -> None:
    """Raises ConfigError when a file is there already."""
    if os.path.lexists(path):
        raise ConfigError(f"{path} exists already", hint="choose another name, or remove it")


def hand_over(path: str, to: str, progress: Progress) -> None:
    """Copy the file to where the user wants it. Raises ConfigError when that exists or cannot be written."""
    check_new(to)
    partial = f"{to}.{secrets.token_hex(4)}.partial"
    try:
        with open(partial, "xb", opener=_private) as out:
            send(path, out, progress)
            os.fsync(out.fileno())
        os.link(partial, to)  # unlike a rename it never replaces what came meanwhile
    except FileExistsError:
        check_new(to)
        raise
    except OSError as error:
        raise ConfigError(f"cannot write {to}: {error.strerror}") from error
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def take(source: str, to: str, progress: Progress) -> None:
    """A whole copy of a user's SQLite file, what its -wal holds included. Raises InvalidArgument when it is none, or damaged.

    SQLite's own backup is used: the file may be in use, and bytes alone would miss its -wal.
    """
    if not os.path.isfile(source):
        raise InvalidArgument(f"there is no file {source}")
    try:
        original = apsw.Connection(source, flags=apsw.SQLITE_OPEN_READONLY)
        try:
            if original.pragma("page_count") == 0:
                raise InvalidArgument(f"{source} is empty")
            _back_up(original, to, progress)
        finally:
            original.close()
    except apsw.Error as error:
        raise InvalidArgument(f"{source} cannot be read as a SQLite database: {error}") from error


def _back_up(original: apsw.Connection, to: str, progress: Progress) -> None:
    copy = apsw.Connection(to)
    try:
        with copy.backup("main", original, "main") as backup:
            while not backup.done:
                backup.step(256)
                done = backup.page_count - backup.remaining
                progress(done * 4096, backup.page_count * 4096)
        copy.execute("pragma journal_mode=delete").fetchall()
        said = copy.execute("pragma quick_check(1)").fetchall()
        if said != [("ok",)]:
            raise InvalidArgument(
                f"the database is damaged: {said[0][0]}", hint="SQLite's .recover may save what it holds"
            )
    finally:
        copy.close()
