"""Turns, critical sections, aborts and resets."""

from __future__ import annotations

from .operation import PythonRaised, Text, outside

_GATES = [
    outside(
        "turns: an exception undoes no earlier writes",
        """
        let caught = "";
        try { await inside("write"); } catch (error) { caught = error.message; }
        return [caught, await inside("read")];
        """,
        """
        caught = ""
        try:
            await inside("write")
        except Exception as error:
            caught = error.message
        return [caught, await inside("read")]
        """,
        parts={
            "write": Text(
                'await storage.put("a", 1); sql.exec("CREATE TABLE t (a)"); throw new Error("after")',
                'await storage.put("a", 1); sql.exec("CREATE TABLE t (a)"); raise Exception("after")',
            ),
            "read": Text(
                """return [await storage.get("a"), sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name = 't'").one()]"""
            ),
        },
        allow=PythonRaised(),
    ),
    outside(
        "turns: storage between lets nobody in",
        "return await Promise.all([inside('add'), inside('add'), inside('add')])",
        "return await asyncio.gather(inside('add'), inside('add'), inside('add'))",
        parts={
            "add": Text(
                'const n = (await storage.get("n") || 0) + 1; await storage.put("n", n); return n',
                'n = (await storage.get("n") or 0) + 1; await storage.put("n", n); return n',
            )
        },
    ),
    outside(
        "turns: a timer between lets others in",
        "await Promise.all([inside('add'), inside('add')]); return await inside('read')",
        "await asyncio.gather(inside('add'), inside('add')); return await inside('read')",
        parts={
            "add": Text(
                """
                const n = (await storage.get("n") || 0) + 1;
                self.begun = (self.begun ?? 0) + 1;
                while (self.begun < 2) await sleep(5);
                await storage.put("n", n);
                """,
                """
                n = (await storage.get("n") or 0) + 1
                self.begun = getattr(self, "begun", 0) + 1
                while self.begun < 2:
                    await sleep(5)
                await storage.put("n", n)
                """,
            ),
            "read": Text('return await storage.get("n")'),
        },
    ),
    outside(
        "calls of one stub arrive in order",
        "return await Promise.all([stub.increment(), stub.increment(), stub.increment(), stub.increment(), stub.increment(), stub.increment()])",
        "return await asyncio.gather(*[stub.increment() for _ in range(6)])",
    ),
    outside(
        "blockConcurrencyWhile: its value",
        'return await inside("go")',
        parts={
            "go": Text(
                "return await ctx.blockConcurrencyWhile(async () => 5)",
                "async def work():\n    return 5\nreturn await ctx.blockConcurrencyWhile(work)",
            )
        },
    ),
    outside(
        "blockConcurrencyWhile: keeps others out",
        """
        const running = inside("block");
        await sleep(20);
        return [await inside("read"), await running];
        """,
        """
        running = asyncio.ensure_future(inside("block"))
        await sleep(20)
        return [await inside("read"), await running]
        """,
        parts={
            "block": Text(
                'return await ctx.blockConcurrencyWhile(async () => { await sleep(100); kv.put("a", "after"); return 1; })',
                """
            async def work():
                await sleep(100)
                kv.put("a", "after")
                return 1
            return await ctx.blockConcurrencyWhile(work)
            """,
            ),
            "read": Text('return kv.get("a")'),
        },
    ),
    outside(
        "blockConcurrencyWhile: in the constructor, not awaited",
        'return await inside("read")',
        parts={
            "constructor_": Text(
                'ctx.blockConcurrencyWhile(async () => { await sleep(30); await storage.put("ready", true); })',
                """
        async def work():
            await sleep(30)
            await storage.put("ready", True)
        ctx.blockConcurrencyWhile(work)
        """,
            ),
            "read": Text('return await storage.get("ready")'),
        },
    ),
    outside(
        "blockConcurrencyWhile: a failure resets",
        """
        const seen = [];
        try { await inside("fail"); } catch (error) { seen.push(error); }
        try { await stub.echo(1); } catch (error) { seen.push(error); }
        seen.push(await again().increment());
        return seen;
        """,
        """
        await stub.increment()
        seen = []
        try:
            await inside("fail")
        except Exception as error:
            seen.append(error)
        try:
            await stub.echo(1)
        except Exception as error:
            seen.append(error)
        seen.append(await again().increment())
        return seen
        """,
        parts={
            "fail": Text(
                'await ctx.blockConcurrencyWhile(async () => { throw new Error("broken section"); })',
                """
        async def work():
            raise Exception("broken section")
        await ctx.blockConcurrencyWhile(work)
        """,
            )
        },
        allow=PythonRaised(),
    ),
    outside(
        "blockConcurrencyWhile: nested",
        'return await inside("go")',
        parts={
            "go": Text(
                "return await ctx.blockConcurrencyWhile(async () => await ctx.blockConcurrencyWhile(async () => 6))",
                """
        async def inner():
            return 6
        async def outer():
            return await ctx.blockConcurrencyWhile(inner)
        return await ctx.blockConcurrencyWhile(outer)
        """,
            )
        },
    ),
    outside(
        "constructor: it fails",
        """
        const seen = [];
        for (const each of [stub, stub, again()]) { try { seen.push(await each.echo(1)); } catch (error) { seen.push(error); } }
        return seen;
        """,
        """
        seen = []
        for each in [stub, stub, again()]:
            try:
                seen.append(await each.echo(1))
            except Exception as error:
                seen.append(error)
        return seen
        """,
        parts={"constructor_": Text('throw new Error("cannot be made")', 'raise Exception("cannot be made")')},
        allow=PythonRaised(),
    ),
]
_ABORTS = [
    outside(
        "constructor: it fails once",
        """
        const seen = [];
        for (const each of [stub, stub, again()]) { try { seen.push(await each.echo(1)); } catch (error) { seen.push(error); } }
        return seen;
        """,
        """
        seen = []
        for each in [stub, stub, again()]:
            try:
                seen.append(await each.echo(1))
            except Exception as error:
                seen.append(error)
        return seen
        """,
        parts={
            "constructor_": Text(
                """
        globalThis.made = (globalThis.made ?? 0) + 1;
        if (globalThis.made === 1) throw new Error("not yet");
        """,
                """
        ROWS["made"] = ROWS.get("made", 0) + 1
        if ROWS["made"] == 1:
            raise Exception("not yet")
        """,
            )
        },
        allow=PythonRaised(),
    ),
    outside("abort: its text and flags", 'await inside("go")', parts={"go": Text('ctx.abort("over and out")')}),
    outside("abort: without a reason", 'await inside("go")', parts={"go": Text("ctx.abort()")}),
    outside(
        "abort: writes of the turn are lost",
        """
        await inside("write");
        try { await inside("go"); } catch {}
        return await again().part("read");
        """,
        """
        await inside("write")
        try:
            await inside("go")
        except Exception:
            pass
        return await again().part("read")
        """,
        parts={
            "write": Text('await storage.put("a", 1)'),
            "go": Text('storage.put("a", 2); ctx.abort("x")'),
            "read": Text('return await storage.get("a")'),
        },
    ),
    outside(
        "abort: the stub stays broken",
        """
        try { await inside("go"); } catch {}
        await stub.echo(1);
        """,
        """
        try:
            await inside("go")
        except Exception:
            pass
        await stub.echo(1)
        """,
        parts={"go": Text('ctx.abort("first reason")')},
    ),
    outside(
        "abort: a new stub works, in a new instance",
        """
        await stub.increment(); await stub.increment();
        try { await inside("go"); } catch {}
        return await again().increment();
        """,
        """
        await stub.increment()
        await stub.increment()
        try:
            await inside("go")
        except Exception:
            pass
        return await again().increment()
        """,
        parts={"go": Text('ctx.abort("x")')},
    ),
    outside(
        "abort: calls in flight fail with it",
        """
        const calls = [stub.slow(1, 5000), again().slow(2, 5000)];
        await sleep(30);
        calls.push(again().part("go"));
        return (await Promise.allSettled(calls)).map((each) => each.reason);
        """,
        """
        calls = [asyncio.ensure_future(stub.slow(1, 5000)), asyncio.ensure_future(again().slow(2, 5000))]
        await sleep(30)
        calls.append(asyncio.ensure_future(again().part("go")))
        return await asyncio.gather(*calls, return_exceptions=True)
        """,
        parts={"go": Text('ctx.abort("all of you")')},
    ),
    outside(
        "abort: synced writes stay",
        """
        try { await inside("go"); } catch {}
        return await again().part("read");
        """,
        """
        try:
            await inside("go")
        except Exception:
            pass
        return await again().part("read")
        """,
        parts={
            "go": Text('await storage.put("a", 1); await storage.sync(); await storage.put("a", 2); ctx.abort("x")'),
            "read": Text('return await storage.get("a")'),
        },
    ),
    outside(
        "a deferred constraint fails the commit",
        """
        const seen = [];
        for (const each of [stub, stub]) { try { seen.push(await each.part("orphan")); } catch (error) { seen.push(error); } }
        seen.push(await again().part("read"));
        return seen;
        """,
        """
        seen = []
        for each in [stub, stub]:
            try:
                seen.append(await each.part("orphan"))
            except Exception as error:
                seen.append(error)
        seen.append(await again().part("read"))
        return seen
        """,
        parts={
            "constructor_": Text(
                'sql.exec("CREATE TABLE IF NOT EXISTS p (id INTEGER PRIMARY KEY); CREATE TABLE IF NOT EXISTS c (p REFERENCES p (id))")'
            ),
            "orphan": Text(
                """
            storage.transactionSync(() => { sql.exec("PRAGMA defer_foreign_keys = ON"); sql.exec("INSERT INTO c VALUES (5)"); });
            return "returned";
            """,
                """
            def work():
                sql.exec("PRAGMA defer_foreign_keys = ON")
                sql.exec("INSERT INTO c VALUES (5)")
            storage.transactionSync(work)
            return "returned"
            """,
            ),
            "read": Text('return sql.exec("SELECT count(*) AS n FROM c").one()'),
        },
    ),
]

ROWS = [*_GATES, *_ABORTS]
