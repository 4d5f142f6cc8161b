"""Classes of objects that belong to bindings, not to a program: each shard hosts them.

What always holds: their keys cannot be those of a program's classes, since no name of a program has a dot.
"""

from __future__ import annotations

from ..engine.ids import ClassKey

_PREFIX = "perdure."


def key_of(name: str) -> ClassKey:
    """The key of a system class: `kv` → `perdure.kv`."""
    return ClassKey(f"{_PREFIX}{name}")


def is_system(class_key: str) -> bool:
    return class_key.startswith(_PREFIX)
