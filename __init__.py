"""perdure: self-hosted Durable Objects for Python.

The public face: the names that applications import. They are resolved on first use, so that importing any module of
the package (the client in an application, the engine in a shard) never loads what it does not need.
"""

# pyright: reportUnsupportedDunderAll=false
# pyright: reportUnsupportedDunderAll=false
from __future__ import annotations

from importlib import import_module

_PUBLIC = {
    "connect": ".router.client",
    "Client": ".router.client",
    "connect_blocking": ".router.blocking",
    "local": ".cli.local",
    "Retry": ".router.retries",
    "with_retry": ".router.retries",
    "with_deadline": ".router.retries",
    "with_key": ".router.retries",
    "DurableObject": ".engine.durable",
    "PerdureError": ".engine.errors",
    "RpcTarget": ".engine.rpc_target",
}
_MODULES = frozenset({"migrations", "sharding"})
"""Public modules: `import perdure` is enough to use them."""
__all__ = [
    "Client",
    "DurableObject",
    "PerdureError",
    "Retry",
    "RpcTarget",
    "connect",
    "connect_blocking",
    "local",
    "migrations",
    "sharding",
    "with_deadline",
    "with_key",
    "with_retry",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _PUBLIC:
        raise AttributeError(f"module 'perdure' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name], __name__), name)
