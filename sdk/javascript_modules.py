"""`import_from_javascript(name)`: the modules that the reference's runtime has beside Python's (spec: sdk, other names)."""

from __future__ import annotations

from types import ModuleType
from typing import NoReturn

from ..engine.errors import PerdureError


def import_from_javascript(name: str) -> ModuleType:
    """`cloudflare:workers`, which is the module `workers`, or `cloudflare:sockets`. Raises ImportError for others."""
    if name == "cloudflare:workers":
        from . import workers  # which has this function

        return workers
    if name == "cloudflare:sockets":
        module = ModuleType(name)
        module.__dict__["connect"] = _connect
        return module
    raise ImportError(f"Failed to import '{name}'")


def _connect(*_args: object, **_options: object) -> NoReturn:
    raise PerdureError(
        "connect() of cloudflare:sockets is not implemented in perdure",
        hint="use asyncio.open_connection in a Worker, or call over HTTP with fetch()",
    )
