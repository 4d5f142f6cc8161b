"""Keys and values: the asynchronous calls."""

from __future__ import annotations

from .operation import Operation, inside

_FIVE = 'await storage.put({"a": 1, "aa": 2, "b": 3, "ba": 4, "c": 5})'


def _list(name: str, options: str) -> Operation:
    return inside(f"list: {name}", f"{_FIVE}; return await storage.list({options})")


def _value(name: str, js: str, python: str = "") -> Operation:
    """A value that is stored and read."""
    return inside(
        f"value: {name}",
        f'await storage.put("k", {js}); return await storage.get("k")',
        f'await storage.put("k", {python or js}); return await storage.get("k")',
    )


_READ = [
    inside("get: nothing there", 'return await storage.get("k")'),
    inside("get: what was put", 'await storage.put("k", {"a": [1, "x", null, true]}); return await storage.get("k")'),
    inside("get: the empty key", 'await storage.put("", 1); return await storage.get("")'),
    inside(
        "get: options",
        'await storage.put("k", 1); return await storage.get("k", {"allowConcurrency": true, "noCache": true})',
    ),
    inside(
        "get: several keys", 'await storage.put({"b": 2, "a": 1}); return await storage.get(["b", "missing", "a", "b"])'
    ),
    inside("get: no keys", "return await storage.get([])"),
    inside(
        "get: several in UTF-8 order",
        'await storage.put({"\\u{1F600}": 1, "\\uFF5E": 2, "é": 3}); return [...(await storage.get(["\\u{1F600}", "\\uFF5E", "é"])).keys()]',
        'await storage.put({"\\U0001F600": 1, "\\uFF5E": 2, "é": 3}); return list(await storage.get(["\\U0001F600", "\\uFF5E", "é"]))',
    ),
    inside(
        "get: 200 keys at once",
        """
        const entries = {}; const keys = [];
        for (let i = 0; i < 200; i++) { entries["k" + i] = i; keys.push("k" + i); }
        await storage.put(entries);
        return (await storage.get(keys)).size;
        """,
        """
        entries = {f"k{i}": i for i in range(200)}
        await storage.put(entries)
        return len(await storage.get(list(entries)))
        """,
    ),
    inside("get: no argument", "return await storage.get()"),
    inside("get: a number as key", 'await storage.put("5", "five"); return await storage.get(5)'),
    inside("get: null as key", 'await storage.put("null", "none"); return await storage.get(null)'),
]
_WRITE = [
    inside("put: gives nothing", 'return await storage.put("k", 1)'),
    inside("put: a number as key", 'await storage.put(5, "five"); return await storage.list()'),
    inside(
        "put: a number with a fraction as key",
        'await storage.put(1.5, "x"); return [await storage.get("1.5"), await storage.delete(1.5)]',
    ),
    inside("put: true as key", 'await storage.put(true, "x"); return await storage.list()'),
    inside("put: a large number as key", 'await storage.put(1e21, "x"); return await storage.list()'),
    inside("put: replaces", 'await storage.put("k", 1); await storage.put("k", 2); return await storage.get("k")'),
    inside("put: takes effect when called", 'storage.put("k", 1); return await storage.get("k")'),
    inside("put: entries", 'await storage.put({"b": 1, "a": null}); return await storage.list()'),
    inside(
        "put: entries with an undefined one", 'await storage.put({"a": 1, "u": undefined}); return await storage.list()'
    ),
    inside("put: no entries", "await storage.put({}); return await storage.list()"),
    inside(
        "put: options",
        'await storage.put("k", 1, {"allowUnconfirmed": true, "noCache": true, "allowConcurrency": true}); return await storage.get("k")',
    ),
    inside(
        "put: entries and options",
        'await storage.put({"k": 1}, {"allowUnconfirmed": true}); return await storage.get("k")',
    ),
    inside("put: undefined", 'await storage.put("k", undefined)'),
    inside("put: no value", 'await storage.put("k")'),
    inside("put: entries and a text", 'await storage.put({"k": 1}, "x")'),
    inside("put: no argument", "await storage.put()"),
    inside(
        "put: null stored is there",
        'await storage.put("k", null); return [await storage.get("k"), await storage.delete("k")]',
    ),
    inside(
        "put: a failing value changes nothing",
        """
        await storage.put("k", 1);
        let name = "";
        try { await storage.put("k", () => 1); } catch (error) { name = error.name; }
        return [name, await storage.get("k")];
        """,
        """
        await storage.put("k", 1)
        name = ""
        try:
            await storage.put("k", lambda: 1)
        except Exception as error:
            name = error.name
        return [name, await storage.get("k")]
        """,
    ),
    inside(
        "put: one bad entry stores none",
        """
        let name = "";
        try { await storage.put({ a: 1, b: () => 1 }); } catch (error) { name = error.name; }
        return [name, await storage.list()];
        """,
        """
        name = ""
        try:
            await storage.put({"a": 1, "b": lambda: 1})
        except Exception as error:
            name = error.name
        return [name, await storage.list()]
        """,
    ),
    inside("put: keys of any characters", 'await storage.put("a\\u0000b ü\\n", 1); return await storage.list()'),
    inside(
        "put: a key of 3000 characters",
        'await storage.put("k".repeat(3000), 1); return [...(await storage.list()).keys()][0].length',
        'await storage.put("k" * 3000, 1); return len(list(await storage.list())[0])',
    ),
    inside("delete: there", 'await storage.put("k", 1); return [await storage.delete("k"), await storage.get("k")]'),
    inside("delete: not there", 'return await storage.delete("k")'),
    inside(
        "delete: several",
        'await storage.put({"a": 1, "b": 2}); return [await storage.delete(["a", "x", "b"]), await storage.list()]',
    ),
    inside("delete: the same twice", 'await storage.put("a", 1); return await storage.delete(["a", "a"])'),
    inside("delete: none", "return await storage.delete([])"),
    inside(
        "delete: takes effect when called",
        'await storage.put("k", 1); storage.delete("k"); return await storage.get("k")',
    ),
    inside(
        "delete: options", 'await storage.put("k", 1); return await storage.delete("k", {"allowUnconfirmed": true})'
    ),
    inside("delete: a null value existed", 'await storage.put("k", null); return await storage.delete("k")'),
    inside("sync: gives nothing", 'storage.put("k", 1); return await storage.sync()'),
]
_LISTS = [
    inside("list: nothing", "return await storage.list()"),
    _list("all", ""),
    _list("no options", "{}"),
    _list("undefined", "undefined"),
    _list("start", '{"start": "aa"}'),
    _list("start of no key", '{"start": "ab"}'),
    _list("startAfter", '{"startAfter": "aa"}'),
    _list("end", '{"end": "b"}'),
    _list("start and end", '{"start": "aa", "end": "ba"}'),
    _list("start after end", '{"start": "c", "end": "a"}'),
    _list("start equals end", '{"start": "b", "end": "b"}'),
    _list("startAfter and end", '{"startAfter": "a", "end": "b"}'),
    _list("prefix", '{"prefix": "a"}'),
    _list("the empty prefix", '{"prefix": ""}'),
    _list("prefix of nothing", '{"prefix": "zz"}'),
    _list("prefix and start", '{"prefix": "b", "start": "ba"}'),
    _list("prefix and start before it", '{"prefix": "b", "start": "a"}'),
    _list("prefix and start beyond it", '{"prefix": "a", "start": "b"}'),
    _list("prefix and end", '{"prefix": "a", "end": "aa"}'),
    _list("prefix and end before it", '{"prefix": "b", "end": "a"}'),
    _list("prefix, startAfter, limit", '{"prefix": "a", "startAfter": "a", "limit": 1}'),
    _list("reverse", '{"reverse": true}'),
    _list("reverse and limit", '{"reverse": true, "limit": 2}'),
    _list("reverse, start and end", '{"reverse": true, "start": "aa", "end": "c"}'),
    _list("reverse and prefix", '{"reverse": true, "prefix": "b"}'),
    _list("reverse false", '{"reverse": false, "limit": 1}'),
    _list("limit", '{"limit": 2}'),
    _list("limit beyond", '{"limit": 100}'),
    _list("limit 0", '{"limit": 0}'),
    _list("limit -1", '{"limit": -1}'),
    _list("limit as text", '{"limit": "2"}'),
    _list("limit with a fraction", '{"limit": 2.9}'),
    _list("start and startAfter", '{"start": "a", "startAfter": "b"}'),
    _list("the empty end", '{"end": ""}'),
    _list("the empty startAfter", '{"startAfter": ""}'),
    _list("options of the cache", '{"allowConcurrency": true, "noCache": true, "limit": 1}'),
    _list("a number as prefix", '{"prefix": 5}'),
    inside(
        "list: UTF-8 order",
        'await storage.put({"\\u{1F600}": 1, "\\uFF5E": 2, "z": 3}); return [...(await storage.list()).values()]',
        'await storage.put({"\\U0001F600": 1, "\\uFF5E": 2, "z": 3}); return list((await storage.list()).values())',
    ),
    inside(
        "list: prefix ends in the last character",
        'await storage.put({"\\u{10FFFF}": 1, "\\u{10FFFF}x": 2, "a": 3}); return (await storage.list({"prefix": "\\u{10FFFF}"})).size',
        'await storage.put({"\\U0010FFFF": 1, "\\U0010FFFFx": 2, "a": 3}); return len(await storage.list({"prefix": "\\U0010FFFF"}))',
    ),
]
_VALUES = [
    _value("true", "true"),
    _value("false", "false"),
    _value("an int", "42"),
    _value("a negative int", "-7"),
    _value("a float", "3.25"),
    _value("a whole float", "3.0"),
    _value("negative zero", "-0.0"),
    _value("a large float", "1e300"),
    _value("the largest safe int", "9007199254740991"),
    _value("a BigInt", "12345678901234567890n", "12345678901234567890"),
    _value("NaN", "NaN"),
    _value("infinity", "Infinity"),
    _value("minus infinity", "-Infinity"),
    _value("the empty text", '""'),
    _value("text with NUL and more", '"a\\u0000ü€"'),
    _value("a long text", '"x".repeat(100000)', '"x" * 100000'),
    _value("null", "null"),
    _value("nested null and undefined", "[null, undefined]"),
    _value("the empty list", "[]"),
    _value("the empty dict", "{}"),
    _value("nested", '{"a": {"b": [1, {"c": []}]}}'),
    _value("deeply nested", '[[[[[[[[[["deep"]]]]]]]]]]'),
    _value("bytes", "new Uint8Array([0, 1, 255]).buffer", 'b"\\x00\\x01\\xff"'),
    _value("no bytes", "new ArrayBuffer(0)", 'b""'),
    _value("bytes inside", "{ b: [new Uint8Array([1]).buffer] }", '{"b": [b"\\x01"]}'),
    _value("a date", "new Date(86400123)", "datetime.datetime.fromtimestamp(86400.123)"),
    _value("a set", "new Set([3, 1])", "{3, 1}"),
    _value("a map with numbers as keys", "new Map([[1, 'x']])", '{1: "x"}'),
    _value("an error", 'new Error("stored")', 'Exception("stored")'),
    _value("a type error", 'new TypeError("stored")', 'TypeError("stored")'),
    _value("a range error", 'new RangeError("stored")', 'ValueError("stored")'),
    _value("a function", "() => 1", "lambda: 1"),
    _value("a function inside", "[() => 1]", "[lambda: 1]"),
    _value("an instance of a class", "new (class Point { x = 1; })()", 'type("Point", (), {})()'),
    _value("a cycle", "(() => { const a = []; a.push(a); return a; })().length", "1"),
    inside(
        "value: is a copy",
        """
        const value = { n: 1 };
        await storage.put("k", value);
        value.n = 2;
        const read = await storage.get("k");
        read.n = 3;
        return await storage.get("k");
        """,
        """
        value = {"n": 1}
        await storage.put("k", value)
        value["n"] = 2
        read = await storage.get("k")
        read["n"] = 3
        return await storage.get("k")
        """,
    ),
    inside(
        "value: 1.9 MB",
        'await storage.put("k", new Uint8Array(1900000).buffer); return (await storage.get("k")).byteLength',
        'await storage.put("k", bytes(1900000)); return len(await storage.get("k"))',
    ),
    inside(
        "value: 5 MB",
        'await storage.put("k", new Uint8Array(5000000).buffer)',
        'await storage.put("k", bytes(5000000))',
    ),
]
_ALL = [
    inside("deleteAll: keys", f"{_FIVE}; await storage.deleteAll(); return await storage.list()"),
    inside("deleteAll: gives nothing", "return await storage.deleteAll()"),
    inside("deleteAll: not awaited", 'storage.put("k", 1); storage.deleteAll(); return await storage.get("k")'),
    inside(
        "deleteAll: then put",
        'await storage.put("k", 1); await storage.deleteAll(); await storage.put("l", 2); return await storage.list()',
    ),
    inside(
        "deleteAll: tables",
        """
        sql.exec("CREATE TABLE t (a)");
        await storage.deleteAll();
        return sql.exec("SELECT name FROM sqlite_master WHERE name = 't'").toArray();
        """,
        """
        sql.exec("CREATE TABLE t (a)")
        await storage.deleteAll()
        return sql.exec("SELECT name FROM sqlite_master WHERE name = 't'").toArray()
        """,
    ),
    inside(
        "deleteAll: a table of that name again",
        """
        sql.exec("CREATE TABLE t (a)"); await storage.deleteAll(); sql.exec("CREATE TABLE t (b)"); sql.exec("INSERT INTO t VALUES (1)"); return sql.exec("SELECT * FROM t").toArray()
        """,
    ),
    inside(
        "deleteAll: the alarm",
        "await storage.setAlarm(now() + 100000); await storage.deleteAll(); return await storage.getAlarm()",
    ),
    inside(
        "deleteAll: options",
        'await storage.put("k", 1); await storage.deleteAll({"allowUnconfirmed": true}); return await storage.get("k")',
    ),
    inside(
        "deleteAll: twice",
        'await storage.put("k", 1); await storage.deleteAll(); await storage.deleteAll(); return await storage.get("k")',
    ),
    inside("deleteAll: sync kv", 'kv.put("k", 1); await storage.deleteAll(); return kv.get("k")'),
]

ROWS = [*_READ, *_WRITE, *_LISTS, *_VALUES, *_ALL]
