"""What may differ, row by row, and why. Each `Differs` is a `differs` row of docs/compatibility.md.

What always holds: a name here is the name of a row; both outcomes of a difference are written out, so that a change of either
side is seen.
"""

from __future__ import annotations

from .operation import Allowance, Differs, Json, Wording


def _value(value: Json) -> Json:
    return {"value": value}


def _error(message: str, name: str = "Error", **flags: bool) -> Json:
    return {"error": {"name": name, "message": message, **flags}}


def _counts(ours: list[Json], theirs: list[Json]) -> Differs:
    return Differs(_value(ours), _value(theirs), "rows are counted without a fork of SQLite: an estimate")


_ARITY = Wording("TypeError", "a missing argument is told in Python's words")
_CLONE = Wording("DataCloneError", "a JavaScript function is named by its source, ours by its type")
_TOO_BIG = _error("string or blob too big: SQLITE_TOOBIG")
_SIZE = "8 MB there in its open form, 2 MB as documented; ours: key_and_value_bytes_max and sql_row_bytes_max"
_HINTS = Wording("SQL", "the way out is told for perdure's own configuration")
_NO_OUTCOME: Json = {"no outcome": "HTTP Error 500: Internal Server Error"}
_OPEN_RETURNING = "that version of the reference ends with an internal error when rows of RETURNING are left unread"
_CONSTRAINTS = (
    "Durable Object was reset and rolled back to its last known good state because the application left the database in a "
    "state where constraints were violated: FOREIGN KEY constraint failed: SQLITE_CONSTRAINT (extended: "
    "SQLITE_CONSTRAINT_FOREIGNKEY)"
)


def _violated(*flags: str) -> Json:
    told: Json = {"$error": {"name": "Error", "message": _CONSTRAINTS, **dict.fromkeys(flags, True)}}
    return _value([told, told, {"$map": [["n", 0]]}])


