"""A rate limiter and sessions that end by themselves."""

import secrets
import time
from http.cookies import SimpleCookie
from urllib.parse import urlparse

from js import Date
from workers import DurableObject, Response, WorkerEntrypoint


class Limiter(DurableObject):
    PER_REQUEST_MS = 1000
    GRACE_MS = 3000

    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.next_at = 0

    async def allow(self):
        """Milliseconds that the caller has to wait; 0: it may go on."""
        now = Date.now()
        self.next_at = max(now, self.next_at) + self.PER_REQUEST_MS
        return max(0, self.next_at - now - self.GRACE_MS)


class Session(DurableObject):
    async def start(self, user):
        await self.ctx.storage.put({"user": user, "began": int(time.time() * 1000)})
        await self.ctx.storage.setAlarm(Date.now() + 60 * 1000)

    async def user(self):
        user = await self.ctx.storage.get("user")
        if user:
            await self.ctx.storage.setAlarm(Date.now() + 60 * 1000)
        return user

    async def until(self):
        return await self.ctx.storage.getAlarm()

    async def end(self):
        await self.ctx.storage.deleteAlarm()
        await self.ctx.storage.deleteAll()

    async def alarm(self, info):
        assert info.retryCount == 0
        assert not info.isRetry
        await self.ctx.storage.deleteAll()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        address = request.headers.get("CF-Connecting-IP") or "local"
        wait = await self.env.LIMITER.getByName(address).allow()
        if wait:
            return Response("Rate limit exceeded", status=429, headers={"Retry-After": str(int(wait / 1000) + 1)})
        cookie = SimpleCookie(request.headers.get("Cookie") or "")
        path = urlparse(request.url).path
        if path == "/login":
            token = secrets.token_hex(16)
            await self.env.SESSION.getByName(token).start((await request.json())["user"])
            return Response("welcome", headers={"Set-Cookie": f"token={token}; HttpOnly"})
        if "token" not in cookie:
            return Response("log in first", status=401)
        session = self.env.SESSION.getByName(cookie["token"].value)
        if path == "/logout":
            await session.end()
            return Response("bye")
        user = await session.user()
        return Response(f"you are {user}") if user else Response("log in again", status=401)
