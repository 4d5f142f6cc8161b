"""`self._ctx` and `self._env`: what the reference's wrappers wrap. Here nothing is wrapped, so they are the same objects."""

from __future__ import annotations


class Raw:
    """An attribute that reads another one of the same object, unless the program sets it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> object:
        return self if instance is None else getattr(instance, self._name)