_KEYS: dict[str, Allowance] = {
    "get: no argument": _ARITY,
    "put: no argument": _ARITY,
    "get: null as key": Differs(
        _error(
            "Failed to execute 'get' on 'DurableObjectStorage': parameter 1 is not of type 'string', got NoneType",
            "TypeError",
        ),
        _value("none"),
        "None as a key is a mistake, in Python as good as always",
    ),
    "kv.get: a list": Differs(
        _error(
            "Failed to execute 'get' on 'DurableObjectStorage': parameter 1 is not of type 'string', got list",
            "TypeError",
        ),
        _value(1),
        "JavaScript joins the list to one text",
    ),
    "value: a type error": Differs(
        _value({"$error": {"name": "Error", "message": "stored"}}),
        _value({"$error": {"name": "TypeError", "message": "stored"}}),
        "an exception of Python's own is an Error; JavaScript's classes have other names",
    ),
    "value: a range error": Differs(
        _value({"$error": {"name": "Error", "message": "stored"}}),
        _value({"$error": {"name": "RangeError", "message": "stored"}}),
        "an exception of Python's own is an Error; JavaScript's classes have other names",
    ),
    "value: a function": _CLONE,
    "value: a function inside": _CLONE,
    "kv.put: a function": _CLONE,
    "rpc error: a function in storage": _CLONE,
    "value: an instance of a class": Differs(
        _error('Could not serialize object of type "Point"', "DataCloneError"),
        _value({"$map": [["x", 1]]}),
        "a Python instance is no plain object; the reference's Python programs cannot store it either",
    ),
    "value: 5 MB": Differs(_TOO_BIG, _value(None), _SIZE),
    "kv.put: 5 MB": Differs(_TOO_BIG, _value(None), _SIZE),
    "legacy: sql": _HINTS,
    "legacy: kv": Wording("only available for SQLite-backed Durable Objects"),
    "legacy: transactionSync": Differs(
        _error("Durable Object is not backed by SQL"),
        _value(1),
        "on one's own machine the reference keeps such classes in SQLite too; hosted it refuses",
    ),
}
_SQL: dict[str, Allowance] = {
    "sql: no argument": _ARITY,
    "sql: an int bound without affinity": Differs(
        _value([{"$map": [["t", "integer"], ["half", 2]]}]),
        _value([{"$map": [["t", "real"], ["half", 2.5]]}]),
        "an int is bound as INTEGER",
    ),
    "sql: true and false bound": Differs(
        _value([{"$map": [["a", 1], ["b", 0], ["t", "integer"]]}]),
        _value([{"$map": [["a", "true"], ["b", "false"], ["t", "text"]]}]),
        "a bool is bound as 1 or 0",
    ),
    "sql: a list bound": Differs(
        _value([{"$map": [["v", "['a', 'b']"]]}]),
        _value([{"$map": [["v", "a,b"]]}]),
        "any other object is bound as its own text: that of Python",
    ),
    "sql: two semicolons": Differs(
        _value([{"$map": [["a", 1]]}]), _error("SQL code did not contain a statement."), "nothing follows the statement"
    ),
    "cursor: columnNames of RETURNING": Differs(_value(["id", "n"]), _NO_OUTCOME, _OPEN_RETURNING),
    "cursor: dropped unread, the write happened": Differs(_value({"$map": [["n", 4]]}), _NO_OUTCOME, _OPEN_RETURNING),
    "counters: SELECT by key, none": _counts([0, 0], [1, 0]),
    "counters: INSERT SELECT": _counts([3, 3], [9, 3]),
    "counters: SELECT by an index": _counts([1, 0], [2, 0]),
    "counters: SELECT of an index alone": _counts([1, 0], [2, 0]),
    "counters: ORDER BY without an index": _counts([3, 0], [6, 0]),
    "counters: IN": _counts([2, 0], [6, 0]),
    "counters: CREATE TABLE": _counts([0, 0], [1, 2]),
    "counters: DROP TABLE": _counts([0, 0], [2, 0]),
    "counters: a trigger": _counts([2, 2], [1, 2]),
    "counters: RETURNING": _counts([1, 1], [2, 1]),
    "counters: a join of all": _counts([9, 0], [12, 0]),
    "counters: GROUP BY": _counts([3, 0], [6, 0]),
    "sql fails: load_extension": Wording(
        "not authorized", "there the function exists and refuses, here it is not allowed"
    ),
    "sql fails: a blob of 5 MB": Differs(_TOO_BIG, _value([{"$map": [["n", 5000000]]}]), _SIZE),
    "sql fails: a value of 5 MB": Differs(_TOO_BIG, _value({"$map": [["n", 5000000]]}), _SIZE),
}
_OBJECTS: dict[str, Allowance] = {
    "transactionSync: deleteAll inside": Differs(
        _error("Cannot call deleteAll() within a transaction"),
        _error("internal error"),
        "refused alike in both kinds of transaction",
    ),
    "a deferred constraint fails the commit": Differs(
        _violated("durableObjectReset"), _violated(), "the object was reset, and the error says so"
    ),
    "alarm: no argument": _ARITY,
    "alarm: set between retries replaces the retry": Differs(
        _value([[0, False], [0, False]]), _value([[0, False], [1, True]]), "what is set anew is told as a first run"
    ),
    "id: get without": _ARITY,
    "id: get with another class's": Differs(
        _error("Durable Object ID is not valid for this namespace.", "TypeError"),
        _value({"$map": [["name", "a"], ["id", {"$map": [["jurisdiction", None], ["name", "a"]]}]]}),
        "the mistake is told at once",
    ),
    "stub: jurisdiction": Wording("Jurisdiction restrictions are not implemented"),
    "stub: jurisdiction nobody knows": Wording("Jurisdiction restrictions are not implemented"),
    "rpc value: 40 MB": Wording("limited to 32MiB", "the packed form of a value has some bytes more or less"),
    "rpc error: a class without the base": Wording(
        "does not support RPC", "how to extend DurableObject is told for Python"
    ),
}
_REQUESTS: dict[str, Allowance] = {
    "fetch: a relative URL": Wording("Invalid URL: /relative"),
    "fetch: no URL": Wording("Invalid URL: not a url"),
    "fetch: the empty URL": Wording("Invalid URL: "),
    "fetch: without an argument": _ARITY,
    "fetch: a GET with a body": Wording("cannot have a body"),
    "fetch error: no such handler": Differs(
        _error("Method fetch does not exist", "TypeError", remote=True),
        _error("Handler does not export a fetch() function.", remote=True),
        "as the reference's Python programs have it",
    ),
    "fetch error: what is no response": Wording("Incorrect type for Promise"),
    "fetch error: nothing returned": Wording("Incorrect type for Promise"),
    "fetch error: an abort": Differs(
        _error("while fetching", durableObjectReset=True),
        _error("while fetching", remote=True, durableObjectReset=True),
        "an abort is told alike to calls and to requests",
    ),
    "pipeline: on a number": Differs(
        _error('Can\'t pipeline on RPC that did not return an object: int has no "increment"'),
        _error('The RPC receiver does not implement the method "increment".', "TypeError", remote=True),
        "it says what the result is",
    ),
    "pipeline: on nothing": Differs(
        _error('Can\'t pipeline on RPC that did not return an object: NoneType has no "increment"'),
        _error('The RPC receiver does not implement the method "increment".', "TypeError", remote=True),
        "it says what the result is",
    ),
}

