"""Whether two outcomes of a row are the same, and how one is told.

An outcome is `{"value": …}` or `{"error": {"name", "message", flags…}}`, encoded alike by both programs (`program/`).
What always holds: true is not 1; only what a row's allowance names is forgiven.
"""

from __future__ import annotations

import json

from .operation import Differs, Json, Operation, PythonRaised, Wording


def same(left: Json, right: Json) -> bool:
    """Equal as JavaScript has it: 3.0 is 3, but true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return left == right


def complaint(row: Operation, theirs: Json, ours: Json) -> str:
    """What is wrong with a row; empty when nothing is."""
    allow = row.allow
    theirs = _without_references(theirs)
    match allow:
        case Differs():
            if not same(theirs, allow.theirs):
                return f"{row.name}: the reference no longer says {show(allow.theirs)} but {show(theirs)}"
            if not same(ours, allow.ours):
                return f"{row.name}: we no longer say {show(allow.ours)} but {show(ours)}"
            return ""
        case Wording():
            for side in (theirs, ours):
                if allow.phrase not in json.dumps(side, ensure_ascii=False):
                    return f"{row.name}: no phrase {allow.phrase!r} in {show(side)}"
            if same(_without_messages(theirs), _without_messages(ours)):
                return ""
        case PythonRaised():
            if same(theirs, _without_tracebacks(ours)):
                return ""
        case None:
            if same(theirs, ours):
                return ""
    return f"{row.name}: the reference says {show(theirs)}, we say {show(ours)}"


def show(outcome: Json) -> str:
    text = json.dumps(outcome, ensure_ascii=False)
    return text if len(text) < 600 else f"{text[:400]} … {text[-200:]}"


def _without_messages(outcome: Json) -> Json:
    if isinstance(outcome, dict):
        return {key: _without_messages(value) for key, value in outcome.items() if key != "message"}
    if isinstance(outcome, list):
        return [_without_messages(value) for value in outcome]
    return outcome


def _without_references(theirs: Json) -> Json:
    """An internal error of the reference has a number of its own each time."""
    if isinstance(theirs, dict) and isinstance(error := theirs.get("error"), dict):
        message = str(error["message"])
        if message.startswith("internal error; reference = "):
            return {"error": {**error, "message": "internal error"}}
    return theirs


def _without_tracebacks(outcome: Json) -> Json:
    """`PythonError: Traceback … ValueError: text\\n` becomes `text`."""
    if isinstance(outcome, dict):
        return {key: _without_tracebacks(value) for key, value in outcome.items()}
    if isinstance(outcome, list):
        return [_without_tracebacks(value) for value in outcome]
    if isinstance(outcome, str) and outcome.startswith("PythonError: Traceback"):
        last = outcome.rstrip("\n").rsplit("\n", 1)[-1]
        return last.partition(": ")[2]
    return outcome
