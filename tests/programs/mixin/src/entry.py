"""What a framework's adapter does: a mixin whose `fetch` is a plain function and which keeps the storage in a global."""

import os
from io import BytesIO

from workers import DurableObject, WorkerEntrypoint

STORAGE = None


async def respond(request, app):
    os.environ.setdefault("ADAPTER_ASYNC_UNSAFE", "false")
    from js import URL, Object, Response, console

    url = URL.new(request.url)
    assert url.protocol[-1] == ":"
    assert "?".startswith(url.search[0:1])
    environ = {
        "REQUEST_METHOD": str(request.method).upper(),
        "PATH_INFO": url.pathname,
        "QUERY_STRING": url.search[1:],
        "SERVER_NAME": url.host.split(":")[0],
        "SERVER_PORT": url.port,
        "wsgi.url_scheme": url.protocol[:-1],
        "wsgi.errors": console.error,
        "wsgi.input": BytesIO(b""),
    }
    for header in request.headers.items():
        environ[f"HTTP_{header[0].upper().replace('-', '_')}"] = header[1]
    if environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"] = BytesIO((await request.js_object.arrayBuffer()).to_bytes())
    status, headers, body, cookies = app(environ)
    response = Response.new(body, headers=Object.fromEntries(headers.items()), status=status)
    for cookie in cookies:
        response.headers.append("Set-Cookie", cookie)
    return response


def query(text, *params):
    try:
        statement = STORAGE.exec(text, *params) if params else STORAGE.exec(text)
        rows = statement.raw().toArray().to_py()
        return [tuple(row) for row in rows], statement.rowsRead, statement.rowsWritten
    except Exception:
        from js import Error

        Error.stackTraceLimit = 1e10
        raise


class AdapterDurableObject:
    def __init__(self, ctx, env):
        global STORAGE
        self.ctx = ctx
        self.env = env
        STORAGE = self.ctx.storage.sql

    def fetch(self, request):
        return respond(request, self.get_app())


def application(environ):
    if environ["PATH_INFO"] == "/missing":
        try:
            query("SELECT * FROM nowhere")
        except Exception as error:
            return 200, {"Content-Type": "text/plain"}, str("no such table" in str(error)), []
    query("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT, flag)")
    if environ["REQUEST_METHOD"] == "POST":
        text = environ["wsgi.input"].read().decode()
        rows, _, written = query("INSERT INTO notes (text, flag) VALUES (?, ?) RETURNING id", text, True)
        return 201, {"Content-Type": "text/plain", "X-Written": str(written > 0)}, f"{rows[0][0]}", ["a=1", "b=2"]
    rows, read, _ = query("SELECT id, text, flag FROM notes")
    return 200, {"Content-Type": "text/plain"}, f"{rows} {read > 0}", []


class Notes(AdapterDurableObject, DurableObject):
    def get_app(self):
        return application


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await self.env.NOTES.get(self.env.NOTES.idFromName("A")).fetch(request)
