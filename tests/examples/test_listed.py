"""docs/examples.md lists what there is, and the programs stay small."""

from __future__ import annotations

import ast
import os
import re

from .stage import EXAMPLES

PAGE = f"{os.path.dirname(EXAMPLES)}/docs/examples.md"
ROW = re.compile(r"^\| `([\w-]+)` \|.*\| (\d+) \|$", re.MULTILINE)
LINES_MAX = 99


def test_the_table_has_each_program_and_its_lines() -> None:
    with open(PAGE) as file:
        listed = {name: int(lines) for name, lines in ROW.findall(file.read())}
    found: dict[str, int] = {}
    for name in os.listdir(EXAMPLES):
        if os.path.exists(f"{EXAMPLES}/{name}/wrangler.jsonc"):
            with open(f"{EXAMPLES}/{name}/src/entry.py") as file:
                text = file.read()
            found[name] = len(text.splitlines())
            assert ast.get_docstring(ast.parse(text)), f"{name} does not say what it is"
    assert listed == found
    assert max(found.values()) <= LINES_MAX