_ACCEPTED = _error(
    "Can't return WebSocket in a Response after calling `acceptWebSocket()` or `accept()`.", "TypeError", remote=True
)
_REPLIES = (
    "its open runtime answers a Close only for sockets of accept(); here also for those that hibernate, as documented"
)
_RETURNED = "there the client gets its 101 and is then cut off; here it gets the error"
_STATUS = "Responses with a WebSocket must have status code 101"
_RANGE = "Responses may only be constructed with status codes in the range 200 to 599, inclusive"
_PYTHON_ERROR = "a status that cannot be is Python's ValueError in the SDK's class"
_SOCKETS: dict[str, Allowance] = {
    "socket: properties": Differs(
        _value([None, "", "", "arraybuffer"]),
        _value([None, "", "", "blob"]),
        "binary messages are buffers, in listeners as in handlers",
    ),
    "socket: error: the object returns an end that it has accepted": Differs(_ACCEPTED, _value(None), _RETURNED),
    "socket: error: the object returns an end that acceptWebSocket() took": Differs(_ACCEPTED, _value(None), _RETURNED),
    "socket: error: the object returns an end a second time": Differs(
        _error("Can't return WebSocket that was already used in a response.", "TypeError", remote=True),
        _value(None),
        _RETURNED,
    ),
    "socket error: 101 without a socket": Differs(
        _error(f"{_RANGE}; got 101"), _error(f"{_RANGE}.", "RangeError"), _PYTHON_ERROR
    ),
    "socket error: a socket with another status": Differs(
        _error(f"{_STATUS}, got 200"), _error(f"{_STATUS}.", "RangeError"), _PYTHON_ERROR
    ),
    "socket error: a socket without a status": Differs(
        _error(f"{_STATUS}, got 200"), _error(f"{_STATUS}.", "RangeError"), _PYTHON_ERROR
    ),
    "socket: the client closes": Differs(
        _value([[[3001, "bye", True, 3, 1]], [["close", 3001, "bye", True]], 0]),
        _value([[[3001, "bye", True, 2, 1]], [], 0]),
        _REPLIES,
    ),
    "socket: the client closes without a code": Differs(
        _value([[[1005, "", True, 3, 1]], [["close", 1005, "", True]]]),
        _value([[[1005, "", True, 2, 1]], []]),
        _REPLIES,
    ),
    "socket: a send in the handler of the close": Differs(
        _value([[{"$map": [["value", None]]}], [["message", "late"], ["close", 3001, "bye", True]]]),
        _value([[{"$map": [["value", None]]}], [["message", "late"]]]),
        _REPLIES,
    ),
    "socket: the close event of the client, and its state": Differs(
        _value([[2, 3], [["close", 1000, "x", True]]]), _value([[2, 2], []]), _REPLIES
    ),
    "socket: an abort ends the socket": Differs(
        _value([[["close", 1006, "disconnected without sending Close frame", False]], 0]),
        _value([[["close", 1006, "WebSocket disconnected without sending Close frame.", False]], 0]),
        "the phrase is the same, the words around it are not",
    ),
    "socket: a send after the peer has closed": Differs(
        _value([None, 3]),
        _value(["Can't call WebSocket send() after close().", 3]),
        "only the program's own close() forbids to send; what is sent to a peer that is gone is dropped, as documented",
    ),
}

KNOWN: dict[str, Allowance] = {**_KEYS, **_SQL, **_OBJECTS, **_REQUESTS, **_SOCKETS}
