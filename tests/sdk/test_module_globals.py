"""Globals of a program's module that its code writes are told once each."""

from __future__ import annotations

import types

import pytest
from perdure.sdk.module_globals import ModuleGlobals, Written

SOURCE = """
import collections
LIMIT = 10
count = 0
names = {}
seen = []
tags = set()
recent = collections.deque()

class Room:
    def bump(self):
        global count
        count += 1
    def inner(self):
        def later():
            global LIMIT
            LIMIT = 11
        return later
    @classmethod
    def make(cls): ...
def read():
    return LIMIT + count
"""


@pytest.fixture
def module():
    found = types.ModuleType("program")
    exec(SOURCE, found.__dict__)
    found.Room.__module__ = found.__name__
    found.read.__module__ = found.__name__
    return found


def test_names_that_functions_rebind_are_found_in_their_code_once(module) -> None:
    watched = ModuleGlobals(module)
    assert {found.name for found in watched.declared()} == {"count", "LIMIT"}
    assert watched.declared() == []
    module.Room().bump()
    assert watched.written() == []  # told already


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("names", lambda module: module.names.update(a=1)),
        ("seen", lambda module: module.seen.append(1)),
        ("tags", lambda module: module.tags.add(1)),
        ("recent", lambda module: module.recent.append(1)),
        ("count", lambda module: module.Room().bump()),
        ("new", lambda module: setattr(module, "new", object())),
    ],
)
def test_what_changes_is_told_once(module, name, change) -> None:
    watched = ModuleGlobals(module)
    assert watched.written() == []
    change(module)
    assert watched.written() == [Written(name)]
    change(module)
    assert watched.written() == []


def test_a_value_that_is_replaced_in_place_is_seen(module) -> None:
    module.names["a"] = 1_000
    watched = ModuleGlobals(module)
    module.names["a"] = 2_000
    assert watched.written() == [Written("names")]
