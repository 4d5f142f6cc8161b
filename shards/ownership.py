"""The data folder: who owns it, which format it has, where the sockets of its processes are.

What always holds: one descriptor on DATA/lock, flocked, is inherited by every process that may write the folder; so the
lock is free only when the last of them is gone, whatever became of the supervisor.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile

from ..engine.errors import DataFolderError

FORMAT = 2
"""1 had the generation in the names of objects' files; 2 has it in their headers."""
SOCKET_PATH_BYTES_MAX = 107  # sun_path of Linux, less the final zero
_LONGEST_SOCKET_NAME = "/s63-000000000000-00000000"


class DataFolder:
    """An opened and locked data folder."""

    def __init__(self, path: str, lock_fd: int, run: str) -> None:
        self.path = path
        self.lock_fd = lock_fd
        self.run = run

    @classmethod
    def open(cls, path: str) -> DataFolder:
        """Make the folder if it is new, lock it, check its format.

        Raises DataFolderError: held by another supervisor (named by pid), not writable, or of a newer format.
        """
        path = os.path.abspath(path)
        try:
            _make_durably(path)
            lock_fd = os.open(f"{path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise DataFolderError(
                f"cannot use the data folder {path}: {error.strerror}",
                hint="choose another with --data, or give this user the right to write there",
            ) from error
        try:
            _lock(path, lock_fd)
            _check_format(path)
            run = _run_folder(path)
        except BaseException:
            os.close(lock_fd)
            raise
        return cls(path, lock_fd, run)

    def publish_address(self, address: str) -> None:
        """Write the router endpoint's address where clients on this machine look for it."""
        temporary = f"{self.path}/address.new"
        with open(temporary, "w") as file:
            file.write(address)
        os.rename(temporary, f"{self.path}/address")

    def close(self) -> None:
        """Forget the address, remove the sockets, release the lock."""
        for name in ("address",):
            try:
                os.unlink(f"{self.path}/{name}")
            except FileNotFoundError:
                continue
        for name in os.listdir(self.run):
            os.unlink(f"{self.run}/{name}")
        if self.run != f"{self.path}/run":
            os.rmdir(self.run)
        os.close(self.lock_fd)


def _make_durably(path: str) -> None:
    """Make the folder and its parents; what was made is entered durably in what was there."""
    missing: list[str] = []
    at = path
    while not os.path.isdir(at) and at != os.path.dirname(at):
        missing.append(at)
        at = os.path.dirname(at)
    os.makedirs(path, mode=0o700, exist_ok=True)
    for folder in reversed(missing):
        _sync_folder(os.path.dirname(folder))


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _lock(path: str, lock_fd: int) -> None:
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise DataFolderError(f"cannot lock the data folder {path}: {error.strerror}") from error
        holder = os.pread(lock_fd, 64, 0).decode(errors="replace").strip()
        who = f" (supervisor {holder})" if holder else ""
        raise DataFolderError(
            f"the data folder {path} is in use by another perdure{who}",
            hint="stop it first; after a kill its shards may need some seconds to end",
        ) from error
    os.ftruncate(lock_fd, 0)
    os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)


def _check_format(path: str) -> None:
    file = f"{path}/FORMAT"
    try:
        with open(file, "rb") as opened:
            text = opened.read(4096)
    except FileNotFoundError:
        if os.path.isdir(f"{path}/objects"):
            raise DataFolderError(f"{path} holds objects but no FORMAT file: it is not safe to guess") from None
        _write_format(path, file)
        return
    try:
        found = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError):
        raise DataFolderError(
            f"{file} is damaged: {text[:80]!r}", hint=f'it should read {{"format":{FORMAT}}}'
        ) from None
    if found == 1:
        _rename_objects(path)
        _write_format(path, file)
    elif not isinstance(found, int) or found > FORMAT:
        raise DataFolderError(
            f"the data folder {path} has format {found}, this perdure understands up to {FORMAT}",
            hint="upgrade perdure; a newer folder is never opened by an older program",
        )


def _rename_objects(path: str) -> None:
    """From format 1: `<id>.1.sqlite` becomes `<id>.sqlite`. May be broken off and begun again."""
    for folder, _, names in os.walk(f"{path}/objects"):
        for name in names:
            if name.endswith(".1.sqlite"):
                os.rename(f"{folder}/{name}", f"{folder}/{name.removesuffix('.1.sqlite')}.sqlite")
        _sync_folder(folder)


def _write_format(path: str, file: str) -> None:
    fd = os.open(f"{file}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps({"format": FORMAT}).encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(f"{file}.new", file)
    _sync_folder(path)


def _run_folder(path: str) -> str:
    """Where the sockets are: DATA/run, or a private folder with a shorter path. Mode 0700."""
    inside = f"{path}/run"
    if len(os.fsencode(inside + _LONGEST_SOCKET_NAME)) <= SOCKET_PATH_BYTES_MAX:
        os.makedirs(inside, mode=0o700, exist_ok=True)
        os.chmod(inside, 0o700)
        for name in os.listdir(inside):  # sockets of processes that are gone: we hold the lock
            os.unlink(f"{inside}/{name}")
        return inside
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        if base and os.path.isdir(base) and len(os.fsencode(f"{base}/perdure-12345678{_LONGEST_SOCKET_NAME}")) <= 107:
            return tempfile.mkdtemp(prefix="perdure-", dir=base)
    raise DataFolderError(
        f"no folder with a path short enough for sockets ({SOCKET_PATH_BYTES_MAX} bytes) was found",
        hint="set XDG_RUNTIME_DIR to a short path",
    )
