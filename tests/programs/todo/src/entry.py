"""Todos in D1."""

from urllib.parse import urlparse

from js import Object
from pyodide.ffi import JsException, to_js
from workers import Response, WorkerEntrypoint

TABLE = "CREATE TABLE IF NOT EXISTS todos (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, done INTEGER DEFAULT 0)"


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        db = self.env.DB
        await db.exec(TABLE)
        path = urlparse(request.url).path
        match request.method, path.strip("/").split("/"):
            case "POST", ["todos"]:
                title = (await request.json())["title"]
                row = (
                    await db.prepare("INSERT INTO todos (title) VALUES (?) RETURNING id, title, done")
                    .bind(title)
                    .first()
                )
                return Response.json({"id": row.id, "title": row["title"], "done": bool(row.done)}, status=201)
            case "GET", ["todos"]:
                found = await db.prepare("SELECT id, title, done FROM todos ORDER BY id").all()
                return Response.json(
                    {"todos": found.results, "ok": found["success"], "read": found.meta["rows_read"] >= 0}
                )
            case "PUT", ["todos", number]:
                done = await db.prepare("UPDATE todos SET done = ? WHERE id = ?").bind(True, int(number)).run()
                return Response.json({"changed": done.meta.changes})
            case "DELETE", ["todos", number]:
                done = await db.prepare("DELETE FROM todos WHERE id = ?1").bind(int(number)).run()
                return Response(None, status=204 if done["meta"]["changes"] else 404)
            case "POST", ["import"]:
                add = db.prepare("INSERT INTO todos (title) VALUES (?)")
                results = await db.batch([add.bind(title) for title in await request.json()])
                return Response.json({"added": len(results), "last": results[-1].meta.last_row_id})
            case "GET", ["js"]:
                result = await db.prepare("SELECT title FROM todos WHERE done = ?").bind(0).run()
                rows = result.results
                titles = [row.title for row in rows]
                one = await db.prepare("SELECT count(*) AS n FROM todos").first("n")
                raw = await db.prepare("SELECT id, title FROM todos").raw(
                    to_js({"columnNames": True}, dict_converter=Object.fromEntries)
                )
                return Response.json({"titles": titles, "count": one, "raw": raw[:1]})
            case "GET", ["wrong"]:
                try:
                    await db.prepare("SELEC 1").run()
                except JsException as error:
                    return Response.json({"name": error.name, "says": "syntax error" in str(error)})
            case "GET", ["none"]:
                return Response.json(await db.prepare("SELECT * FROM todos WHERE id = -1").first())
        return Response("Not Found", status=404)
