"""What travels by reference: functions, targets, stubs; calls on results that are not there yet; properties."""

from __future__ import annotations

from .operation import PythonRaised, Text, outside

_FUNCTIONS = [
    outside(
        "reference: a closure keeps its state", "f = await stub.counter(); return [await f(2), await f(1), await f(-5)]"
    ),
    outside(
        "reference: a function as an argument",
        "return await stub.call((n) => n * 2, 21)",
        "return await stub.call(lambda n: n * 2, 21)",
    ),
    outside(
        "reference: an asynchronous function as an argument",
        "return await stub.call(async (n) => { await sleep(5); return n + 1; }, 1)",
        """
        async def later(n):
            await sleep(5)
            return n + 1
        return await stub.call(later, 1)
        """,
    ),
    outside(
        "reference: a function that raises",
        'await stub.call(() => { throw new Error("in the callback"); }, 1)',
        """
        def fail(_):
            raise Exception("in the callback")
        await stub.call(fail, 1)
        """,
        allow=PythonRaised(),
    ),
    outside(
        "reference: a function inside a dict",
        'const given = await inside("make"); return await given.twice(4)',
        'given = await inside("make"); return await given["twice"](4)',
        parts={"make": Text("return { twice: (n) => n * 2 }", 'return {"twice": lambda n: n * 2}')},
    ),
    outside(
        "reference: a function is passed on to a third party",
        'f = await stub.counter(); await f(1); return await other("third").call(f, 10)',
    ),
    outside(
        "reference: an object's function given to another object",
        'return await inside("go")',
        parts={
            "go": Text(
                'return await env.TWIN.getByName("one of the reference rows").call((n) => n + 5, 1)',
                'return await env.TWIN.getByName("one of the reference rows").call(lambda n: n + 5, 1)',
            )
        },
    ),
    outside(
        "reference: called while a section runs",
        'return await inside("go")',
        parts={
            "go": Text(
                """
                return await ctx.blockConcurrencyWhile(async () => {
                  let told = 0;
                  await env.TWIN.getByName("two of the reference rows").call((n) => { told = n; }, 12345);
                  return told;
                });
                """,
                """
                told = []
                async def section():
                    await env.TWIN.getByName("two of the reference rows").call(told.append, 12345)
                    return told[0]
                return await ctx.blockConcurrencyWhile(section)
                """,
            )
        },
    ),
    outside(
        "reference: a parameter is gone when its call is over",
        """
        await inside("keep", (n) => n);
        await inside("use");
        """,
        """
        await inside("keep", lambda n: n)
        await inside("use")
        """,
        parts={"keep": Text("self.kept = argument"), "use": Text("return await self.kept(1)")},
    ),
    outside(
        "reference: a duplicate of a parameter lives on",
        """
        await inside("keep", (n) => n + 1);
        return await inside("use");
        """,
        """
        await inside("keep", lambda n: n + 1)
        return await inside("use")
        """,
        parts={"keep": Text("self.kept = argument.dup()"), "use": Text("return await self.kept(1)")},
    ),
]
_TARGETS = [
    outside("reference: a target", "t = await stub.target(12); return [await t.increment(3), await t.increment()]"),
    outside("reference: a property of a target", "t = await stub.target(12); return await t.count"),
    outside("reference: no such method of a target", "t = await stub.target(1); return await t.missing()"),
    outside("reference: a private member of a target", "t = await stub.target(1); return await t._secret()"),
    outside("reference: an attribute of a target's instance", "t = await stub.target(1); return await t.own()"),
    outside("reference: constructor of a target", "t = await stub.target(1); return await t.fetch('x')"),
    outside(
        "reference: a target as an argument",
        "return await stub.use(new Target(5))",
        "return await stub.use(Target(5))",
    ),
    outside(
        "reference: a target that was disposed",
        "const t = await stub.target(1); t[Symbol.dispose](); await t.increment()",
        "t = await stub.target(1); t.dispose(); await t.increment()",
    ),
    outside(
        "reference: a stub in a result",
        'return await (await inside("give")).add(1, 2)',
        parts={"give": Text('return env.TWIN.getByName("three of the reference rows")')},
    ),
    outside(
        "reference: a stub as an argument",
        'return await inside("take", other("fourth"))',
        parts={"take": Text("return await argument.add(2, 2)")},
    ),
    outside(
        "reference: its object is reset",
        """
        const t = await stub.target(1);
        try { await inside("go"); } catch {}
        await t.increment();
        """,
        """
        t = await stub.target(1)
        try:
            await inside("go")
        except Exception:
            pass
        await t.increment()
        """,
        parts={"go": Text('ctx.abort("gone with all it gave")')},
    ),
]
_PIPELINED = [
    outside("pipeline: a method of a result", "return await stub.target(12).increment(3)"),
    outside("pipeline: a property of a result", "return await stub.target(12).count"),
    outside("pipeline: a value in a result", 'return await stub.echo({"a": {"b": 5}}).a.b'),
    outside("pipeline: a result called", "return await stub.counter()(4)"),
    outside("pipeline: of what fails", 'return await stub.boom("first").increment()', allow=PythonRaised()),
    outside("pipeline: on a number", "return await stub.echo(5).increment()"),
    outside("pipeline: on nothing", "return await stub.nothing().increment()"),
    outside("property of an object's class", "return await stub.title"),
    outside("property of an object's instance", "return await stub.made"),
    outside("property that nobody has", "return await stub.missing"),
]

ROWS = [*_FUNCTIONS, *_TARGETS, *_PIPELINED]
