"""Remote methods: values, errors, arity, names; ids, namespaces and stubs."""

from __future__ import annotations

from .operation import Operation, PythonRaised, Text, inside, outside


def _echo(name: str, js: str, python: str = "", kind: str = "echo") -> Operation:
    """A value goes to the object and comes back."""
    return outside(f"rpc value: {name}", f"return await stub.{kind}({js})", f"return await stub.{kind}({python or js})")


_VALUES = [
    _echo("true", "true"),
    _echo("an int", "42"),
    _echo("a float", "2.5"),
    _echo("a whole float", "3.0"),
    _echo("NaN", "NaN"),
    _echo("infinity", "Infinity"),
    _echo("negative zero", "-0.0"),
    _echo("the largest safe int", "9007199254740991"),
    _echo("a BigInt", "12345678901234567890n", "12345678901234567890"),
    _echo("text", '"a\\u0000ü€"'),
    _echo("an emoji", '"\\u{1F600}"', '"\\U0001F600"'),
    _echo("a long text", '"x".repeat(200000)', '"x" * 200000'),
    _echo("null", "null"),
    _echo("undefined", "undefined"),
    _echo("nothing given", ""),
    _echo("nested null", '[null, {"a": null}]'),
    _echo("list", '[1, "two", [3.5, []]]'),
    _echo("dict", '{"a": {"b": [1]}, "": 0}'),
    _echo("dict with a key of spaces", '{"a b": 1}'),
    _echo("bytes", "new Uint8Array([0, 255]).buffer", 'b"\\x00\\xff"'),
    _echo("a typed array", "new Uint8Array([1, 2, 3]).subarray(1)", 'memoryview(b"\\x01\\x02\\x03")[1:]'),
    _echo("no bytes", "new ArrayBuffer(0)", 'b""'),
    _echo("a set", 'new Set(["b", "a"])', '{"b", "a"}'),
    _echo("a map with numbers as keys", "new Map([[1, 'x']])", '{1: "x"}'),
    _echo("a date", "new Date(86400123)", "datetime.datetime.fromtimestamp(86400.123)"),
    _echo("an error", 'new Error("as a value")', 'Exception("as a value")'),
    _echo("1 MB of bytes", "new ArrayBuffer(1000000)", "bytes(1000000)"),
    outside(
        "rpc value: is a copy",
        """
        const value = { n: 1 };
        const answer = await stub.echo(value);
        answer.n = 2;
        return value;
        """,
        """
        value = {"n": 1}
        answer = await stub.echo(value)
        answer["n"] = 2
        return value
        """,
    ),
    outside(
        "rpc value: copied when the call is made",
        """
        const value = { n: 1 };
        const call = stub.echo(value);
        value.n = 2;
        return await call;
        """,
        """
        value = {"n": 1}
        call = stub.echo(value)
        value["n"] = 2
        return await call
        """,
    ),
    outside(
        "rpc value: 20 MB",
        "return (await stub.echo(new ArrayBuffer(20000000))).byteLength",
        "return len(await stub.echo(bytes(20000000)))",
    ),
    outside(
        "rpc value: 40 MB",
        "return (await stub.echo(new ArrayBuffer(40000000))).byteLength",
        "return len(await stub.echo(bytes(40000000)))",
    ),
    outside(
        "rpc value: a deep list",
        "let a = []; for (let i = 0; i < 60; i++) a = [a]; return await stub.echo(a)",
        """
        a = []
        for _ in range(60):
            a = [a]
        return await stub.echo(a)
        """,
    ),
    outside(
        "rpc: the callee changes what it got",
        """
        const value = { n: 1 };
        return [await inside("change", value), value];
        """,
        """
        value = {"n": 1}
        return [await inside("change", value), value]
        """,
        parts={"change": Text("argument.n = 5; return argument", 'argument["n"] = 5; return argument')},
    ),
    outside("rpc: gives nothing", "return await stub.nothing()"),
    outside("rpc: two arguments", "return await stub.add(2, 3)"),
    outside(
        "rpc: get, put, delete, list are ordinary",
        'return [await stub.get("a"), await stub.put("a", 1), await stub.delete("a"), await stub.list()]',
    ),
    outside("rpc: state between calls", "await stub.increment(5); return await stub.increment()"),
    outside("rpc: an asynchronous method", 'return await stub.slow("late", 10)'),
    outside(
        "rpc: answers in any order",
        """
        const slow = stub.slow(1, 1500); const fast = stub.slow(2, 10);
        return await Promise.race([slow, fast]);
        """,
        """
        slow, fast = asyncio.ensure_future(stub.slow(1, 1500)), asyncio.ensure_future(stub.slow(2, 10))
        done, _ = await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
        """,
    ),
    outside("rpc: not awaited runs all the same", "stub.increment(7); await sleep(50); return await stub.increment(0)"),
    outside(
        "rpc: an object calls another",
        'return await inside("go")',
        parts={"go": Text('return await env.TWIN.getByName("another of the rpc rows").add(1, 2)')},
    ),
    outside(
        "rpc: an object calls itself",
        'return await inside("go")',
        parts={"go": Text("return await env.TWIN.get(ctx.id).add(1, 2)")},
    ),
]
_ERRORS = [
    outside("rpc error: an exception", 'await stub.boom("it broke")', allow=PythonRaised()),
    outside(
        "rpc error: its flags",
        """
        try { await stub.boom("x"); } catch (error) { return [error.remote, error.retryable, error.overloaded, error.durableObjectReset]; }
        """,
        """
        try:
            await stub.boom("x")
        except Exception as error:
            return [error.remote, error.retryable or None, error.overloaded or None, error.durableObjectReset or None]
        """,
    ),
    outside(
        "rpc error: its id",
        """
        try { await stub.boom("x"); } catch (error) { return error.durableObjectId === stub.id.toString(); }
        """,
        """
        try:
            await stub.boom("x")
        except Exception as error:
            return error.durableObjectId == stub.id.toString()
        """,
    ),
    outside(
        "rpc error: neither stub nor object is broken",
        """
        await stub.increment();
        try { await stub.boom("x"); } catch {}
        return await stub.increment();
        """,
        """
        await stub.increment()
        try:
            await stub.boom("x")
        except Exception:
            pass
        return await stub.increment()
        """,
    ),
    outside(
        "rpc error: properties of its own",
        """
        try { await inside("fail"); } catch (error) { return [error.code, error.detail]; }
        """,
        """
        try:
            await inside("fail")
        except Exception as error:
            return [error.code, error.detail]
        """,
        parts={
            "fail": Text(
                'const error = new Error("x"); error.code = 123; error.detail = { a: [1] }; throw error',
                'error = Exception("x"); error.code = 123; error.detail = {"a": [1]}; raise error',
            )
        },
    ),
    outside(
        "rpc error: of an object behind",
        'await inside("go")',
        parts={"go": Text('return await env.TWIN.getByName("behind of the rpc rows").boom("far away")')},
        allow=PythonRaised(),
    ),
    outside("rpc error: of storage", 'await inside("go")', parts={"go": Text('await storage.list({"limit": 0})')}),
    outside("rpc error: of SQL", 'await inside("go")', parts={"go": Text('sql.exec("SELECT * FROM missing")')}),
    outside("rpc error: of a reset", 'await inside("go")', parts={"go": Text('ctx.abort("gone")')}),
    outside("rpc error: no such method", "await stub.missing()"),
    outside("rpc error: an instance attribute", "await stub.made()"),
    outside("rpc error: a property called", "await stub.property()"),
    outside("rpc error: ctx", "await stub.ctx()"),
    outside("rpc error: env", "await stub.env()"),
    *[
        outside(f"rpc error: reserved: {name}", f"await stub.{name}()")
        for name in ("alarm", "webSocketMessage", "webSocketClose", "webSocketError")
    ],
    outside("rpc error: dup", "await stub.dup()"),
    outside("rpc error: a class without the base", "await env.NOBASE.getByName('a').echo(1)"),
    outside(
        "rpc: a class without the base fetches",
        "return await (await env.NOBASE.getByName('a').fetch('http://x/')).text()",
    ),
    outside(
        "rpc error: a function in storage",
        'await inside("go")',
        parts={"go": Text('await storage.put("f", () => 1)', 'await storage.put("f", lambda: 1)')},
    ),
    outside(
        "rpc error: a tuple, an instance",
        "return 1",
        'try:\n    await stub.echo((1, 2))\nexcept TypeError as error:\n    return 1 if "cannot be sent over RPC" in str(error) else str(error)',
    ),
]
_IDS = [
    outside("id: idFromName is the same each time", 'return ns.idFromName("a").equals(ns.idFromName("a"))'),
    outside("id: of other names differ", 'return ns.idFromName("a").equals(ns.idFromName("b"))'),
    outside(
        "id: its text has 64 digits",
        'return /^[0-9a-f]{64}$/.test(ns.idFromName("a").toString())',
        'import re; return bool(re.fullmatch("[0-9a-f]{64}", ns.idFromName("a").toString()))',
    ),
    outside("id: its name", 'return ns.idFromName("a").name'),
    outside("id: the empty name", 'return ns.idFromName("").name'),
    outside("id: name of a unique one", "return ns.newUniqueId().name"),
    outside("id: unique ones differ", "return ns.newUniqueId().equals(ns.newUniqueId())"),
    outside(
        "id: from its text",
        'a = ns.idFromName("a"); return [ns.idFromString(a.toString()).equals(a), ns.idFromString(a.toString()).name]',
    ),
    outside(
        "id: from upper case",
        'const a = ns.idFromName("a"); return ns.idFromString(a.toString().toUpperCase()).toString() === a.toString()',
        'a = ns.idFromName("a"); return ns.idFromString(a.toString().upper()).toString() == a.toString()',
    ),
    outside("id: from a short text", 'return ns.idFromString("abc")'),
    outside(
        "id: from 64 other characters", 'return ns.idFromString("z".repeat(64))', 'return ns.idFromString("z" * 64)'
    ),
    outside(
        "id: from 64 digits of nobody", 'return ns.idFromString("0".repeat(64))', 'return ns.idFromString("0" * 64)'
    ),
    outside("id: of another class", 'return ns.idFromString(env.PLAIN.idFromName("a").toString())'),
    outside("id: get with another class's", 'return ns.get(env.PLAIN.idFromName("a"))'),
    outside("id: get with a text", 'return ns.get("a")'),
    outside("id: get without", "return ns.get()"),
    outside("id: equals of a text", 'return ns.idFromName("a").equals("a")'),
    outside("id: idFromName of a number", "return ns.idFromName(5).equals(ns.idFromName('5'))"),
    outside("id: jurisdiction of a plain one", 'return ns.idFromName("a").jurisdiction'),
    outside("stub: its id and name", 'return [stub.id.equals(ns.idFromName("stub: its id and name")), stub.name]'),
    outside("stub: name through a text", 'return ns.get(ns.idFromString(ns.idFromName("a").toString())).name'),
    outside(
        "stub: get and getByName are the same object",
        'await ns.getByName("one of the rpc rows").increment(); return await ns.get(ns.idFromName("one of the rpc rows")).increment()',
    ),
    outside("stub: of a unique id", "a = ns.get(ns.newUniqueId()); await a.increment(); return await a.increment()"),
    outside("stub: location hint", 'return await ns.getByName("hinted", {"locationHint": "weur"}).add(1, 1)'),
    outside("stub: an unknown routing mode", 'return ns.get(ns.idFromName("a"), {"routingMode": "nearest"})'),
    outside("stub: primary-only", 'return await ns.get(ns.idFromName("a"), {"routingMode": "primary-only"}).add(1, 1)'),
    outside("stub: jurisdiction", 'return ns.jurisdiction("eu")'),
    outside("stub: jurisdiction nobody knows", 'return ns.jurisdiction("moon")'),
    inside("ctx.id: its name", "return ctx.id.name"),
    inside(
        "ctx.id: equals that of the namespace",
        'return ctx.id.equals(env.TWIN.idFromName("ctx.id: equals that of the namespace"))',
    ),
    outside(
        "ctx.id: through a text, without a name",
        'a = ns.idFromName("never by name"); return (await ns.get(ns.idFromString(a.toString())).own_id()) == a.toString()',
    ),
    outside(
        "waitUntil: goes on after the answer",
        'a = await inside("go"); return [a, await until("seen")]',
        parts={
            "go": Text(
                'ctx.waitUntil((async () => { await sleep(30); kv.put("late", true); })()); return "answered"',
                """
        async def late():
            await sleep(30)
            kv.put("late", True)
        ctx.waitUntil(late())
        return "answered"
        """,
            ),
            "seen": Text('return kv.get("late")'),
        },
    ),
]

ROWS = [*_VALUES, *_ERRORS, *_IDS]
