"""The reference runtime, `workerd`: its binary from the npm registry, and one process of it that serves the JavaScript twin.

What always holds: the version is pinned; the binary is kept outside of the repository and fetched once; the process listens on
loopback only, keeps its objects in a temporary folder, and is ended by its pid.
"""

from __future__ import annotations

import json
import os
import platform
import select
import shutil
import subprocess
import tarfile
import tempfile
import time
from contextlib import ExitStack

VERSION = "1.20261117.1"
DATE = "2026-10-15"
"""Compatibility date of both twins."""
_SYSTEMS = {
    ("Linux", "x86_64"): "linux-64",
    ("Linux", "aarch64"): "linux-arm64",
    ("Darwin", "x86_64"): "darwin-64",
    ("Darwin", "arm64"): "darwin-arm64",
}
_UNREACHED = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENOTCACHED",
)
_FETCH_S = 120.0
_START_S = 20.0
_MEMORY = "/dev/shm"
"""Where the reference keeps its objects: what is compared are outcomes, and a disk would make it wait for each of them."""
_CONFIG = """using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "disk", disk = (path = "%(disk)s", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const main :Workerd.Worker = (
  modules = [
    (name = "twin.js", esModule = embed "twin.js"),
    (name = "rows.js", esModule = embed "rows.js"),
  ],
  compatibilityDate = "%(date)s",
  compatibilityFlags = ["nodejs_compat"],
  durableObjectNamespaces = [
    (className = "Twin", uniqueKey = "differential-Twin", enableSql = true),
    (className = "Legacy", uniqueKey = "differential-Legacy"),
    (className = "Plain", uniqueKey = "differential-Plain", enableSql = true),
    (className = "NoBase", uniqueKey = "differential-NoBase", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [
    (name = "TWIN", durableObjectNamespace = "Twin"),
    (name = "LEGACY", durableObjectNamespace = "Legacy"),
    (name = "PLAIN", durableObjectNamespace = "Plain"),
    (name = "NOBASE", durableObjectNamespace = "NoBase"),
  ],
);
"""


class OutOfReach(Exception):
    """The binary cannot be had here: no npm, no registry, or no build for this machine. The text says which."""


def binary() -> str:
    """Path of the reference's binary, fetched with npm if it is not in the cache. Raises OutOfReach."""
    system = _SYSTEMS.get((platform.system(), platform.machine()))
    if system is None:
        raise OutOfReach(f"there is no workerd for {platform.system()} {platform.machine()}")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = f"{cache}/perdure/workerd-{VERSION}-{system}/workerd"
    if not os.path.exists(path):
        _fetch(f"@cloudflare/workerd-{system}@{VERSION}", path)
    return path


def _fetch(package: str, path: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise OutOfReach(f"npm is not installed: {package} cannot be fetched")
    folder = os.path.dirname(os.path.dirname(path))
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        try:
            done = subprocess.run(
                [npm, "pack", package, "--json", "--fetch-retries=1"],
                cwd=made,
                capture_output=True,
                text=True,
                timeout=_FETCH_S,
            )
        except subprocess.TimeoutExpired as error:
            raise OutOfReach(f"npm did not give {package} within {_FETCH_S:.0f} s") from error
        if done.returncode != 0:
            said = done.stdout + done.stderr
            if any(code in said for code in _UNREACHED):
                raise OutOfReach(f"the npm registry is out of reach: {said[-300:]}")
            raise RuntimeError(f"npm could not fetch {package}: {said[-2000:]}")
        (name,) = [name for name in os.listdir(made) if name.endswith(".tgz")]
        with tarfile.open(f"{made}/{name}") as archive:
            member = archive.extractfile("package/bin/workerd")
            assert member is not None
            os.mkdir(f"{made}/ready")
            with open(f"{made}/ready/workerd", "wb") as file:
                shutil.copyfileobj(member, file)
        os.chmod(f"{made}/ready/workerd", 0o755)
        try:
            os.rename(f"{made}/ready", os.path.dirname(path))
        except OSError:
            if not os.path.exists(path):  # else somebody fetched it at the same time
                raise


class Reference:
    """A running workerd that serves a folder with the modules that `config` names at `url`. A context manager.

    `config`: text of a config.capnp, by default that of the twins; `%(disk)s` and `%(date)s` in it are filled in.
    """

    def __init__(self, folder: str, config: str = _CONFIG) -> None:
        self._folder = folder
        self._config = config
        self.pid = 0
        self._stack = ExitStack()
        self.url = ""

    def __enter__(self) -> Reference:
        with self._stack:  # what fails leaves nothing behind
            disk = tempfile.mkdtemp(prefix="differential-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
            self._stack.callback(shutil.rmtree, disk, ignore_errors=True)
            with open(f"{self._folder}/config.capnp", "w") as file:
                file.write(self._config % {"disk": disk, "date": DATE})
            log = self._stack.enter_context(open(f"{self._folder}/log", "w"))
            read, write = os.pipe()
            try:
                process = subprocess.Popen(
                    [binary(), "serve", "config.capnp", f"--control-fd={write}"],
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(write,),
                )
                self._stack.callback(_end, process)
                self.pid = process.pid
            finally:
                os.close(write)
            try:
                self.url = f"http://127.0.0.1:{self._listening(read)}/"
            finally:
                os.close(read)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _listening(self, control: int) -> int:
        end = time.monotonic() + _START_S
        said = b""
        while b"\n" not in said:
            ready, _, _ = select.select([control], [], [], max(0.0, end - time.monotonic()))
            chunk = os.read(control, 4096) if ready else b""
            if not chunk:
                raise RuntimeError(f"workerd did not start: {self.log()}")
            said += chunk
        told = json.loads(said.split(b"\n")[0])
        assert told["event"] == "listen", told
        return int(told["port"])

    def log(self) -> str:
        """The end of what it said."""
        with open(f"{self._folder}/log") as file:
            return file.read()[-4000:]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
