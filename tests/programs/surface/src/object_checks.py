"""Namespaces, ids, storage, alarms: what a program does with them from Python."""

import js
from js import Date, Object
from pyodide.ffi import to_js
from workers import DurableObject


def js_object(value):
    return to_js(value, dict_converter=Object.fromEntries)


class Kept(DurableObject):
    async def storage(self):
        storage = self.ctx.storage
        await storage.put("key", {"a": [1, {"b": 2}], "n": None})
        found = await storage.get("key")
        assert found["a"][1]["b"] == 2
        assert found.a[0] == 1
        await storage.put({"x": 1, "y": 2, "z": 3})
        several = await storage.get(["x", "y", "nothing"])
        assert several == {"x": 1, "y": 2}
        assert several.to_py() == {"x": 1, "y": 2}
        assert await storage.get("nothing") is None
        assert list(await storage.list(start="x", limit=2)) == ["x", "y"]
        assert list(await storage.list({"prefix": "x"})) == ["x"]
        assert list((await storage.list(js_object({"reverse": True, "limit": 1}))).keys()) == ["z"]
        assert await storage.delete("x") is True
        assert await storage.delete(["y", "z", "q"]) == 2
        await storage.put("messages", to_js(["one", "two"]))
        assert list(await storage.get("messages")) == ["one", "two"]
        await storage.put("js", js_object({"deep": {"n": 1}}))
        assert (await storage.get("js")).deep.n == 1
        await storage.put("bytes", b"raw")
        assert bytes(await storage.get("bytes")) == b"raw"
        await storage.put("unconfirmed", 1, allowUnconfirmed=True)
        await storage.sync()
        await storage.deleteAll()
        assert len(await storage.list()) == 0

    async def sync_kv(self):
        kv = self.ctx.storage.kv
        kv.put("a", {"n": 1})
        assert kv.get("a")["n"] == 1
        assert kv.get("nothing") is None
        assert [key for key, _ in kv.list()] == ["a"]
        assert kv.delete("a") is True

    async def sql(self):
        sql = self.ctx.storage.sql
        sql.exec("DROP TABLE IF EXISTS t")
        sql.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, score REAL)")
        sql.exec("INSERT INTO t (name, score) VALUES (?, ?), (?, ?)", "ann", 1.5, "bob", 2)
        cursor = sql.exec("SELECT * FROM t ORDER BY id")
        assert list(cursor.columnNames) == ["id", "name", "score"]
        rows = cursor.toArray()
        assert rows[0].name == "ann"
        assert rows[1]["score"] == 2
        assert [row.name for row in rows] == ["ann", "bob"]
        assert cursor.rowsRead > 0
        one = sql.exec("SELECT count(*) AS n FROM t").one()
        assert one.n == 2
        assert sql.exec("SELECT name FROM t").toArray().to_py()[0] == {"name": "ann"}
        assert sql.exec("SELECT name FROM t").raw().toArray().to_py() == [["ann"], ["bob"]]
        assert sql.databaseSize > 0
        following = sql.exec("SELECT name FROM t")
        first = following.next()
        assert first.value.name == "ann"
        assert first.done is False

    async def alarms(self):
        storage = self.ctx.storage
        assert await storage.getAlarm() is None
        at = Date.now() + 3_600_000
        storage.setAlarm(at)
        assert await storage.getAlarm() == at
        await storage.setAlarm(Date.new(at + 1000))
        assert await storage.getAlarm() == at + 1000
        await storage.deleteAlarm()
        assert await storage.getAlarm() is None

    async def transactions(self):
        storage = self.ctx.storage

        async def move(txn):
            await txn.put("moved", 1)
            return 7

        assert await storage.transaction(move) == 7

        def fails():
            storage.kv.put("moved", 2)
            raise ValueError("roll it back")

        try:
            storage.transactionSync(fails)
        except Exception as error:
            assert "roll it back" in str(error)
        assert storage.kv.get("moved") == 1

    async def identity(self):
        assert self.ctx.id.name == "kept"
        assert len(self.ctx.id.toString()) == 64
        assert str(self.ctx.id) == self.ctx.id.toString()
        assert self.env.WORD == "text"
        await self.ctx.blockConcurrencyWhile(self.storage)
        return self.ctx.id.toString()

    async def alarm(self, info=None):
        raise AssertionError("too early")


def stub(env):
    return env.KEPT.get(env.KEPT.idFromName("kept"))


async def check_storage(env, ctx):
    await stub(env).storage()


async def check_sync_kv(env, ctx):
    await stub(env).sync_kv()


async def check_sql(env, ctx):
    await stub(env).sql()


async def check_alarms(env, ctx):
    await stub(env).alarms()


async def check_transactions(env, ctx):
    await stub(env).transactions()


async def check_ids(env, ctx):
    named = env.KEPT.idFromName("kept")
    assert named.equals(env.KEPT.idFromName("kept"))
    assert not named.equals(env.KEPT.idFromName("other"))
    assert env.KEPT.idFromString(named.toString()).toString() == named.toString()
    unique = env.KEPT.newUniqueId()
    assert len(unique.toString()) == 64
    assert unique.name is None or unique.name == js.undefined
    assert env.KEPT.get(named).id.toString() == named.toString()
    assert env.KEPT.getByName("kept").name == "kept"
    assert await env.KEPT.getByName("kept", locationHint="weur").identity() == named.toString()
