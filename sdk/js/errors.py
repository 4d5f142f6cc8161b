"""`Error` and its kinds: what they make can be raised, and is caught as `JsException`, which is the root of the runtime's errors.

What always holds: an error that is made here crosses a call with its name and message.
"""

from __future__ import annotations

from typing import Any

from ...engine.errors import PerdureError
from .arrays import Array
from .proxies import missing, options, to_text


class _ErrorKind(type):
    """`isinstance(error, js.TypeError)` goes by the error's name."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, PerdureError) and cls.__name__ in ("Error", instance.name)


class Error(metaclass=_ErrorKind):
    """`Error.new(message, cause=…)`, or `Error(message)`."""

    def __new__(cls, message: object = "", settings: object = None, /, **named: object) -> Any:
        return cls.new(message, settings, **named)

    @classmethod
    def new(cls, message: object = "", settings: object = None, /, **named: object) -> PerdureError:
        error = PerdureError("" if missing(message) else to_text(message), name=cls.__name__)
        error.stack = str(error)
        cause = options(settings, named).get("cause")
        if isinstance(cause, BaseException):
            error.__cause__ = cause
        if not missing(cause):
            error.cause = cause  # type: ignore[attr-defined]
        return error

    @staticmethod
    def captureStackTrace(_error: object) -> None:
        """Accepted: Python keeps its own traceback."""


class TypeError(Error):
    """As in JavaScript."""


class RangeError(Error):
    """As in JavaScript."""


class SyntaxError(Error):
    """As in JavaScript."""


class ReferenceError(Error):
    """As in JavaScript."""


class EvalError(Error):
    """As in JavaScript."""


class URIError(Error):
    """As in JavaScript."""


class AggregateError(Error):
    """Several errors at once: `.errors`."""

    @classmethod
    def new(cls, errors: object = (), message: object = "", /, **named: object) -> PerdureError:  # type: ignore[override]
        error = super().new(message, None, **named)
        error.errors = Array(errors)  # type: ignore[attr-defined,call-overload]
        return error


class DOMException(metaclass=_ErrorKind):
    """`DOMException.new(message, name)`."""

    def __new__(cls, message: object = "", name: object = "Error") -> Any:
        return cls.new(message, name)

    @staticmethod
    def new(message: object = "", name: object = "Error") -> PerdureError:
        return PerdureError(to_text(message), name=to_text(name))


def as_error(reason: object) -> BaseException:
    """What was thrown, as something that Python can raise."""
    if isinstance(reason, BaseException):
        return reason
    return PerdureError("undefined" if missing(reason) else to_text(reason))
