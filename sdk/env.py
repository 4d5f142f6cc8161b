"""`env`: a program's bindings and variables by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..engine.values import JsDict


class Env:
    """Attributes are the names of the configuration: namespaces of objects, variables."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.__dict__.update({name: _wrap(value) for name, value in values.items()})

    def __getattr__(self, name: str) -> object:
        known = ", ".join(sorted(self.__dict__)) or "none"
        raise AttributeError(f"env has no binding or variable {name!r}; the configuration declares: {known}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def __getitem__(self, name: str) -> object:
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"Env({', '.join(sorted(self.__dict__))})"


def _wrap(value: object) -> object:
    """JSON variables read with attributes too."""
    if isinstance(value, dict):
        return JsDict({str(key): _wrap(inner) for key, inner in value.items()})
    if isinstance(value, list):
        return [_wrap(inner) for inner in value]
    return value
