"""Habits of programs in public that are easy to miss, each a check: GET / runs them and says what failed."""

import asyncio
import json
import logging
import traceback
from datetime import datetime, timedelta

import asgi
import js
from pyodide.ffi import JsException, JsProxy, to_js
from workers import DurableObject, HTMLRewriter, Request, Response, WorkerEntrypoint
from workers.rpc import _RpcStubWrapper


class Base(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS seen (at TEXT)")
        self.ready = self.ctx.blockConcurrencyWhile(self.begin)

    async def begin(self):
        self.count = await self.ctx.storage.get("count") or 0

    async def shared(self):
        return "of the base"


class Leaf(Base):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.own = "own"

    async def alarms(self):
        storage = self.ctx.storage
        assert await storage.getAlarm() is None
        await storage.setAlarm(datetime.now() + timedelta(minutes=1))
        at = await storage.getAlarm()
        assert isinstance(at, int | float)
        assert abs(at / 1000 - (datetime.now() + timedelta(minutes=1)).timestamp()) < 5
        await storage.deleteAlarm()
        return self.own

    async def alarm(self):
        raise AssertionError("it was taken back")

    async def cursors(self):
        sql = self.ctx.storage.sql
        cursor = sql.exec("INSERT INTO seen VALUES (?) RETURNING at", datetime.now().isoformat())
        row = next(iter(cursor))
        assert row["at"]
        assert cursor.rowsWritten >= 1
        rows = list(sql.exec("SELECT * FROM seen"))
        assert len(rows) == sql.exec("SELECT count(*) AS n FROM seen").one()["n"]
        names = [dict(row) for row in sql.exec("SELECT at FROM seen").toArray()]
        assert json.loads(json.dumps(names))[0]["at"]
        return len(rows)

    async def kept(self):
        storage = self.ctx.storage
        await storage.put({"list:a": 1, "list:b": 2, "other": 3})
        found = await storage.list({"prefix": "list:"})
        assert len(found) == 2
        assert found["list:a"] == 1
        assert dict(found) == {"list:a": 1, "list:b": 2}
        for key, value in found.items():
            assert key.startswith("list:")
            assert isinstance(value, int)
        got = await storage.get(["list:a", "missing"])
        assert got.get("missing") is None
        await asyncio.gather(*[storage.put(f"n:{number}", number) for number in range(5)])
        return json.dumps(await storage.get("list:a"))


class Handler:
    def element(self, element):
        element.setAttribute("data-seen", "true")


class Late:
    async def element(self, element):
        await asyncio.sleep(0.01)
        element.setAttribute("data-late", "true")


class Document:
    def end(self, end):
        end.append("<!-- end -->", html=True)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        results = {}
        for name in [name for name in dir(self) if name.startswith("check_")]:
            try:
                await getattr(self, name)()
                results[name] = "passed"
            except Exception as error:
                frame = traceback.extract_tb(error.__traceback__)
                lines = [each for each in frame if each.filename.endswith("entry.py")]
                results[name] = f"line {lines[-1].lineno}: {lines[-1].line}: {type(error).__name__}: {error}"
        return Response.json(results)

    async def check_rewriter(self):
        page = Response("<html><body><div>D</div><p>P</p></body></html>", headers={"content-type": "text/html"})
        made = HTMLRewriter().on("div", Handler()).on("p", Late()).on_document(Document()).transform(page)
        text = await made.text()
        assert '<div data-seen="true">' in text
        assert '<p data-late="true">' in text
        assert text.endswith("<!-- end -->")

    async def check_kv_options(self):
        kv = self.env.KV
        await kv.put("a", "value", None)
        assert (await kv.list(None))["list_complete"] is True
        page = await kv.list({"prefix": "a", "limit": 1000})
        assert page.get("cursor") is None
        missing = await kv.getWithMetadata("nothing")
        assert missing["value"] is None
        assert missing["metadata"] is None
        await kv.put("json", json.dumps({"x": "hello"}))
        found = await kv.get("json", {"type": "json"})
        assert isinstance(found, dict)
        assert isinstance(await kv.get("a", "arrayBuffer"), memoryview)
        assert (await kv.get(["a", "nothing"])).get("nothing") is None

    async def check_d1(self):
        db = self.env.DB
        made = await db.exec("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, name TEXT);\nDELETE FROM t;")
        assert made["count"] >= 2
        assert made["duration"] >= 0
        statement = db.prepare("INSERT INTO t (name) VALUES (?)")
        assert not callable(statement)
        assert not isinstance(statement, _RpcStubWrapper)
        done = await statement.bind("n").run()
        names = ("duration", "changes", "last_row_id", "changed_db", "rows_read", "rows_written", "size_after")
        assert all(name in done["meta"] for name in names)
        assert done["meta"]["changed_db"] is True
        select = db.prepare("SELECT name FROM t")
        assert await select.raw(columnNames=True) == [["name"], ["n"]]
        assert await select.raw({"columnNames": True}) == [["name"], ["n"]]
        assert await select.raw(None) == [["n"]]
        assert isinstance(await select.first(), dict)
        session = db.withSession()
        assert session.getBookmark() is None
        assert (await session.prepare("SELECT count(*) AS n FROM t").all())["results"][0]["n"] == 1
        assert isinstance(session.getBookmark(), str)
        try:
            await db.prepare("INVALID").run()
        except JsException as error:
            assert "syntax error" in str(error)
        else:
            raise AssertionError("that is no SQL")
        await db.prepare("INSERT INTO t (name) VALUES (?)").bind(None).run()
        assert (await db.prepare("SELECT name FROM t WHERE name IS NULL").first())["name"] is None

    async def check_objects(self):
        leaf = self.env.LEAF.get(self.env.LEAF.idFromName("leaf"))
        assert await leaf.shared() == "of the base"
        assert await leaf.alarms() == "own"
        assert await leaf.cursors() == 1
        assert await leaf.kept() == "1"

    async def check_scopes(self):
        given = {"Header1": "Value1", "Header2": "Value2"}
        of_js = js.Request.new("http://example.com/", headers=to_js(given))
        of_python = Request("http://example.com/", headers=given)
        scopes = [asgi.request_to_scope(request, self.env)["headers"] for request in (of_js, of_python)]
        assert scopes[0] == scopes[1] == [(b"header1", b"Value1"), (b"header2", b"Value2")]

    async def check_logging(self):
        heard = []

        class Listener(logging.Handler):
            def emit(self, record):
                heard.append(record)

        async def fails():
            raise ValueError("in the background")

        async def app(scope, receive, send):
            if scope["type"] == "http":
                raise RuntimeError("before the response")

        listener = Listener()
        logging.getLogger("asgi").addHandler(listener)
        try:
            asgi.run_in_background(fails())
            await asyncio.sleep(0.01)
            assert any("in the background" in str(record.exc_info[1]) for record in heard if record.exc_info)
            try:
                await asgi.fetch(app, js.Request.new("http://example.com/"), {})
            except RuntimeError as error:
                assert "before the response" in str(error)
            else:
                raise AssertionError("the application has failed")
        finally:
            logging.getLogger("asgi").removeHandler(listener)

    async def check_streams(self):
        async def app(scope, receive, send):
            if scope["type"] != "http":
                return
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for number in range(3):
                await send({"type": "http.response.body", "body": b"%d" % number * 1000, "more_body": number < 2})

        answer = await asgi.fetch(app, Request("http://example.com/"), self.env, self.ctx)
        reader = answer.body.getReader()
        decoder = js.TextDecoder.new()
        content = ""
        while True:
            result = await reader.read()
            if result.done:
                break
            assert len(result.value.to_bytes()) == result.value.byteLength
            content += decoder.decode(result.value, {"stream": True})
        content += decoder.decode()
        assert content == "0" * 1000 + "1" * 1000 + "2" * 1000
        assert isinstance(answer.body, JsProxy)

    async def check_json_attributes(self):
        request = Request("http://example.com/", method="POST", body='{"name": "ann", "deep": {"n": [{"x": 1}]}}')
        found = await request.js_object.json()
        assert found.name == "ann"
        assert found.deep.n[0].x == 1
        assert found.to_py() == {"name": "ann", "deep": {"n": [{"x": 1}]}}
