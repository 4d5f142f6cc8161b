"""Values of D1: what `bind` takes, what rows give, and what is told apart in a statement's text.

What always holds: what a program binds is checked before anything is sent, in the words of the reference; a blob comes back as a
list of numbers, as it does there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import apsw

from ..engine.errors import BindingError
from ..engine.values import UNDEFINED, JsDict, JsList, StandIn

_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
_READS = ("SELECT", "EXPLAIN", "VALUES")
"""Statements that begin so change nothing, and may be made again; so does WITH where none of the words below is in the text."""
_WRITES = re.compile(r"\b(insert|update|delete|replace)\b", re.IGNORECASE)
ONE_STATEMENT = "A prepared SQL statement must contain only one statement."
NO_STATEMENT = "No SQL statements detected."


def parameter(value: object) -> object:
    """A value as it travels to the database. Raises BindingError (`D1_TYPE_ERROR`)."""
    kind = type(value)
    if value is None or kind is float:
        return value
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value)
        return str(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        if not _INT64_MIN <= value <= _INT64_MAX:
            raise _refused("bigint", value)
        return int(value)
    if value is UNDEFINED:
        raise _refused("undefined", "undefined")
    if isinstance(value, StandIn):
        return parameter(value.plain())
    if isinstance(value, list | tuple):
        numbers = cast("Sequence[object]", value)
        if all(type(each) is int and 0 <= each < 256 for each in numbers):
            return bytes(cast("Sequence[int]", numbers))
        raise _refused("object", ",".join(map(str, numbers)))
    try:
        return memoryview(value).tobytes()  # pyright: ignore[reportArgumentType] - whatever has a buffer
    except TypeError:
        kind_of = "function" if callable(value) else "object"
        raise _refused(kind_of, "[object Object]" if isinstance(value, dict) else value) from None


def _check_text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _refused("string", ascii(value)) from None


def _refused(kind: str, value: object) -> BindingError:
    hint = "bind None, str, int, float, bool or bytes"
    return BindingError(f"D1_TYPE_ERROR: Type '{kind}' not supported for value '{value}'", hint=hint)


def rows_of(result: JsDict) -> JsList:
    """The rows of a result as lists."""
    rows = cast("JsList", result["rows"])
    if result["blobs"]:
        return JsList(JsList(map(_cell, cast("JsList", row))) for row in rows)
    return rows


def _cell(value: object) -> object:
    return JsList(value) if isinstance(value, bytes) else value


def dicts_of(result: JsDict) -> JsList:
    """The rows of a result by the names of their columns; of columns with one name the last."""
    columns = cast("list[str]", result["columns"])
    return JsList(JsDict(zip(columns, cast("JsList", row), strict=True)) for row in rows_of(result))


# ---------------------------------------------------------------------- texts
def bare(sql: str) -> str:
    """The text without what is space or comment at its beginning; empty: nothing else is in it."""
    rest = sql
    while True:
        rest = rest.lstrip(" \t\r\n\v\f;")
        if rest.startswith("--"):
            rest = rest.partition("\n")[2]
        elif rest.startswith("/*"):
            rest = rest.partition("*/")[2]
        else:
            return rest


def split(text: str) -> list[str]:
    """The statements of a text, without those that are only space or comments."""
    found: list[str] = []
    begin, end = 0, text.find(";")
    while end >= 0:
        if apsw.complete(text[begin : end + 1]):
            found.append(text[begin : end + 1])
            begin = end + 1
        end = text.find(";", end + 1)
    found.append(text[begin:])
    return [statement.strip() for statement in found if bare(statement)]


def is_single(sql: str) -> bool:
    """Whether a text holds no second statement."""
    return ";" not in sql or len(split(sql)) < 2


def reads_only(sql: str) -> bool:
    """Whether it is certain that the (single) statement changes nothing."""
    begin = bare(sql)
    return begin[:8].upper().startswith(_READS) or (begin[:4].upper() == "WITH" and _WRITES.search(begin) is None)
