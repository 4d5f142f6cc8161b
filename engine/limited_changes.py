"""`DELETE … LIMIT` and `UPDATE … LIMIT`: the reference's SQLite has them, the one that apsw brings has not.

What always holds: a statement is rewritten only if SQLite refused it and only if its form is understood whole; the rewritten one
changes the same rows and takes its parameters in the same order. `delete from t where a order by b limit 5` becomes
`delete from t where rowid in (select rowid from t where a order by b limit 5)`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space>(?:\s+|--[^\n]*|/\*(?:.|\n)*?(?:\*/|$))+)
    | (?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    | (?P<word>[^\W\d][\w$]*)
    | (?P<parameter>\?\d*|[:@$][\w:]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    word: str
    """In lower case; empty for what is no word, or not at the outermost level."""
    start: int
    parameter: bool


@dataclass(frozen=True, slots=True)
class Limited:
    """A rewritten statement, and how much of the text it was."""

    statement: str
    length: int


def _tokens(text: str) -> tuple[list[_Token], int]:
    """The tokens of the first statement, without space and comments, and where it ends."""
    found: list[_Token] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "space":
            continue
        part = match.group()
        depth += (part == "(") - (part == ")")
        if part == ";" and depth == 0:
            if found:
                return found, match.end()
            continue
        word = part.lower() if match.lastgroup == "word" and depth == 0 else ""
        found.append(_Token(part, word, match.start(), match.lastgroup == "parameter"))
    return found, len(text)


def _find(tokens: Sequence[_Token], words: Sequence[str], after: int) -> int:
    return next((index for index in range(after, len(tokens)) if tokens[index].word in words), -1)


def _unquoted(name: str) -> str:
    if name[:1] == "[":
        return name[1:-1]
    if name[:1] in "'\"`":
        return name[1:-1].replace(name[0] * 2, name[0])
    return name


def limited_change(text: str, keys: Callable[[str], Sequence[str]]) -> Limited | None:
    """`text`'s first statement without a limit of its own, or None if it is not a form that can be rewritten.

    `keys`: the names, quoted, of the columns that tell the rows of a table apart; none when there is no such table.
    """
    tokens, end = _tokens(text)
    verb = _find(tokens, ("delete", "update"), 0)
    if verb < 0 or _find(tokens, ("from",), verb + 2) >= 0 or _find(tokens, ("limit",), verb) < 0:
        return None
    target = verb + 1
    if tokens[verb].word == "delete":
        if tokens[target].word != "from":
            return None
        target += 1
        body = _find(tokens, ("where", "returning", "order", "limit"), target)
        tail = body
    else:
        if tokens[target].word == "or":
            target += 2
        body = _find(tokens, ("set",), target)
        tail = _find(tokens, ("where", "returning", "order", "limit"), body)
    if target >= body or body < 0 or tail < 0:
        return None
    return _rewritten(text, tokens, end, target, body, tail, keys)


def _rewritten(
    text: str, tokens: list[_Token], end: int, target: int, body: int, tail: int, keys: Callable[[str], Sequence[str]]
) -> Limited | None:
    def between(first: int, last: int) -> str:
        return text[
            tokens[first].start : tokens[last].start if last < len(tokens) else tokens[-1].start + len(tokens[-1].text)
        ]

    name = tokens[target + 2] if target + 2 < body and tokens[target + 1].text == "." else tokens[target]
    columns = keys(_unquoted(name.text))
    if not columns:
        return None
    limit = _find(tokens, ("limit",), tail)
    order = _find(tokens, ("order",), tail)
    returning = _find(tokens, ("returning",), tail)
    selected_to = min(index for index in (returning, order, limit) if index >= 0)
    rest = min(index for index in (order, limit) if index >= 0)
    if 0 <= returning < rest and any(token.parameter for token in tokens[returning:rest]):
        return None  # its parameters come before those of the limit, and would come after
    if returning > rest:
        return None
    condition = between(tail, selected_to) if tail < selected_to else ""
    names = ", ".join(columns)
    key = names if len(columns) == 1 else f"({names})"
    inner = f"select {names} from {between(target, body)} {condition} {between(rest, len(tokens))}"
    head = text[tokens[0].start : tokens[tail].start]
    given = between(returning, rest) if returning >= 0 else ""
    return Limited(f"{head} where {key} in ({inner}) {given}".rstrip(), end)
