"""TinyBase's synchroniser protocol, as the object speaks it: one more peer, named S, that is always there.

A message is `<who>\\n[request, kind, body]`: from a client `who` is whom it is for (nobody: all), to a client whom it is
from. What always holds: nothing is remembered between messages. What a request was about is in its own id, so an answer
that comes after the object has slept, moved or died is understood all the same.
"""

import json

import stamps

NAME = "S"
RESPONSE, GET_HASHES, HASHES, CHANGES, TABLE_DIFF, ROW_DIFF, CELL_DIFF, VALUE_DIFF = range(8)
ASKS = {
    f"{NAME}.tables": TABLE_DIFF,
    f"{NAME}.rows": ROW_DIFF,
    f"{NAME}.cells": CELL_DIFF,
    f"{NAME}.values": VALUE_DIFF,
}
NAMES = {kind: name for name, kind in ASKS.items()}
NOTHING = [{}]


def packed(request, kind, body):
    return json.dumps([request, kind, body], ensure_ascii=False, separators=(",", ":"))


def unpacked(text):
    """(request, kind, body). ValueError if it is none."""
    message = json.loads(text)
    if not isinstance(message, list) or len(message) != 3 or not isinstance(message[1], int):
        raise ValueError("not a message of a synchroniser")
    return message


def answer(store, request, kind, body, now_ms):
    """A message of a client, for S: (what to answer it, [(request, kind, body)]; what it brought that was new, or None)."""
    if kind == GET_HASHES:
        return [(request, RESPONSE, store.hashes())], None
    if kind == HASHES:
        return asked_back(store, body), None
    if kind == CHANGES:
        return [], merged(store, body[0], body[1], now_ms)
    if kind in NAMES:
        depth = {ROW_DIFF: 1, CELL_DIFF: 2}.get(kind, 0)
        if not stamps.is_hashes(body, depth):
            raise ValueError("not hashes")
        made = {
            TABLE_DIFF: store.table_diff,
            ROW_DIFF: store.row_diff,
            CELL_DIFF: store.cell_diff,
            VALUE_DIFF: store.value_diff,
        }
        return [(request, RESPONSE, made[kind](body))], None
    if kind == RESPONSE and request in ASKS:
        return brought(store, ASKS[request], body, now_ms)
    return [], None


def asked_back(store, theirs):
    """Theirs differ: they may look at ours, and we ask for what they have."""
    tables, values = store.hashes()
    made = []
    if theirs != [tables, values]:
        made.append((None, HASHES, [tables, values]))
    if theirs[0] != tables:
        made.append((NAMES[TABLE_DIFF], TABLE_DIFF, store.roots["t"].hashes()))
    if theirs[1] != values:
        made.append((NAMES[VALUE_DIFF], VALUE_DIFF, store.roots["v"].hashes()))
    return made


def brought(store, kind, body, now_ms):
    """The answer to what we asked: merged at once, and the next question, one level down."""
    if kind == VALUE_DIFF:
        return [], merged(store, NOTHING, body, now_ms)
    if kind == CELL_DIFF:
        return [], merged(store, body, NOTHING, now_ms)
    new, differ = body
    if not stamps.is_hashes(differ, 0 if kind == TABLE_DIFF else 1):
        raise ValueError("not hashes")
    changes = merged(store, new, NOTHING, now_ms) if new[0] else None
    if not differ:
        return [], changes
    follow = (ROW_DIFF, store.row_hashes) if kind == TABLE_DIFF else (CELL_DIFF, store.cell_hashes)
    return [(NAMES[follow[0]], follow[0], follow[1](differ))], changes


def merged(store, tables, values, now_ms):
    latest = now_ms + stamps.FUTURE_MS
    if not stamps.is_stamp(tables, 3, latest) or not stamps.is_stamp(values, 1, latest):
        raise ValueError("not changes, or from the future")
    return [tables, values, 1] if store.merge(tables, values) else None
