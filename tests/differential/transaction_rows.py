"""Transactions, synchronous and asynchronous."""

from __future__ import annotations

from .operation import Text, inside, outside

_SYNC = [
    inside(
        "transactionSync: its value",
        "return storage.transactionSync(() => 7)",
        "return storage.transactionSync(lambda: 7)",
    ),
    inside(
        "transactionSync: writes stay",
        'storage.transactionSync(() => { kv.put("a", 1); }); return kv.get("a")',
        'storage.transactionSync(lambda: kv.put("a", 1)); return kv.get("a")',
    ),
    inside(
        "transactionSync: an exception undoes",
        """
        kv.put("a", 1); let caught = "";
        try { storage.transactionSync(() => { kv.put("a", 2); sql.exec("CREATE TABLE t (a)"); throw new Error("no"); }); } catch (error) { caught = error.message; }
        return [caught, kv.get("a"), sql.exec("SELECT name FROM sqlite_master WHERE name = 't'").toArray()];
        """,
        """
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
        """,
    ),
    inside(
        "transactionSync: nested, both stay",
        """
        storage.transactionSync(() => { kv.put("a", 1); storage.transactionSync(() => { kv.put("b", 2); }); });
        return await storage.list();
        """,
        """
        def outer():
            kv.put("a", 1)
            storage.transactionSync(lambda: kv.put("b", 2))
        storage.transactionSync(outer)
        return await storage.list()
        """,
    ),
    inside(
        "transactionSync: an inner one undone",
        """
        storage.transactionSync(() => {
          kv.put("a", 1);
          try { storage.transactionSync(() => { kv.put("b", 2); throw new Error("x"); }); } catch {}
          kv.put("c", 3);
        });
        return await storage.list();
        """,
        """
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
        """,
    ),
    inside(
        "transactionSync: an outer one undone",
        """
        try { storage.transactionSync(() => { storage.transactionSync(() => { kv.put("b", 2); }); throw new Error("x"); }); } catch {}
        return await storage.list();
        """,
        """
        def outer():
            storage.transactionSync(lambda: kv.put("b", 2))
            raise Exception("x")
        try:
            storage.transactionSync(outer)
        except Exception:
            pass
        return await storage.list()
        """,
    ),
    inside(
        "transactionSync: the first put of all undone, then a put",
        """
        try { storage.transactionSync(() => { kv.put("a", 1); throw new Error("x"); }); } catch {}
        await storage.put("b", 2);
        return await storage.list();
        """,
        """
        def work():
            kv.put("a", 1)
            raise Exception("x")
        try:
            storage.transactionSync(work)
        except Exception:
            pass
        await storage.put("b", 2)
        return await storage.list()
        """,
    ),
    inside(
        "transactionSync: the alarm is undone",
        """
        try { storage.transactionSync(() => { storage.setAlarm(now() + 100000); throw new Error("x"); }); } catch {}
        return await storage.getAlarm();
        """,
        """
        def work():
            storage.setAlarm(now() + 100000)
            raise Exception("x")
        try:
            storage.transactionSync(work)
        except Exception:
            pass
        return await storage.getAlarm()
        """,
    ),
    inside(
        "transactionSync: a failing statement undoes nothing by itself",
        """
        sql.exec("CREATE TABLE t (a UNIQUE)");
        storage.transactionSync(() => {
          sql.exec("INSERT INTO t VALUES (1)");
          try { sql.exec("INSERT INTO t VALUES (1)"); } catch {}
          sql.exec("INSERT INTO t VALUES (2)");
        });
        return sql.exec("SELECT a FROM t").toArray();
        """,
        """
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
        """,
    ),
    inside(
        "transactionSync: deleteAll inside",
        "storage.transactionSync(() => { storage.deleteAll(); })",
        "storage.transactionSync(lambda: storage.deleteAll())",
    ),
]
_ASYNC = [
    inside(
        "transaction: its value",
        "return await storage.transaction(async (txn) => 7)",
        """
        async def work(txn):
            return 7
        return await storage.transaction(work)
        """,
    ),
    inside(
        "transaction: txn reads and writes",
        """
        await storage.put({ a: 1, b: 2 });
        return await storage.transaction(async (txn) => {
          await txn.put("c", 3); await txn.delete("a");
          return [await txn.get("c"), await txn.get("a"), await txn.get(["b", "c"]), await txn.list({ reverse: true })];
        });
        """,
        """
        await storage.put({"a": 1, "b": 2})
        async def work(txn):
            await txn.put("c", 3)
            await txn.delete("a")
            return [await txn.get("c"), await txn.get("a"), await txn.get(["b", "c"]), await txn.list({"reverse": True})]
        return await storage.transaction(work)
        """,
    ),
    inside(
        "transaction: storage inside belongs to it",
        """
        try { await storage.transaction(async (txn) => { await storage.put("a", 1); sql.exec("CREATE TABLE t (a)"); kv.put("b", 2); throw new Error("x"); }); } catch {}
        return [await storage.list(), sql.exec("SELECT name FROM sqlite_master WHERE name = 't'").toArray()];
        """,
        """
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
        """,
    ),
    inside(
        "transaction: an exception reaches the caller",
        'await storage.transaction(async () => { throw new Error("inner"); })',
        """
        async def work(txn):
            raise Exception("inner")
        await storage.transaction(work)
        """,
    ),
    inside(
        "transaction: what was written before stays",
        """
        await storage.put("a", 1);
        try { await storage.transaction(async (txn) => { await txn.put("a", 2); throw new Error("x"); }); } catch {}
        return await storage.get("a");
        """,
        """
        await storage.put("a", 1)
        async def work(txn):
            await txn.put("a", 2)
            raise Exception("x")
        try:
            await storage.transaction(work)
        except Exception:
            pass
        return await storage.get("a")
        """,
    ),
    inside(
        "transaction: rollback",
        """
        return [await storage.transaction(async (txn) => { await txn.put("a", 1); txn.rollback(); return "value"; }), await storage.get("a")];
        """,
        """
        async def work(txn):
            await txn.put("a", 1)
            txn.rollback()
            return "value"
        return [await storage.transaction(work), await storage.get("a")]
        """,
    ),
    inside(
        "transaction: rollback twice",
        """
        return await storage.transaction(async (txn) => { txn.rollback(); txn.rollback(); return 1; });
        """,
        """
        async def work(txn):
            txn.rollback()
            txn.rollback()
            return 1
        return await storage.transaction(work)
        """,
    ),
    *[
        inside(
            f"transaction: {call} after rollback",
            f"await storage.transaction(async (txn) => {{ txn.rollback(); await txn.{code}; }})",
            f"""
        async def work(txn):
            txn.rollback()
            await txn.{code}
        await storage.transaction(work)
        """,
        )
        for call, code in (
            ("get", 'get("a")'),
            ("put", 'put("a", 1)'),
            ("delete", 'delete("a")'),
            ("list", "list()"),
            ("getAlarm", "getAlarm()"),
            ("setAlarm", "setAlarm(now() + 100000)"),
            ("deleteAlarm", "deleteAlarm()"),
        )
    ],
    *[
        inside(
            f"transaction: {call} after its end",
            f"let kept; await storage.transaction(async (txn) => {{ kept = txn; }}); await kept.{code}",
            f"""
        kept = []
        async def work(txn):
            kept.append(txn)
        await storage.transaction(work)
        await kept[0].{code}
        """,
        )
        for call, code in (("get", 'get("a")'), ("put", 'put("a", 1)'))
    ],
    inside(
        "transaction: rollback after its end",
        "let kept; await storage.transaction(async (txn) => { kept = txn; }); kept.rollback()",
        """
        kept = []
        async def work(txn):
            kept.append(txn)
        await storage.transaction(work)
        kept[0].rollback()
        """,
    ),
    inside(
        "transaction: deleteAll of txn",
        "await storage.transaction(async (txn) => { await txn.deleteAll(); })",
        """
        async def work(txn):
            await txn.deleteAll()
        await storage.transaction(work)
        """,
    ),
    inside(
        "transaction: deleteAll of storage",
        "await storage.transaction(async (txn) => { await storage.deleteAll(); })",
        """
        async def work(txn):
            await storage.deleteAll()
        await storage.transaction(work)
        """,
    ),
    inside(
        "transaction: nested, inner undone",
        """
        await storage.transaction(async (txn) => {
          await txn.put("a", 1);
          try { await storage.transaction(async (inner) => { await inner.put("b", 2); throw new Error("x"); }); } catch {}
        });
        return await storage.list();
        """,
        """
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
        """,
    ),
    inside(
        "transaction: nested, outer undone",
        """
        await storage.transaction(async (txn) => {
          await storage.transaction(async (inner) => { await inner.put("b", 2); });
          txn.rollback();
        });
        return await storage.list();
        """,
        """
        async def inner(txn):
            await txn.put("b", 2)
        async def outer(txn):
            await storage.transaction(inner)
            txn.rollback()
        await storage.transaction(outer)
        return await storage.list()
        """,
    ),
    inside(
        "transaction: outer rollback while an inner one runs",
        """
        await storage.transaction(async (txn) => {
          await storage.transaction(async (inner) => { txn.rollback(); });
        });
        """,
        """
        async def outer(txn):
            async def inner(_):
                txn.rollback()
            await storage.transaction(inner)
        await storage.transaction(outer)
        """,
    ),
    inside(
        "transaction: an alarm set and undone",
        """
        await storage.transaction(async (txn) => { await txn.setAlarm(now() + 100000); txn.rollback(); });
        return await storage.getAlarm();
        """,
        """
        async def work(txn):
            await txn.setAlarm(now() + 100000)
            txn.rollback()
        await storage.transaction(work)
        return await storage.getAlarm()
        """,
    ),
    inside(
        "transaction: transactionSync inside",
        """
        return await storage.transaction(async (txn) => storage.transactionSync(() => { kv.put("a", 1); return kv.get("a"); }));
        """,
        """
        def work():
            kv.put("a", 1)
            return kv.get("a")
        async def outer(txn):
            return storage.transactionSync(work)
        return await storage.transaction(outer)
        """,
    ),
    outside(
        "transaction: keeps other events out",
        """
        const running = inside("long");
        await sleep(20);
        const seen = await inside("read");
        return [seen, await running];
        """,
        """
        running = asyncio.ensure_future(inside("long"))
        await sleep(20)
        seen = await inside("read")
        return [seen, await running]
        """,
        parts={
            "long": Text(
                """
            return await storage.transaction(async (txn) => { await txn.put("a", 1); await sleep(100); await txn.put("a", 2); return "done"; });
            """,
                """
            async def work(txn):
                await txn.put("a", 1)
                await sleep(100)
                await txn.put("a", 2)
                return "done"
            return await storage.transaction(work)
            """,
            ),
            "read": Text('return await storage.get("a")'),
        },
    ),
]
ROWS = [*_SYNC, *_ASYNC]
