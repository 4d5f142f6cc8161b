"""Follow-ups: something that happens later, once, whatever crashes in between. Here it is a message to somebody's mailbox.

PUT    /follow-up/ORDER-7   {"to": "ann", "text": "How was it?", "after_s": 86400}: 201; again the same: 200; another: 409
GET    /follow-up/ORDER-7   {"to": …, "text": …, "at_ms": …, "state": "waiting"}: sending, sent, cancelled
DELETE /follow-up/ORDER-7   cancels it: 200; 409 when it is too late
GET    /mailbox/ann         [{"text": "How was it?", "at_ms": …}, …]

An alarm runs at least once. Once is what comes of it: the mailbox writes down what it has taken, in the commit that takes it,
so a follow-up that was sent and crashed before it had noted that is refused the second time.
"""

import time
from urllib.parse import unquote, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint

RETRY_MS = 60_000
LATEST_S = 10 * 366 * 86_400


class FollowUp(DurableObject):
    async def plan(self, order, to, text, after_s):
        """201 planned, 200 the same was planned before (the answer was lost, say), 409 another was."""
        planned = await self.ctx.storage.get("plan")
        if planned:
            return 200 if (planned["to"], planned["text"]) == (to, text) else 409
        at_ms = int(time.time() * 1000 + after_s * 1000)
        plan = {"order": order, "to": to, "text": text, "at_ms": at_ms, "state": "waiting"}
        await self.ctx.storage.put("plan", plan)  # one commit with the alarm: neither is there without the other
        await self.ctx.storage.setAlarm(at_ms)
        return 201

    async def status(self):
        return await self.ctx.storage.get("plan")

    async def cancel(self):
        plan = await self.ctx.storage.get("plan")
        if not plan or plan["state"] not in ("waiting", "cancelled"):
            return 409 if plan else 404
        await self.ctx.storage.put("plan", {**plan, "state": "cancelled"})
        await self.ctx.storage.deleteAlarm()
        return 200

    async def alarm(self):
        plan = await self.ctx.storage.get("plan")
        if plan["state"] not in ("waiting", "sending"):
            return
        # Both are on disk before the mailbox is asked. If that fails, or all of this dies, it is asked again.
        await self.ctx.storage.put("plan", {**plan, "state": "sending"})
        await self.ctx.storage.setAlarm(time.time() * 1000 + RETRY_MS)
        await self.env.MAILBOXES.getByName(plan["to"]).take(plan["order"], plan["text"])
        await self.ctx.storage.put("plan", {**plan, "state": "sent"})
        await self.ctx.storage.deleteAlarm()


class Mailbox(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        self.sql.exec("CREATE TABLE IF NOT EXISTS mail(key TEXT PRIMARY KEY, text TEXT, at_ms INTEGER)")

    async def take(self, key, text):
        """Takes a message whose key is new. A real effect (a payment, an e-mail) takes the key along for the same reason."""
        self.sql.exec("INSERT OR IGNORE INTO mail VALUES(?, ?, ?)", key, text, int(time.time() * 1000))

    async def mail(self):
        return self.sql.exec("SELECT text, at_ms FROM mail ORDER BY at_ms, key").toArray()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        match request.method, *[unquote(part) for part in urlsplit(request.url).path.strip("/").split("/")]:
            case "PUT", "follow-up", order if order:
                try:
                    made = await request.json()
                    to, text, after_s = str(made["to"]), str(made["text"]), float(made["after_s"])
                except (ValueError, KeyError, TypeError):
                    to, text, after_s = "", "", -1
                if not to or not 0 <= after_s <= LATEST_S:
                    return Response('{"to": NAME, "text": …, "after_s": SECONDS}\n', status=400)
                status = await self.env.FOLLOW_UPS.getByName(order).plan(order, to, text, after_s)
                return Response(f"{'another is planned' if status == 409 else 'planned'}\n", status=status)
            case "GET", "follow-up", order if order:
                plan = await self.env.FOLLOW_UPS.getByName(order).status()
                return Response.json(plan, status=200 if plan else 404)
            case "DELETE", "follow-up", order if order:
                status = await self.env.FOLLOW_UPS.getByName(order).cancel()
                return Response(f"{'cancelled' if status == 200 else 'too late, or never planned'}\n", status=status)
            case "GET", "mailbox", name if name:
                return Response.json(await self.env.MAILBOXES.getByName(name).mail())
        return Response("try PUT /follow-up/ORDER-7\n", status=404)
