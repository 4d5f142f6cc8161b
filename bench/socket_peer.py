"""`workerd` with the JavaScript twin of `socketing`, for the rows that compare with it: its objects' files are in memory."""

from __future__ import annotations

import os
import shutil

from tests.differential.reference import OutOfReach as OutOfReach
from tests.differential.reference import Reference

from .rigs import ROOT

_CONFIG = """using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "disk", disk = (path = "%(disk)s", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const main :Workerd.Worker = (
  modules = [(name = "twin.js", esModule = embed "twin.js")],
  compatibilityDate = "%(date)s",
  durableObjectNamespaces = [(className = "Hall", uniqueKey = "bench-Hall", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [(name = "HALL", durableObjectNamespace = "Hall")],
);
"""


def peer(folder: str) -> Reference:
    """A context manager; `url` and `pid`. Raises OutOfReach (on entering) where the binary cannot be had."""
    os.makedirs(folder, exist_ok=True)
    shutil.copy(f"{ROOT}/bench/socketing/twin.js", folder)
    return Reference(folder, _CONFIG)
