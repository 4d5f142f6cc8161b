"""Login sessions, each an object under the hash of its token. A session that is used goes on; one that is not is erased.

POST   /session?user=ann   for the service that has checked a password, with `Authorization: Bearer SERVICE_KEY`:
                           {"user": "ann", "token": …}, and the token as a cookie for the browser
GET    /session            whose session the cookie (or `Authorization: Bearer TOKEN`) is, until when; else 401
DELETE /session            ends it

It ends IDLE_MINUTES after its last use, and LONGEST_HOURS after its begin whatever happens. The time says so, exactly; the
alarm only cleans up, it may come later. Who reads the disk finds no token that could be used.
"""

import hashlib
import hmac
import math
import secrets
import time
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint


class Session(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.storage = ctx.storage
        self.idle_ms = float(env.IDLE_MINUTES) * 60_000

    async def begin(self, user):
        last_ms = time.time() * 1000 + float(self.env.LONGEST_HOURS) * 3_600_000
        return await self.extend({"user": user, "last_ms": last_ms})

    async def extend(self, session):
        session["until_ms"] = math.floor(min(time.time() * 1000 + self.idle_ms, session["last_ms"]))
        await self.storage.put("session", session)
        await self.storage.setAlarm(session["until_ms"])
        return session

    async def check(self):
        """The session, None when it is over. It slides at most once each tenth of its idle time: most checks only read."""
        session, now_ms = await self.storage.get("session"), time.time() * 1000
        if session is None or now_ms >= session["until_ms"]:
            return None
        slides_ms = min(now_ms + self.idle_ms, session["last_ms"]) - session["until_ms"]
        return await self.extend(session) if slides_ms >= self.idle_ms / 10 else session

    async def end(self):
        await self.storage.deleteAll()

    async def alarm(self):
        await self.end()  # an alarm is never early, and each extension has moved it


def token_of(request):
    """The token that the request brings, empty when it has none."""
    kind, _, token = (request.headers.get("Authorization") or "").partition(" ")
    cookie = SimpleCookie(request.headers.get("Cookie") or "").get("session")
    return token if kind == "Bearer" else cookie.value if cookie else ""


class Default(WorkerEntrypoint):
    def session(self, token):
        return self.env.SESSIONS.getByName(hashlib.sha256(token.encode()).hexdigest())

    async def fetch(self, request):
        url, token = urlsplit(request.url), token_of(request)
        if url.path != "/session":
            return Response("not found\n", status=404)
        if request.method == "POST":
            return await self.begin(token, parse_qs(url.query).get("user", [""])[0])
        if request.method == "DELETE":
            if token:
                await self.session(token).end()
            return Response("ended\n", headers={"Set-Cookie": "session=; Path=/; Max-Age=0"})
        session = await self.session(token).check() if token else None
        if session is None:
            return Response("sign in\n", status=401)
        return Response.json({"user": session["user"], "until_ms": session["until_ms"]})

    async def begin(self, key, user):
        if not hmac.compare_digest(key.encode(), self.env.SERVICE_KEY.encode()):
            return Response("only for the service that checks passwords\n", status=403)
        if not user:
            return Response("POST /session?user=NAME\n", status=400)
        token = secrets.token_urlsafe(32)  # a new one each time: a session cannot be foisted on anybody
        session = await self.session(token).begin(user)
        cookie = f"session={token}; Path=/; HttpOnly; Secure; SameSite=Lax"
        made = {"user": user, "token": token, "until_ms": session["until_ms"]}
        return Response.json(made, status=201, headers={"Set-Cookie": cookie})
