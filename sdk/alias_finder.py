"""How `pyodide.ffi` and the like are found, and what `from js import name` says of a name that does not exist.

What always holds: a module of the SDK is one module, whatever name it is imported by; nothing is loaded before a program asks.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from .js import explain

_HERE = __name__.rpartition(".")[0]
_MODULES = {
    "cloudflare.workers": "workers",
    "workers.entrypoints": "submodules.entrypoints",
    "workers.rpc": "submodules.rpc",
    "workers.utils": "submodules.utils",
    "workers.workflows": "submodules.workflows",
    "pyodide.code": "pyodide.code",
    "pyodide.ffi": "pyodide.ffi",
    "pyodide.ffi.wrappers": "pyodide.wrappers",
    "pyodide.http": "pyodide.http",
    "pyodide.webloop": "pyodide.webloop",
}
"""Name that programs use → the SDK's own module."""
_JS = (f"{_HERE}.js.", "js.")


class _Loader:
    """Gives a module that is loaded already, and leaves it as it is."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._own = module.__spec__

    def create_module(self, _spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own  # importing has replaced it


class AliasFinder:
    """The finder, for sys.meta_path."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The SDK's own module under a name of the reference."""
        own = _MODULES.get(fullname)
        if own is not None:
            return ModuleSpec(fullname, _Loader(importlib.import_module(f"{_HERE}.{own}")))  # type: ignore[arg-type]
        return None


class UnknownNames:
    """Asked last: for `perdure.sdk.js.name`, when the module `js` has no `name`; for `cloudflare`, when it is not installed."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raises ImportError for a name of `js`."""
        if fullname == "cloudflare":
            package = ModuleType(fullname)
            package.__path__ = []
            return ModuleSpec(fullname, _Loader(package), is_package=True)  # type: ignore[arg-type]
        for prefix in _JS:
            if fullname.startswith(prefix):
                name = fullname[len(prefix) :]
                raise ImportError(f"cannot import name {name!r} from 'js': {explain(name)}")
        return None


def install() -> None:
    """Ask them from now on: before any other finder, and after all of them."""
    if AliasFinder not in sys.meta_path:
        sys.meta_path.insert(0, AliasFinder)  # type: ignore[arg-type]
        sys.meta_path.append(UnknownNames)  # type: ignore[arg-type]
