"""perdure: self-hosted Durable Objects for Python.

The public face: the names that applications import. They are resolved on first use, so that importing any module of
the package (the client in an application, the engine in a shard) never loads what it does not need.
"""

from __future__ import annotations

from importlib import import_module

_PUBLIC = {
    "connect": ".router.client",
    "Client": ".router.client",
    "connect_blocking": ".router.blocking",
    "local": ".cli.local",
    "DurableObject": ".engine.durable",
    "PerdureError": ".engine.errors",
}
__all__ = ["Client", "DurableObject", "PerdureError", "connect", "connect_blocking", "local"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'perdure' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name], __name__), name)
