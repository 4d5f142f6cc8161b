"""Transactions, gates, blockConcurrencyWhile, aborts and resets."""

from __future__ import annotations

from .operation import PythonRaised, Text, Wording, inside, outside

_SYNC = [
    inside("transactionSync: its value", "return storage.transactionSync(() => 7)", "return storage.transactionSync(lambda: 7)"),
    inside("transactionSync: writes stay", 'storage.transactionSync(() => { kv.put("a", 1); }); return kv.get("a")', 'storage.transactionSync(lambda: kv.put("a", 1)); return kv.get("a")'),
    inside("transactionSync: an exception undoes", """
        kv.put("a", 1); let caught = "";
        try { storage.transactionSync(() => { kv.put("a", 2); sql.exec("CREATE TABLE t (a)"); throw new Error("no"); }); } catch (error) { caught = error.message; }
        return [caught, kv.get("a"), sql.exec("SELECT name FROM sqlite_master WHERE name = 't'").toArray()];
        """, """
        kv.put("a", 1)
        caught = ""
        def work():
            kv.put("a", 2)
            sql.exec("CREATE TABLE t (a)")
            raise Exception("no")
        try:
            storage.transactionSync(work)
        except Exception as error:
            caught = str(error)
        return [caught, kv.get("a"), sql.exec("SELECT name FROM sqlite_master WHERE name = 't'").toArray()]
        """),
    inside("transactionSync: nested, both stay", """
        storage.transactionSync(() => { kv.put("a", 1); storage.transactionSync(() => { kv.put("b", 2); }); });
        return await storage.list();
        """, """
        def outer():
            kv.put("a", 1)
            storage.transactionSync(lambda: kv.put("b", 2))
        storage.transactionSync(outer)
        return await storage.list()
        """),
    inside("transactionSync: an inner one undone", """
        storage.transactionSync(() => {
          kv.put("a", 1);
          try { storage.transactionSync(() => { kv.put("b", 2); throw new Error("x"); }); } catch {}
          kv.put("c", 3);
        });
        return await storage.list();
        """, """
        def inner():
            kv.put("b", 2)
            raise Exception("x")
        def outer():
            kv.put("a", 1)
            try:
                storage.transactionSync(inner)
            except Exception:
                pass
            kv.put("c", 3)
        storage.transactionSync(outer)
        return await storage.list()
        """),
    inside("transactionSync: an outer one undone", """
        try { storage.transactionSync(() => { storage.transactionSync(() => { kv.put("b", 2); }); throw new Error("x"); }); } catch {}
        return await storage.list();
        """, """
        def outer():
            storage.transactionSync(lambda: kv.put("b", 2))
            raise Exception("x")
        try:
            storage.transactionSync(outer)
        except Exception:
            pass
        return await storage.list()
        """),
    inside("transactionSync: the first put of all undone, then a put", """
        try { storage.transactionSync(() => { kv.put("a", 1); throw new Error("x"); }); } catch {}
        await storage.put("b", 2);
        return await storage.list();
        """, """
        def work():
            kv.put("a", 1)
            raise Exception("x")
        try:
            storage.transactionSync(work)
        except Exception:
            pass
        await storage.put("b", 2)
        return await storage.list()
        """),
    inside("transactionSync: the alarm is undone", """
        try { storage.transactionSync(() => { storage.setAlarm(now() + 100000); throw new Error("x"); }); } catch {}
        return await storage.getAlarm();
        """, """
        def work():
            storage.setAlarm(now() + 100000)
            raise Exception("x")
        try:
            storage.transactionSync(work)
        except Exception:
            pass
        return await storage.getAlarm()
        """),
    inside("transactionSync: a failing statement undoes nothing by itself", """
        sql.exec("CREATE TABLE t (a UNIQUE)");
        storage.transactionSync(() => {
          sql.exec("INSERT INTO t VALUES (1)");
          try { sql.exec("INSERT INTO t VALUES (1)"); } catch {}
          sql.exec("INSERT INTO t VALUES (2)");
        });
        return sql.exec("SELECT a FROM t").toArray();
        """, """
        sql.exec("CREATE TABLE t (a UNIQUE)")
        def work():
            sql.exec("INSERT INTO t VALUES (1)")
            try:
                sql.exec("INSERT INTO t VALUES (1)")
            except Exception:
                pass
            sql.exec("INSERT INTO t VALUES (2)")
        storage.transactionSync(work)
        return sql.exec("SELECT a FROM t").toArray()
        """),
    inside("transactionSync: deleteAll inside", "storage.transactionSync(() => { storage.deleteAll(); })", "storage.transactionSync(lambda: storage.deleteAll())",
           allow=Wording("")),
]
_ASYNC = [
    inside("transaction: its value", "return await storage.transaction(async (txn) => 7)", """
        async def work(txn):
            return 7
        return await storage.transaction(work)
        """),
    inside("transaction: txn reads and writes", """
        await storage.put({ a: 1, b: 2 });
        return await storage.transaction(async (txn) => {
          await txn.put("c", 3); await txn.delete("a");
          return [await txn.get("c"), await txn.get("a"), await txn.get(["b", "c"]), await txn.list({ reverse: true })];
        });
        """, """
        await storage.put({"a": 1, "b": 2})
        async def work(txn):
            await txn.put("c", 3)
            await txn.delete("a")
            return [await txn.get("c"), await txn.get("a"), await txn.get(["b", "c"]), await txn.list({"reverse": True})]
        return await storage.transaction(work)
        """),
    inside("transaction: storage inside belongs to it", """
        try { await storage.transaction(async (txn) => { await storage.put("a", 1); sql.exec("CREATE TABLE t (a)"); kv.put("b", 2); throw new Error("x"); }); } catch {}
        return [await storage.list(), sql.exec("SELECT name FROM sqlite_master WHERE name = 't'").toArray()];
        """, """
        async def work(txn):
            await storage.put("a", 1)
            sql.exec("CREATE TABLE t (a)")
            kv.put("b", 2)
            raise Exception("x")
        try:
            await storage.transaction(work)
        except Exception:
            pass
        return [await storage.list(), sql.exec("SELECT name FROM sqlite_master WHERE name = 't'").toArray()]
        """),
    inside("transaction: an exception reaches the caller", 'await storage.transaction(async () => { throw new Error("inner"); })', """
        async def work(txn):
            raise Exception("inner")
        await storage.transaction(work)
        """),
    inside("transaction: what was written before stays", """
        await storage.put("a", 1);
        try { await storage.transaction(async (txn) => { await txn.put("a", 2); throw new Error("x"); }); } catch {}
        return await storage.get("a");
        """, """
        await storage.put("a", 1)
        async def work(txn):
            await txn.put("a", 2)
            raise Exception("x")
        try:
            await storage.transaction(work)
        except Exception:
            pass
        return await storage.get("a")
        """),
    inside("transaction: rollback", """
        return [await storage.transaction(async (txn) => { await txn.put("a", 1); txn.rollback(); return "value"; }), await storage.get("a")];
        """, """
        async def work(txn):
            await txn.put("a", 1)
            txn.rollback()
            return "value"
        return [await storage.transaction(work), await storage.get("a")]
        """),
    inside("transaction: rollback twice", """
        return await storage.transaction(async (txn) => { txn.rollback(); txn.rollback(); return 1; });
        """, """
        async def work(txn):
            txn.rollback()
            txn.rollback()
            return 1
        return await storage.transaction(work)
        """),
    *[
        inside(f"transaction: {call} after rollback", f"await storage.transaction(async (txn) => {{ txn.rollback(); await txn.{code}; }})", f"""
        async def work(txn):
            txn.rollback()
            await txn.{code}
        await storage.transaction(work)
        """)
        for call, code in (
            ("get", 'get("a")'), ("put", 'put("a", 1)'), ("delete", 'delete("a")'), ("list", "list()"),
            ("getAlarm", "getAlarm()"), ("setAlarm", "setAlarm(now() + 100000)"), ("deleteAlarm", "deleteAlarm()"),
        )
    ],
    *[
        inside(f"transaction: {call} after its end", f"let kept; await storage.transaction(async (txn) => {{ kept = txn; }}); await kept.{code}", f"""
        kept = []
        async def work(txn):
            kept.append(txn)
        await storage.transaction(work)
        await kept[0].{code}
        """)
        for call, code in (("get", 'get("a")'), ("put", 'put("a", 1)'))
    ],
    inside("transaction: rollback after its end", "let kept; await storage.transaction(async (txn) => { kept = txn; }); kept.rollback()", """
        kept = []
        async def work(txn):
            kept.append(txn)
        await storage.transaction(work)
        kept[0].rollback()
        """),
    inside("transaction: deleteAll of txn", "await storage.transaction(async (txn) => { await txn.deleteAll(); })", """
        async def work(txn):
            await txn.deleteAll()
        await storage.transaction(work)
        """),
    inside("transaction: deleteAll of storage", "await storage.transaction(async (txn) => { await storage.deleteAll(); })", """
        async def work(txn):
            await storage.deleteAll()
        await storage.transaction(work)
        """),
    inside("transaction: nested, inner undone", """
        await storage.transaction(async (txn) => {
          await txn.put("a", 1);
          try { await storage.transaction(async (inner) => { await inner.put("b", 2); throw new Error("x"); }); } catch {}
        });
        return await storage.list();
        """, """
        async def inner(txn):
            await txn.put("b", 2)
            raise Exception("x")
        async def outer(txn):
            await txn.put("a", 1)
            try:
                await storage.transaction(inner)
            except Exception:
                pass
        await storage.transaction(outer)
        return await storage.list()
        """),
    inside("transaction: nested, outer undone", """
        await storage.transaction(async (txn) => {
          await storage.transaction(async (inner) => { await inner.put("b", 2); });
          txn.rollback();
        });
        return await storage.list();
        """, """
        async def inner(txn):
            await txn.put("b", 2)
        async def outer(txn):
            await storage.transaction(inner)
            txn.rollback()
        await storage.transaction(outer)
        return await storage.list()
        """),
    inside("transaction: outer rollback while an inner one runs", """
        await storage.transaction(async (txn) => {
          await storage.transaction(async (inner) => { txn.rollback(); });
        });
        """, """
        async def outer(txn):
            async def inner(_):
                txn.rollback()
            await storage.transaction(inner)
        await storage.transaction(outer)
        """),
    inside("transaction: an alarm set and undone", """
        await storage.transaction(async (txn) => { await txn.setAlarm(now() + 100000); txn.rollback(); });
        return await storage.getAlarm();
        """, """
        async def work(txn):
            await txn.setAlarm(now() + 100000)
            txn.rollback()
        await storage.transaction(work)
        return await storage.getAlarm()
        """),
    inside("transaction: transactionSync inside", """
        return await storage.transaction(async (txn) => storage.transactionSync(() => { kv.put("a", 1); return kv.get("a"); }));
        """, """
        def work():
            kv.put("a", 1)
            return kv.get("a")
        async def outer(txn):
            return storage.transactionSync(work)
        return await storage.transaction(outer)
        """),
    outside("transaction: keeps other events out", """
        const running = inside("long");
        await sleep(20);
        const seen = await inside("read");
        return [seen, await running];
        """, """
        running = asyncio.ensure_future(inside("long"))
        await sleep(20)
        seen = await inside("read")
        return [seen, await running]
        """, parts={
            "long": Text("""
            return await storage.transaction(async (txn) => { await txn.put("a", 1); await sleep(100); await txn.put("a", 2); return "done"; });
            """, """
            async def work(txn):
                await txn.put("a", 1)
                await sleep(100)
                await txn.put("a", 2)
                return "done"
            return await storage.transaction(work)
            """),
            "read": Text('return await storage.get("a")'),
        }),
]
_GATES = [
    outside("turns: an exception undoes no earlier writes", """
        let caught = "";
        try { await inside("write"); } catch (error) { caught = error.message; }
        return [caught, await inside("read")];
        """, """
        caught = ""
        try:
            await inside("write")
        except Exception as error:
            caught = error.message
        return [caught, await inside("read")]
        """, parts={
            "write": Text('await storage.put("a", 1); sql.exec("CREATE TABLE t (a)"); throw new Error("after")', 'await storage.put("a", 1); sql.exec("CREATE TABLE t (a)"); raise Exception("after")'),
            "read": Text("""return [await storage.get("a"), sql.exec("SELECT count(*) AS n FROM sqlite_master WHERE name = 't'").one()]"""),
        }, allow=PythonRaised()),
    outside("turns: storage between lets nobody in", "return await Promise.all([inside('add'), inside('add'), inside('add')])",
            "return await asyncio.gather(inside('add'), inside('add'), inside('add'))",
            parts={"add": Text('const n = (await storage.get("n") || 0) + 1; await storage.put("n", n); return n', 'n = (await storage.get("n") or 0) + 1; await storage.put("n", n); return n')}),
    outside("turns: a timer between lets others in", "await Promise.all([inside('add'), inside('add')]); return await inside('read')",
            "await asyncio.gather(inside('add'), inside('add')); return await inside('read')",
            parts={
                "add": Text('const n = (await storage.get("n") || 0) + 1; await sleep(20); await storage.put("n", n)', 'n = (await storage.get("n") or 0) + 1; await sleep(20); await storage.put("n", n)'),
                "read": Text('return await storage.get("n")'),
            }),
    outside("calls of one stub arrive in order", "return await Promise.all([stub.increment(), stub.increment(), stub.increment(), stub.increment(), stub.increment(), stub.increment()])",
            "return await asyncio.gather(*[stub.increment() for _ in range(6)])"),
    outside("blockConcurrencyWhile: its value", 'return await inside("go")', parts={
        "go": Text("return await ctx.blockConcurrencyWhile(async () => 5)", "async def work():\n    return 5\nreturn await ctx.blockConcurrencyWhile(work)")}),
    outside("blockConcurrencyWhile: keeps others out", """
        const running = inside("block");
        await sleep(20);
        return [await inside("read"), await running];
        """, """
        running = asyncio.ensure_future(inside("block"))
        await sleep(20)
        return [await inside("read"), await running]
        """, parts={
            "block": Text('return await ctx.blockConcurrencyWhile(async () => { await sleep(100); kv.put("a", "after"); return 1; })', """
            async def work():
                await sleep(100)
                kv.put("a", "after")
                return 1
            return await ctx.blockConcurrencyWhile(work)
            """),
            "read": Text('return kv.get("a")')}),
    outside("blockConcurrencyWhile: in the constructor, not awaited", 'return await inside("read")', parts={
        "constructor_": Text('ctx.blockConcurrencyWhile(async () => { await sleep(30); await storage.put("ready", true); })', """
        async def work():
            await sleep(30)
            await storage.put("ready", True)
        ctx.blockConcurrencyWhile(work)
        """),
        "read": Text('return await storage.get("ready")')}),
    outside("blockConcurrencyWhile: a failure resets", """
        const seen = [];
        try { await inside("fail"); } catch (error) { seen.push(error); }
        try { await stub.echo(1); } catch (error) { seen.push(error); }
        seen.push(await again().increment());
        return seen;
        """, """
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
        """, parts={"fail": Text('await ctx.blockConcurrencyWhile(async () => { throw new Error("broken section"); })', """
        async def work():
            raise Exception("broken section")
        await ctx.blockConcurrencyWhile(work)
        """)}, allow=PythonRaised()),
    outside("blockConcurrencyWhile: nested", 'return await inside("go")', parts={
        "go": Text("return await ctx.blockConcurrencyWhile(async () => await ctx.blockConcurrencyWhile(async () => 6))", """
        async def inner():
            return 6
        async def outer():
            return await ctx.blockConcurrencyWhile(inner)
        return await ctx.blockConcurrencyWhile(outer)
        """)}),
    outside("constructor: it fails", """
        const seen = [];
        for (const each of [stub, stub, again()]) { try { seen.push(await each.echo(1)); } catch (error) { seen.push(error); } }
        return seen;
        """, """
        seen = []
        for each in [stub, stub, again()]:
            try:
                seen.append(await each.echo(1))
            except Exception as error:
                seen.append(error)
        return seen
        """, parts={"constructor_": Text('throw new Error("cannot be made")', 'raise Exception("cannot be made")')}, allow=PythonRaised()),
]
_ABORTS = [
    outside("constructor: it fails once", """
        const seen = [];
        for (const each of [stub, stub, again()]) { try { seen.push(await each.echo(1)); } catch (error) { seen.push(error); } }
        return seen;
        """, """
        seen = []
        for each in [stub, stub, again()]:
            try:
                seen.append(await each.echo(1))
            except Exception as error:
                seen.append(error)
        return seen
        """, parts={"constructor_": Text("""
        globalThis.made = (globalThis.made ?? 0) + 1;
        if (globalThis.made === 1) throw new Error("not yet");
        """, """
        ROWS["made"] = ROWS.get("made", 0) + 1
        if ROWS["made"] == 1:
            raise Exception("not yet")
        """)}, allow=PythonRaised()),
    outside("abort: its text and flags", 'await inside("go")', parts={"go": Text('ctx.abort("over and out")')}),
    outside("abort: without a reason", 'await inside("go")', parts={"go": Text("ctx.abort()")}),
    outside("abort: writes of the turn are lost", """
        await inside("write");
        try { await inside("go"); } catch {}
        return await again().part("read");
        """, """
        await inside("write")
        try:
            await inside("go")
        except Exception:
            pass
        return await again().part("read")
        """, parts={
            "write": Text('await storage.put("a", 1)'),
            "go": Text('storage.put("a", 2); ctx.abort("x")'),
            "read": Text('return await storage.get("a")')}),
    outside("abort: the stub stays broken", """
        try { await inside("go"); } catch {}
        await stub.echo(1);
        """, """
        try:
            await inside("go")
        except Exception:
            pass
        await stub.echo(1)
        """, parts={"go": Text('ctx.abort("first reason")')}),
    outside("abort: a new stub works, in a new instance", """
        await stub.increment(); await stub.increment();
        try { await inside("go"); } catch {}
        return await again().increment();
        """, """
        await stub.increment()
        await stub.increment()
        try:
            await inside("go")
        except Exception:
            pass
        return await again().increment()
        """, parts={"go": Text('ctx.abort("x")')}),
    outside("abort: calls in flight fail with it", """
        const calls = [stub.slow(1, 5000), again().slow(2, 5000)];
        await sleep(30);
        calls.push(again().part("go"));
        return (await Promise.allSettled(calls)).map((each) => each.reason);
        """, """
        calls = [asyncio.ensure_future(stub.slow(1, 5000)), asyncio.ensure_future(again().slow(2, 5000))]
        await sleep(30)
        calls.append(asyncio.ensure_future(again().part("go")))
        return await asyncio.gather(*calls, return_exceptions=True)
        """, parts={"go": Text('ctx.abort("all of you")')}),
    outside("abort: synced writes stay", """
        try { await inside("go"); } catch {}
        return await again().part("read");
        """, """
        try:
            await inside("go")
        except Exception:
            pass
        return await again().part("read")
        """, parts={
            "go": Text('await storage.put("a", 1); await storage.sync(); await storage.put("a", 2); ctx.abort("x")'),
            "read": Text('return await storage.get("a")')}),
    outside("a deferred constraint fails the commit", """
        const seen = [];
        for (const each of [stub, stub]) { try { seen.push(await each.part("orphan")); } catch (error) { seen.push(error); } }
        seen.push(await again().part("read"));
        return seen;
        """, """
        seen = []
        for each in [stub, stub]:
            try:
                seen.append(await each.part("orphan"))
            except Exception as error:
                seen.append(error)
        seen.append(await again().part("read"))
        return seen
        """, parts={
            "constructor_": Text('sql.exec("CREATE TABLE IF NOT EXISTS p (id INTEGER PRIMARY KEY); CREATE TABLE IF NOT EXISTS c (p REFERENCES p (id))")'),
            "orphan": Text("""
            storage.transactionSync(() => { sql.exec("PRAGMA defer_foreign_keys = ON"); sql.exec("INSERT INTO c VALUES (5)"); });
            return "returned";
            """, """
            def work():
                sql.exec("PRAGMA defer_foreign_keys = ON")
                sql.exec("INSERT INTO c VALUES (5)")
            storage.transactionSync(work)
            return "returned"
            """),
            "read": Text('return sql.exec("SELECT count(*) AS n FROM c").one()')}),
]

ROWS = [*_SYNC, *_ASYNC, *_GATES, *_ABORTS]
