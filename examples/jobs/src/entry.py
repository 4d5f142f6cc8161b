"""A queue of jobs, which workers anywhere take over HTTP. A job is done at least once, however many workers crash.

POST /queue/NAME?priority=5&delay_s=60  the body is the job; the answer its number
POST /queue/NAME/take                   {"id": 1, "job": …, "attempt": 1}, the most urgent that is due; 404 when there is none
POST /queue/NAME/1/done?attempt=1       the body is the result; 409 when the job is not this worker's any more
POST /queue/NAME/1/failed?attempt=1     the body says why: again after 10, 20, 40, … s; after 5 attempts it is dead
POST /queue/NAME/1/retry                a dead one begins anew; 409 when it is not dead
GET  /queue/NAME/1                      [{"id": 1, "state": "waiting", "attempt": 0, "outcome": null, …}]
GET  /queue/NAME/dead                   those of a state: waiting, taken, done, dead

A worker has LEASE_SECONDS; when it says nothing until then it has crashed, and an alarm takes the job back as one that failed.
"""

import time
from urllib.parse import parse_qsl, unquote, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs(
    id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT, priority INTEGER, at_ms INTEGER, -- due, lease over, or to be erased
    state TEXT DEFAULT 'waiting', attempt INTEGER DEFAULT 0, outcome TEXT);
CREATE INDEX IF NOT EXISTS urgent ON jobs(state, priority DESC, at_ms);
CREATE INDEX IF NOT EXISTS next ON jobs(at_ms) WHERE state <> 'waiting'"""
ADD = "INSERT INTO jobs(job, priority, at_ms) VALUES(?, ?, ?) RETURNING id"
TAKE = """
UPDATE jobs SET state = 'taken', at_ms = ?, attempt = attempt + 1 WHERE id = (
    SELECT id FROM jobs WHERE state = 'waiting' AND at_ms <= ? ORDER BY priority DESC, at_ms, id LIMIT 1)
RETURNING id, job, attempt"""
END = "UPDATE jobs SET state = ?, at_ms = ?, outcome = ? WHERE id = ? AND state = 'taken' AND attempt = ? RETURNING id"
RETRY = "UPDATE jobs SET state = 'waiting', at_ms = ?, attempt = 0 WHERE id = ? AND state = 'dead' RETURNING id"


def now_ms(later_s=0):
    return int((time.time() + later_s) * 1000)


class Queue(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.rows = lambda query, *values: ctx.storage.sql.exec(query, *values).toArray()
        self.rows(SCHEMA)

    async def add(self, job, priority, delay_s):
        return self.rows(ADD, job, priority, now_ms(delay_s))[0]["id"]

    async def take(self):
        taken = self.rows(TAKE, now_ms(self.env.LEASE_SECONDS), now_ms())
        self.arm()
        return taken[0] if taken else None

    async def end(self, number, attempt, outcome, done):
        """Whether it was this worker's. The attempt tells one that was thought dead from the one that has the job now."""
        state, wait_s = "waiting", self.env.BACK_OFF_SECONDS * 2 ** min(attempt - 1, 20)
        if done or attempt >= self.env.ATTEMPTS:
            state, wait_s = "done" if done else "dead", self.env.KEEP_HOURS * 3600
        return bool(self.rows(END, state, now_ms(wait_s), outcome, number, attempt))  # the lease's alarm comes anyway

    async def retry(self, number):
        return bool(self.rows(RETRY, now_ms(), number))

    def arm(self):
        """An alarm for what comes next. It may find nothing to do: a job was ended since, or it runs a second time."""
        for row in self.rows("SELECT at_ms FROM jobs WHERE state <> 'waiting' ORDER BY at_ms LIMIT 1"):
            self.ctx.storage.setAlarm(row["at_ms"])

    async def alarm(self):
        for row in self.rows("SELECT * FROM jobs WHERE state = 'taken' AND at_ms <= ?", now_ms()):
            await self.end(row["id"], row["attempt"], "the worker said nothing", done=False)
        self.rows("DELETE FROM jobs WHERE state IN ('done', 'dead') AND at_ms <= ?", now_ms())
        self.arm()

    async def show(self, what):
        return self.rows("SELECT * FROM jobs WHERE id = ? OR state = ? ORDER BY id LIMIT 100", what, what)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        query = {name: int(value) for name, value in parse_qsl(url.query) if value.isdecimal() and len(value) < 10}
        if parts[0] != "queue" or len(parts) < 2:
            return Response("try POST /queue/NAME\n", status=404)
        queue, body, found, missing = self.env.QUEUES.getByName(parts[1]), await request.text(), None, 404
        match request.method, *parts[2:]:
            case ("POST",):
                found = await queue.add(body, query.get("priority", 0), query.get("delay_s", 0))
            case "POST", "take":
                found = await queue.take()
            case "POST", number, ("done" | "failed") as what if number.isdecimal() and len(number) < 16:
                found, missing = await queue.end(int(number), query.get("attempt", 0), body, what == "done"), 409
            case "POST", number, "retry" if number.isdecimal() and len(number) < 16:
                found, missing = await queue.retry(int(number)), 409
            case "GET", what:
                found = await queue.show(int(what) if what.isdecimal() and len(what) < 16 else what)
        return Response.json(found or None, status=200 if found else missing)
