"""The two programs of a table of rows: files for the reference, files for us.

What always holds: a row that has one text has it in both programs, word for word, but for declarations that JavaScript needs.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Iterable

from .operation import Operation, Text
from .reference import DATE

_HERE = f"{os.path.dirname(os.path.abspath(__file__))}/program"
_NAMES = [
    *("storage", "sql", "kv", "ctx", "env", "self", "info", "request", "argument"),
    *("ns", "stub", "again", "other", "inside", "until", "now", "sleep", "outcome", "told", "Target"),
    *("ws", "said", "ending", "problem", "upgrade", "connect", "pairOf"),
]
"""What a row's code may find; it gets those that it names."""
_ASSIGNED = re.compile(r"(?:^|;)\s*([a-z_]\w*) = ", re.MULTILINE)
_WRANGLER = {
    "name": "differential",
    "main": "entry.py",
    "compatibility_date": DATE,
    "compatibility_flags": ["python_workers"],
    "durable_objects": {
        "bindings": [
            {"name": "TWIN", "class_name": "Twin"},
            {"name": "LEGACY", "class_name": "Legacy"},
            {"name": "PLAIN", "class_name": "Plain"},
            {"name": "NOBASE", "class_name": "NoBase"},
        ]
    },
    "migrations": [{"tag": "v1", "new_sqlite_classes": ["Twin", "Plain", "NoBase"], "new_classes": ["Legacy"]}],
}
_PYTHON_NAMES = """
from perdure.engine.values import UNDEFINED as undefined

null, true, false, NaN, Infinity = None, True, False, math.nan, math.inf
"""


def _used(text: str) -> list[str]:
    return [name for name in _NAMES if re.search(rf"(?<![\w\"'])(?<!(?<!\.\.)\.){name}\b", text)]


def _javascript(text: Text, name: str) -> str:
    """One function. A part whose name ends in `_` is synchronous."""
    code = text.js
    if not text.python:
        assigned = sorted(set(_ASSIGNED.findall(code)))
        if assigned:
            code = f"let {', '.join(assigned)};\n{code}"
    prefix = "" if name.endswith("_") else "async "
    return f"{prefix}({{ {', '.join(_used(code))} }}) => {{\n{textwrap.indent(textwrap.dedent(code), '  ')}\n}}"


def _python(text: Text, function: str, name: str) -> str:
    code = textwrap.dedent(text.own).strip("\n")
    names = "".join(f"    {used} = scope.{used}\n" for used in _used(code))
    prefix = "" if name.endswith("_") else "async "
    return f"{prefix}def {function}(scope):\n{names}{textwrap.indent(code, '    ')}\n"


def write_javascript(rows: Iterable[Operation], folder: str) -> None:
    """`twin.js` and `rows.js`."""
    with open(f"{_HERE}/twin.js") as file, open(f"{folder}/twin.js", "w") as copy:
        copy.write(file.read())
    lines = ["export const rows = {"]
    for row in rows:
        parts = ",\n".join(f"{json.dumps(name)}: {_javascript(text, name)}" for name, text in row.parts.items())
        lines.append(
            f"{json.dumps(row.name)}: {{ where: {json.dumps(row.where)}, legacy: {json.dumps(row.legacy)}, "
            f"run: {_javascript(row.code, 'run')}, parts: {{ {parts} }} }},"
        )
    with open(f"{folder}/rows.js", "w") as file:
        file.write("\n".join([*lines, "};\n"]))


def write_python(rows: Iterable[Operation], folder: str) -> None:
    """A program as a user has it: `wrangler.jsonc` and `entry.py`."""
    with open(f"{folder}/wrangler.jsonc", "w") as file:
        json.dump(_WRANGLER, file)
    with open(f"{_HERE}/twin.py") as file:
        made = [file.read(), _PYTHON_NAMES]
    for number, row in enumerate(rows):
        made.append(_python(row.code, f"_run_{number}", "run"))
        parts: list[str] = []
        for name, text in row.parts.items():
            made.append(_python(text, f"_part_{number}_{name}", name))
            parts.append(f"{name!r}: _part_{number}_{name}")
        made.append(
            f"ROWS[{row.name!r}] = {{'where': {row.where!r}, 'legacy': {row.legacy!r}, "
            f"'run': _run_{number}, 'parts': {{{', '.join(parts)}}}}}\n"
        )
    with open(f"{folder}/entry.py", "w") as file:
        file.write("\n\n".join(made))
