"""A queue that brings its messages to a consumer: batches, delays, retries, dead letters. It is how queues work inside.

POST /queue/NAME?delay_s=60  the body is the message; the answer its number
POST /queue/NAME/retry       the dead ones begin anew; the answer how many
GET  /queue/NAME             {"waiting": 1, "dead": ["bad news"], "consumed": ["good news"]}

A message is deleted when the consumer is done with it, so it is delivered at least once, whatever crashes: the consumer knows by
the numbers what it has done. With `queues` in its configuration perdure does this itself: docs/bindings.md.
"""

import time
from urllib.parse import parse_qsl, unquote, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages(
    id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT, due_ms INTEGER, attempts INTEGER DEFAULT 0, dead INTEGER DEFAULT 0);
CREATE INDEX IF NOT EXISTS due ON messages(dead, due_ms)"""
ADD = "INSERT INTO messages(body, due_ms) VALUES(?, ?) RETURNING id"
TAKE = """
UPDATE messages SET attempts = attempts + 1, due_ms = ? WHERE id IN (
    SELECT id FROM messages WHERE dead = 0 AND due_ms <= ? ORDER BY due_ms, id LIMIT ?) RETURNING id, body, attempts"""
RETRY = "UPDATE messages SET dead = 0, attempts = 0, due_ms = ? WHERE dead = 1 RETURNING id"
NEXT = "SELECT min(due_ms) AS due_ms, count(*) AS count FROM messages WHERE dead = 0"


def now_ms(later_s=0):
    return int((time.time() + later_s) * 1000)


class Queue(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.rows = lambda query, *values: ctx.storage.sql.exec(query, *values).toArray()
        self.rows(SCHEMA)

    async def send(self, body, delay_s):
        number = self.rows(ADD, body, now_ms(delay_s))[0]["id"]
        await self.arm()
        return number

    async def arm(self):
        """When the oldest has waited for a batch long enough; at once when there is a full one."""
        found = self.rows(NEXT)[0]
        if found["count"]:
            wait_ms = self.env.BATCH_SECONDS * 1000 * (found["count"] < self.env.BATCH)
            await self.ctx.storage.setAlarm(found["due_ms"] + wait_ms)

    async def alarm(self):
        """Deliver a batch. That it was tried is on disk before the consumer hears of it; a crash here tries it again."""
        batch = self.rows(TAKE, now_ms(self.env.RETRY_SECONDS), now_ms(), self.env.BATCH)
        try:
            done = await self.env.CONSUMERS.getByName(self.ctx.id.name).consume(batch)
        except Exception as error:
            print(f"the consumer failed: {error}")
            done = []
        for message in batch:
            if message["id"] in done:
                self.rows("DELETE FROM messages WHERE id = ?", message["id"])
        self.rows("UPDATE messages SET dead = 1 WHERE dead = 0 AND attempts > ?", self.env.RETRIES)
        await self.arm()

    async def retry(self):
        count = len(self.rows(RETRY, now_ms()))
        await self.arm()
        return count

    async def show(self):
        dead = self.rows("SELECT body FROM messages WHERE dead = 1 ORDER BY id")
        return {"waiting": self.rows(NEXT)[0]["count"], "dead": [row["body"] for row in dead]}


class Consumer(DurableObject):
    """Put your work here. What it raises, and what it does not name as done, is tried again."""

    async def consume(self, batch):
        good = {message["id"]: message["body"] for message in batch if not message["body"].startswith("bad")}
        await self.ctx.storage.put({f"{number:012}": body for number, body in good.items()})
        return [*good]

    async def consumed(self):
        return [*(await self.ctx.storage.list(reverse=True, limit=100)).values()]


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        match request.method, *[unquote(part) for part in url.path.strip("/").split("/")]:
            case "POST", "queue", name:
                delay_s = dict(parse_qsl(url.query)).get("delay_s", "")[:8]
                queue, delay_s = self.env.QUEUES.getByName(name), int(delay_s) if delay_s.isdecimal() else 0
                return Response.json(await queue.send(await request.text(), delay_s))
            case "POST", "queue", name, "retry":
                return Response.json(await self.env.QUEUES.getByName(name).retry())
            case "GET", "queue", name:
                consumed = self.env.CONSUMERS.getByName(name).consumed()
                return Response.json({**await self.env.QUEUES.getByName(name).show(), "consumed": await consumed})
        return Response("try POST /queue/NAME\n", status=404)
