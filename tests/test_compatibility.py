"""docs/compatibility.md tells the truth about itself: each row has a state, and the tests that it names exist."""

from __future__ import annotations

import ast
import functools
import os
import re

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)(?:\[([^\]]+)\])?")


def rows() -> list[tuple[int, list[str]]]:
    """Line numbers and cells of the tables that begin with `what`, without their heads."""
    found: list[tuple[int, list[str]]] = []
    ours = False
    with open(f"{ROOT}/docs/compatibility.md") as file:
        for number, line in enumerate(file, 1):
            if not line.startswith("|"):
                ours = False
                continue
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if cells[0] == "what":
                ours = True
            elif ours and set("".join(cells)) - set("-: "):
                found.append((number, cells))
    return found


@functools.cache
def named_in(path: str) -> tuple[frozenset[str], str]:
    """The test functions of a file, and its text."""
    with open(f"{ROOT}/{path}") as file:
        text = file.read()
    names = {
        node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return frozenset(names), text


def complaint(cells: list[str]) -> str:
    """What is wrong with a row; empty when nothing is."""
    if len(cells) != 3:
        return f"{len(cells)} cells instead of 3"
    what, state, named = cells
    if not what:
        return "does not say what"
    if state != "yes" and not re.fullmatch(r"(differs|later): \S.{5,}", state):
        return f"the state is {state!r}: neither yes nor differs or later with a reason"
    found = _TEST.findall(named)
    if not found and not state.startswith("later"):
        return "names no test"
    for path, name, case in found:
        if not os.path.isfile(f"{ROOT}/{path}"):
            return f"there is no {path}"
        names, text = named_in(path)
        if name not in names:
            return f"{path} has no {name}"
        if case and not all(part in text for part in re.split(r"[-]", case)):
            return f"{path}::{name} has no case {case}"
    rest = _TEST.sub("", named).strip(" `,-")
    return f"not understood: {rest!r}" if rest else ""


def test_each_row_has_a_state_and_a_test_that_exists() -> None:
    found = rows()
    assert found
    wrong = [f"line {number}: {complaint(cells)}" for number, cells in found if complaint(cells)]
    assert wrong == []


@pytest.mark.parametrize(
    "cells",
    [
        ["what", "yes"],
        ["", "yes", "tests/test_compatibility.py::test_wrong_rows_are_found"],
        ["what", "yes", ""],
        ["what", "maybe", "tests/test_compatibility.py::test_wrong_rows_are_found"],
        ["what", "differs", "tests/test_compatibility.py::test_wrong_rows_are_found"],
        ["what", "later: ", ""],
        ["what", "yes", "tests/test_compatibility.py::test_that_is_not_there"],
        ["what", "yes", "tests/test_nothing.py::test_wrong_rows_are_found"],
        ["what", "yes", "tests/test_compatibility.py::test_wrong_rows_are_found[no such case]"],
        ["what", "yes", "some words"],
    ],
)
def test_wrong_rows_are_found(cells) -> None:
    if "no such case" in str(cells):
        cells[2] = cells[2].replace("no such case", "no such" + " " + "thing")
    assert complaint(cells)
