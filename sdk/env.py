"""`env`: a program's bindings and variables by name; and `workers.env`, the one of whatever runs.

What always holds: each event sees the `env` of its own program, however many programs a process serves; `patch_env` is seen
only by the code under its `with`, and only through `workers.env`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

from ..engine.turns import SCOPE
from ..engine.values import JsDict


class Env:
    """Attributes are the names of the configuration: namespaces of objects, variables, other bindings."""

    def __init__(self, values: Mapping[str, object]) -> None:
        self.__dict__.update({name: with_attributes(value) for name, value in values.items()})

    def __getattr__(self, name: str) -> object:
        if name == "_env":  # what the reference's wrapper wraps: here it is the same
            return self
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


RUNNING: ContextVar[Env | None] = ContextVar("perdure_env", default=None)
"""Of the Worker whose code runs, or of the program that is being imported."""
_PATCHES: ContextVar[Mapping[str, object] | None] = ContextVar("perdure_env_patches", default=None)


class CurrentEnv(Env):
    """`workers.env`. While a program is imported it has the variables; bindings come with the first event."""

    def __init__(self) -> None:
        super().__init__({})

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(current(), name)

    def __iter__(self) -> Iterator[str]:
        return iter(current())

    def __contains__(self, name: str) -> bool:
        return name in current()

    def __repr__(self) -> str:
        return repr(current())


CURRENT_ENV = CurrentEnv()
"""There is one, for all programs."""


def current() -> Env:
    """The `env` of the running object's or Worker's program, with what `patch_env` has put over it. Raises RuntimeError."""
    scope = SCOPE.get()
    found: object = scope.instance.runtime.env if scope is not None else RUNNING.get()
    if not isinstance(found, Env):
        raise RuntimeError(
            "workers.env is there in events, and while the program is imported: here neither is the case"
        )
    patches = _PATCHES.get()
    return found if patches is None else Env({**vars(found), **patches})


@contextmanager
def patch_env(
    names: Mapping[str, object] | Iterable[tuple[str, object]] | None = None, **more: object
) -> Generator[None, None, None]:
    """`with patch_env({"NAME": value}):` — under it, in this task and those that it begins, `workers.env` has these names."""
    given: dict[str, object] = {} if names is None else dict(names)
    patches = {**(_PATCHES.get() or {}), **given, **more}
    token = _PATCHES.set(patches)
    try:
        yield
    finally:
        _PATCHES.reset(token)


def with_attributes(value: object) -> object:
    """JSON variables read with attributes too."""
    if isinstance(value, dict):
        return JsDict({str(key): with_attributes(inner) for key, inner in cast("dict[object, object]", value).items()})
    if isinstance(value, list):
        return [with_attributes(inner) for inner in cast("list[object]", value)]
    return value
