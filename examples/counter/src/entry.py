"""Counters, each an object with a name of its own.

POST /counter/NAME/increment[?amount=K]   counts up by remote call, get + put of a key
POST /counter/NAME/sql-increment          counts up in a table
GET  /counter/NAME                        the value
GET  /counter/NAME/echo                   answers without using storage
     /counter/NAME/fetch/…                the object's own fetch: POST …/increment?amount=K, GET …/value
"""

from urllib.parse import parse_qs, unquote, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint


class Counter(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        ctx.blockConcurrencyWhile(self.prepare)

    async def prepare(self):
        self.value_at_start = await self.ctx.storage.get("value") or 0

    async def increment(self, amount=1):
        value = (await self.ctx.storage.get("value") or 0) + amount
        await self.ctx.storage.put("value", value)
        return value

    async def sql_increment(self):
        sql = self.ctx.storage.sql
        sql.exec("CREATE TABLE IF NOT EXISTS counts(name TEXT PRIMARY KEY, value INTEGER)")
        return sql.exec(
            "INSERT INTO counts VALUES('sql', 1) ON CONFLICT(name) DO UPDATE SET value = value + 1 RETURNING value"
        ).one()["value"]

    async def value(self):
        return await self.ctx.storage.get("value") or 0

    async def echo(self):
        return 1

    async def fetch(self, request):
        url = urlsplit(request.url)
        action = url.path.rsplit("/", 1)[-1]
        if action == "increment" and request.method == "POST":
            amount = amount_of(url.query)
            if amount is None:
                return Response("amount must be a whole number\n", status=400)
            return Response(f"{await self.increment(amount)}\n")
        if action == "value":
            return Response(f"{await self.value()}\n")
        return Response("not found\n", status=404)


def amount_of(query):
    """The amount in a query string, 1 when there is none, None when it is no whole number."""
    if not query:
        return 1
    text = parse_qs(query).get("amount", ["1"])[0]
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 15 else None


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        _, _, rest = request.url.partition("://")
        path, _, query = rest.partition("/")[2].partition("?")
        parts = path.split("/")
        if len(parts) < 2 or parts[0] != "counter" or not parts[1]:
            return Response("try POST /counter/NAME/increment\n", status=404)
        action = "/".join(parts[2:])
        counter = self.env.COUNTERS.getByName(unquote(parts[1]))
        if action.startswith("fetch/"):
            return await counter.fetch(request)
        if request.method == "POST" and action == "increment":
            amount = amount_of(query)
            if amount is None:  # refused here: no object wakes up for it
                return Response("amount must be a whole number\n", status=400)
            return Response(f"{await counter.increment(amount)}\n")
        if request.method == "POST" and action == "sql-increment":
            return Response(f"{await counter.sql_increment()}\n")
        if request.method == "GET" and action == "":
            return Response(f"{await counter.value()}\n")
        if request.method == "GET" and action == "echo":
            return Response(f"{await counter.echo()}\n")
        return Response("not found\n", status=404)
