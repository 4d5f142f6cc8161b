"""Modules of programs that are served beside each other: each program has its own, of whatever name (`entry`, `models`).

What always holds: an import in a program's file finds that program's modules first, whenever it is made; what no program has
is imported as ever, once for all. A program's modules lie under a package made for it, so their full names differ.

How: the builtins of a program's modules have an `__import__` of their own, which every function keeps that they define.
`importlib.import_module` and libraries that call it find the program by who called them.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

_PREFIX = "perdure_program_"
_FRAMES_MAX = 200
_SHARED = frozenset({"workers", "asgi", "wsgi", "js", "pyodide", "pyodide_js", "cloudflare"})


def execute(spec: ModuleSpec) -> ModuleType:
    """Import what a spec with a loader describes, under its name. Raises what it raises; then it is not imported."""
    assert spec.loader is not None, "it is made of a file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    return module


class ProgramModules:
    """The modules in one folder."""

    def __init__(self, program: str, folder: str) -> None:
        self.package = _PREFIX + "".join(letter if letter.isalnum() else "_" for letter in program)
        self._folder = folder
        self._known: dict[str, bool] = {}
        self.builtins: dict[str, object] = {**vars(builtins), "__import__": self._import}
        package = ModuleType(self.package)
        package.__path__ = [folder]
        sys.modules[self.package] = package
        _install()
        _TABLES[self.package] = self

    def load_main(self, path: str, name: str) -> ModuleType:
        """Import the main module. Raises what it raises."""
        full = f"{self.package}.{name}"
        spec = importlib.util.spec_from_file_location(full, path, loader=_Loader(self.builtins, full, path))
        assert spec is not None, "a loader was given"
        return execute(spec)

    def forget(self) -> None:
        """Its modules are imported anew from now on."""
        for name in [name for name in sys.modules if name.startswith(f"{self.package}.")]:
            del sys.modules[name]

    def has(self, name: str) -> bool:
        """Whether the folder has a module or package of that name, and nothing that all share does."""
        top = name.partition(".")[0]
        found = self._known.get(top)
        if found is None:
            found = self._known[top] = self._look(top)
        return found

    def _look(self, top: str) -> bool:
        if top in sys.stdlib_module_names or top in _SHARED:
            return False
        here = importlib.machinery.PathFinder.find_spec(top, [self._folder])
        if here is None or here.origin is not None:
            return here is not None
        return top not in sys.modules and importlib.util.find_spec(top) is None  # a folder of modules counts last

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level or not self.has(name):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        full = f"{self.package}.{name}"
        found = builtins.__import__(full, None, None, fromlist or ("__name__",), 0)
        return found if fromlist else sys.modules[f"{self.package}.{name.partition('.')[0]}"]


class _Loader(importlib.machinery.SourceFileLoader):
    """Gives a module the builtins of its program."""

    def __init__(self, builtins_of: dict[str, object], fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._builtins_of = builtins_of

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self._builtins_of
        super().exec_module(module)


class _Finder:
    """Finds what lies under the package of a program."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        table = _TABLES.get(fullname.partition(".")[0])
        if table is None or path is None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(table.builtins, fullname, spec.loader.path)
        return spec


_TABLES: dict[str, ProgramModules] = {}
_import_module = importlib.import_module


def _install() -> None:
    """The finder, and an `importlib.import_module` that knows who asks."""
    if not any(finder is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, cast("Any", _Finder))
        importlib.import_module = cast("Callable[..., ModuleType]", import_module)


def import_module(name: str, package: str | None = None) -> ModuleType:
    """As `importlib.import_module`; a program's own module when code of that program leads here."""
    table = None if name.startswith(".") or name.partition(".")[0] in _SHARED else _asking()
    if table is not None and table.has(name):
        return _import_module(f"{table.package}.{name}")
    return _import_module(name, package)


def _asking() -> ProgramModules | None:
    """The program whose code is nearest on the stack."""
    frame = sys._getframe(2)
    for _ in range(_FRAMES_MAX):
        found = _TABLES.get(str(frame.f_globals.get("__name__", "")).partition(".")[0])
        if found is not None:
            return found
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return None
