"""Rate limits by user, address or key: each has an object, whose bucket of tokens refills as time passes.

POST /take/user/ann[?cost=3]    200 {"allowed": true, "remaining": 16, "retry_after_ms": 0}
                                429 {"allowed": false, …} with Retry-After in seconds; what was denied costs nothing
GET  /take/user/ann             the same for a cost of 1, without taking

`user`, `address` and `key` are the kinds of LIMITS in the configuration. A full bucket is worth nothing: an alarm erases it.
"""

import math
import time
from urllib.parse import parse_qs, unquote, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint


class Bucket(DurableObject):
    async def take(self, limit, cost, peek):
        """Takes `cost` tokens if there are as many. Nobody else takes between the question and the answer."""
        storage, now_s = self.ctx.storage, time.time()
        capacity, per_second = limit["capacity"], limit["per_second"]
        bucket = await storage.get("bucket") or {"tokens": capacity, "at_s": now_s}
        passed_s = max(0, now_s - bucket["at_s"])  # a clock that was set back gives nothing and takes nothing
        tokens = min(capacity, bucket["tokens"] + passed_s * per_second)
        allowed = tokens >= cost
        if allowed and not peek:
            tokens -= cost
            full_at_s = now_s + (capacity - tokens) / per_second
            await storage.put("bucket", {"tokens": tokens, "at_s": now_s, "full_at_s": full_at_s})
            if await storage.getAlarm() is None:  # one that is set may be early: it looks, and sets itself anew
                await storage.setAlarm(math.ceil(full_at_s * 1000))
        wait_ms = 0 if allowed else math.ceil((cost - tokens) / per_second * 1000)
        return {"allowed": allowed, "remaining": math.floor(tokens), "retry_after_ms": wait_ms}

    async def alarm(self):
        bucket = await self.ctx.storage.get("bucket")
        if bucket and bucket["full_at_s"] > time.time():
            await self.ctx.storage.setAlarm(math.ceil(bucket["full_at_s"] * 1000))
        else:
            await self.ctx.storage.deleteAll()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        cost = parse_qs(url.query).get("cost", ["1"])[0]
        if len(parts) != 3 or parts[0] != "take" or request.method not in ("GET", "POST"):
            return Response("try POST /take/user/NAME\n", status=404)
        limit = self.env.LIMITS.get(parts[1])
        if limit is None:
            return Response(f"kinds are: {', '.join(self.env.LIMITS)}\n", status=404)
        if not (cost.isdecimal() and len(cost) < 10 and 1 <= int(cost) <= limit["capacity"]):
            return Response(f"cost must be 1 to {limit['capacity']}\n", status=400)
        bucket = self.env.BUCKETS.getByName(f"{parts[1]}:{parts[2]}")
        found = await bucket.take(limit, int(cost), request.method == "GET")
        if found["allowed"]:
            return Response.json(found)
        seconds = math.ceil(found["retry_after_ms"] / 1000)
        return Response.json(found, status=429, headers={"Retry-After": str(seconds)})
