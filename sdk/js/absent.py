"""Names that programs import although nothing stands behind them here: using one says so."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, NoReturn

from ...engine.errors import PerdureError
from .promise import Promise
from .proxies import JsProxy, to_text


def _refuse(name: str, why: str, hint: str = "") -> NoReturn:
    raise PerdureError(f"{name}: {why}", name="NotSupportedError", hint=hint)


class _Absent(type):
    """A class that cannot be used, and of which nothing is an instance."""

    why: str
    hint: str

    def __call__(cls, *_args: object, **_named: object) -> Any:
        _refuse(cls.__name__, cls.why, cls.hint)

    def new(cls, *_args: object, **_named: object) -> Any:
        _refuse(cls.__name__, cls.why, cls.hint)

    def __instancecheck__(cls, _instance: object) -> bool:
        return False


class EventSource(metaclass=_Absent):
    why, hint = "it is not provided", "read the body of a fetch"


class Function(metaclass=_Absent):
    why, hint = "code cannot be made of a text: there is no JavaScript here", "write it in Python"


class WebAssembly(metaclass=_Absent):
    why, hint = "it is not provided", "use a package of Python"


def eval(_code: object = None) -> NoReturn:
    """Raises PerdureError (EvalError): there is no JavaScript here."""
    raise PerdureError("eval: there is no JavaScript engine here", name="EvalError", hint="write it in Python")


class Navigator(JsProxy):
    """`navigator.userAgent`."""

    userAgent = "Cloudflare-Workers"
    hardwareConcurrency = 1
    language = "en"
    languages = ("en",)

    def sendBeacon(self, url: object, body: object = None) -> bool:
        from .web import fetch

        fetch(to_text(url), method="POST", body=body)
        return True


navigator = Navigator()


class Scheduler(JsProxy):
    """`await scheduler.wait(ms)`."""

    def wait(self, ms: object) -> Awaitable[None]:
        import asyncio

        from .proxies import to_number

        return Promise(asyncio.sleep(max(to_number(ms), 0) / 1000))


scheduler = Scheduler()
