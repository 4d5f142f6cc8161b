"""`pyodide.ffi`: values in JavaScript's style, errors, and `run_sync`."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from ...engine.blocking import can_block, run_sync
from ...engine.errors import PerdureError
from ..js.arrays import Array
from ..js.buffers import TypedArray
from ..js.collections import Map
from ..js.conversion import ConversionError, JsDoubleProxy, to_js
from ..js.promise import Promise
from ..js.proxies import JsBuffer, JsNull, JsProxy, jsnull

__path__: list[str] = []
"""It has a module below it: `pyodide.ffi.wrappers`."""
JsException = PerdureError
"""What the runtime raises, and what `js.Error.new(…)` makes: `.name`, `.message`, `.stack`."""
JsError = JsException
JsArray = Array
JsMap = JsMutableMap = Map
JsTypedArray = TypedArray
JsPromise = Promise
JsBigInt = int
IN_BROWSER = False
can_run_sync = can_block


class InternalError(Exception):
    """Never raised here; a name that programs import."""


class _Answers(type(JsProxy)):
    """A kind of proxy that is known by what it answers."""

    members: tuple[str, ...]

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, JsProxy) and all(hasattr(instance, name) for name in cls.members)


class JsIterable(metaclass=_Answers):
    members = ("__iter__",)


class JsIterator(metaclass=_Answers):
    members = ("__next__",)


class JsGenerator(metaclass=_Answers):
    members = ("__next__", "send")


class JsAsyncIterable(metaclass=_Answers):
    members = ("__aiter__",)


class JsAsyncIterator(metaclass=_Answers):
    members = ("__anext__",)


class JsAsyncGenerator(metaclass=_Answers):
    members = ("__anext__", "asend")


class JsCallable(metaclass=_Answers):
    members = ("__call__",)


class JsFetch(metaclass=_Answers):
    members = ("arrayBuffer",)


class JsDomElement(metaclass=_Answers):
    """Nothing is one: there is no page."""

    members = ("ownerDocument",)


JsCallableDoubleProxy = JsDoubleProxy


class JsOnceCallable(JsDoubleProxy):
    """Can be called once."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = self._held()
        self.destroy()
        return function(*args, **kwargs)


def create_proxy(obj: object, /, *, capture_this: bool = False, roundtrip: bool = True) -> JsDoubleProxy:
    """A handle of the value that can be destroyed; used like the value until then."""
    return JsDoubleProxy(obj)


def create_once_callable(obj: Callable[..., object], /) -> JsOnceCallable:
    """A function that can be called once: RuntimeError `already been destroyed` after that."""
    return JsOnceCallable(obj)


def destroy_proxies(pyproxies: Iterable[object], /) -> None:
    """Destroy what `to_js(…, pyproxies=…)` has collected."""
    for proxy in pyproxies:
        destroy = getattr(proxy, "destroy", None)
        if destroy is not None:
            destroy()


def register_js_module(name: str, jsmodule: object) -> None:
    """Let `import name` find the values of an object."""
    module = types.ModuleType(name)
    fields = jsmodule if isinstance(jsmodule, Mapping) else vars(jsmodule)
    module.__dict__.update({str(key): value for key, value in cast("Mapping[object, object]", fields).items()})
    sys.modules[name] = module


def unregister_js_module(name: str) -> None:
    """Take it back. Raises ValueError when there is none."""
    if sys.modules.pop(name, None) is None:
        raise ValueError(f"Cannot unregister {name!r}: no Javascript module with that name is registered")


__all__ = [
    "IN_BROWSER",
    "ConversionError",
    "InternalError",
    "JsArray",
    "JsAsyncGenerator",
    "JsAsyncIterable",
    "JsAsyncIterator",
    "JsBigInt",
    "JsBuffer",
    "JsCallable",
    "JsCallableDoubleProxy",
    "JsDomElement",
    "JsDoubleProxy",
    "JsError",
    "JsException",
    "JsFetch",
    "JsGenerator",
    "JsIterable",
    "JsIterator",
    "JsMap",
    "JsMutableMap",
    "JsNull",
    "JsOnceCallable",
    "JsPromise",
    "JsProxy",
    "JsTypedArray",
    "can_run_sync",
    "create_once_callable",
    "create_proxy",
    "destroy_proxies",
    "jsnull",
    "register_js_module",
    "run_sync",
    "to_js",
    "unregister_js_module",
]
