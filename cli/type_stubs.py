"""Python types of a program's `env`: stubs of its classes whose methods can be completed and checked.

What always holds: the module that is written can be imported, and imports the program's own types only for checkers; what cannot
be named is `Any`; a method appears as its caller sees it: awaited, with its parameters.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import typing
from collections.abc import Iterator, Mapping
from typing import Any, cast

from ..bindings.ai import Ai
from ..bindings.assets import AssetsBinding
from ..bindings.d1 import D1Database
from ..bindings.kv import KvNamespace
from ..bindings.queues import Queue
from ..bindings.r2 import R2Bucket
from ..bindings.rate_limits import RateLimit
from ..engine.durable import DurableObject
from ..engine.stubs import RESERVED_METHODS
from ..sdk.binding_names import sections_of
from ..sdk.config import Config
from ..sdk.entrypoints import HANDLERS, WorkerEntrypoint
from ..sdk.program import Program
from ..sdk.programs import Programs

MODULE = "worker_types"
_HEAD = '''"""Made by `perdure types`: the types of this program's env. Do not edit it; make it anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import collections.abc
    import datetime
    import typing

    from perdure.engine.ids import ObjectId
    from perdure.sdk.response import Response
'''
_KINDS: Mapping[str, type] = {
    "kv_namespaces": KvNamespace,
    "d1_databases": D1Database,
    "r2_buckets": R2Bucket,
    "queues": Queue,
    "ratelimits": RateLimit,
    "unsafe": RateLimit,
    "ai": Ai,
    "assets": AssetsBinding,
}
"""Key of the configuration → what its bindings are."""
_NOT_METHODS = RESERVED_METHODS | set(HANDLERS) | {"preShutdown"}


def written(programs: Programs) -> str:
    """The module for the first program."""
    return _Writer(programs).module()


class _Writer:
    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._program = programs.first
        self._imports: set[str] = set()

    def module(self) -> str:
        config = self._program.config
        parts = [self._env(config)]
        classes: dict[str, type] = {}
        for binding in config.bindings:
            other = self._programs.get(binding.program or self._program.name)
            class_name = other.named(binding.class_name)
            classes[_stub(other, self._program, class_name)] = other.classes[class_name]
        for service in config.services:
            other = self._programs.get(service.program)
            cls = getattr(other.module, service.entrypoint or "Default", None)
            if isinstance(cls, type) and issubclass(cls, WorkerEntrypoint):
                classes[_stub(other, self._program, service.entrypoint or "Default")] = cls
        for name, cls in classes.items():
            parts.append(self._class(name, cls))
            if issubclass(cls, DurableObject):
                parts.append(_namespace(name))
        head = _HEAD + "".join(f"    {line}\n" for line in sorted(self._imports))
        return head + "".join(f"\n\n{part}" for part in parts)

    def _env(self, config: Config) -> str:
        lines = [f"{name}: {_type_of(value)}" for name, value in config.vars.items()]
        for binding in config.bindings:
            other = self._programs.get(binding.program or self._program.name)
            lines.append(f"{binding.name}: {_stub(other, self._program, other.named(binding.class_name))}Namespace")
        for service in config.services:
            other = self._programs.get(service.program)
            known = isinstance(getattr(other.module, service.entrypoint or "Default", None), type)
            name = _stub(other, self._program, service.entrypoint or "Default")
            lines.append(f"{service.name}: {name if known else 'Any'}")
        lines += [f"{name}: {self._kind(section)}" for name, section in sections_of(config)]
        return _block("Env", "What `self.env` holds.", lines)

    def _kind(self, section: str) -> str:
        """The type of the bindings of a section."""
        cls = _KINDS.get(section)
        if cls is None:
            return "Any"
        self._imports.add(f"import {cls.__module__}")  # whole names: the program may have a Queue of its own
        return f"{cls.__module__}.{cls.__name__}"

    def _class(self, name: str, cls: type) -> str:
        lines = ["async def fetch(self, request: object, **init: Any) -> Response: ..."]
        if issubclass(cls, DurableObject):
            lines = ["id: ObjectId", "name: str | None", *lines]
        lines += [self._method(method, function) for method, function in _methods(cls)]
        return _block(name, f"A stub of `{cls.__name__}`.", lines)

    def _method(self, name: str, function: Any) -> str:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            return f"async def {name}(self, *args: Any, **kwargs: Any) -> Any: ..."
        space = cast("dict[str, object]", getattr(inspect.unwrap(function), "__globals__", {}))
        parameters: list[str] = []
        starred = False
        for parameter in list(signature.parameters.values())[1:]:
            if parameter.kind is parameter.KEYWORD_ONLY and not starred:
                parameters.append("*")
                starred = True
            starred = starred or parameter.kind is parameter.VAR_POSITIONAL
            star = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
            text = f"{star}{parameter.name}: {self._named(parameter.annotation, parameter.empty, space)}"
            parameters.append(text if parameter.default is parameter.empty else f"{text} = ...")
        result = self._named(signature.return_annotation, signature.empty, space)
        return f"async def {name}(self{''.join(f', {each}' for each in parameters)}) -> {result}: ..."

    def _named(self, annotation: object, empty: object, space: Mapping[str, object]) -> str:
        """An annotation as it can stand in the module; `Any` where its names are not known."""
        if annotation is empty:
            return "Any"
        if annotation is None or annotation is type(None):
            return "None"
        text = annotation if isinstance(annotation, str) else _text_of(annotation)
        try:
            tree = ast.parse(text, mode="eval")
        except SyntaxError:
            return "Any"
        lines: set[str] = set()
        for name in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}:
            line = _import_of(name, space)
            if line is None:
                return "Any"
            lines.add(line)
        self._imports |= lines - {""}
        return text


def _text_of(annotation: object) -> str:
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__qualname__
    return str(annotation)


def _import_of(name: str, space: Mapping[str, object]) -> str | None:
    """The line that imports a name; empty: none is needed; None: it cannot be imported."""
    if name in vars(builtins) and name not in space:
        return ""
    value = space.get(name)
    if name in ("typing", "datetime", "collections") and (value is None or inspect.ismodule(value)):
        return ""
    if inspect.ismodule(value):
        return f"import {value.__name__} as {name}"
    module = getattr(value, "__module__", None)
    if isinstance(value, type) and isinstance(module, str):
        return f"from {_plain(module)} import {value.__name__}{'' if value.__name__ == name else f' as {name}'}"
    if value is not None and hasattr(typing, name):
        return f"from typing import {name}"
    return None


def _plain(module: str) -> str:
    """A module's name as the program writes it."""
    return module.partition(".")[2] if module.startswith("perdure_program_") else module


def _methods(cls: type) -> Iterator[tuple[str, object]]:
    base = DurableObject if issubclass(cls, DurableObject) else WorkerEntrypoint
    for name in dir(cls):
        found = inspect.getattr_static(cls, name)
        if name.startswith("_") or name in _NOT_METHODS or hasattr(base, name) or not inspect.isfunction(found):
            continue
        yield name, found


def _stub(other: Program, first: Program, name: str) -> str:
    """The name of a stub's type."""
    own = "" if other is first else "".join(part.capitalize() for part in other.name.replace("_", "-").split("-"))
    return f"{own}{name}Stub"


def _namespace(stub: str) -> str:
    lines = [
        "def idFromName(self, name: str) -> ObjectId: ...",
        "def idFromString(self, hex: str) -> ObjectId: ...",
        "def newUniqueId(self, options: object = None) -> ObjectId: ...",
        f"def get(self, id: ObjectId, options: object = None) -> {stub}: ...",
        f"def getByName(self, name: str, options: object = None) -> {stub}: ...",
    ]
    return _block(f"{stub}Namespace", "The objects of a class.", lines)


def _block(name: str, about: str, lines: list[str]) -> str:
    return f'class {name}(Protocol):\n    """{about}"""\n\n' + "".join(f"    {line}\n" for line in lines)


def _type_of(value: object) -> str:
    return type(value).__name__ if isinstance(value, str | int | float | bool) else "Any"
