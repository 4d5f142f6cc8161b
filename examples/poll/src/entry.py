"""Polls, each an object. A voter has one vote, and everybody sees the result change as it does.

GET  /                      the page, on which a poll is made; /poll/NAME is the page of one
POST /poll/NAME             {"question": "Tea?", "options": ["yes", "no"]} makes it: 201, 409 when there is one
POST /poll/NAME/vote?option=0   the result; 409 when this voter has voted, 404 when there is no such option
GET  /poll/NAME/result      {"question": …, "options": [{"text": "yes", "votes": 1}, …], "total": 1, "mine": 0}
GET  /poll/NAME/live        the result, and again whenever it changes, as server-sent events

The voter is a cookie here; where people sign in, take who they are instead.
"""

import asyncio
import json
import secrets
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint

PAGE = Path(__file__).with_name("page.html").read_text()


class Poll(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.storage, self.sql = ctx.storage, ctx.storage.sql
        self.changed = asyncio.Event()  # a new one after each change

    async def create(self, question, options):
        if await self.storage.get("poll"):
            return False
        self.sql.exec("CREATE TABLE votes(voter TEXT PRIMARY KEY, option INTEGER NOT NULL) WITHOUT ROWID")
        await self.storage.put("poll", {"question": question, "options": options})
        return True

    async def vote(self, voter, option):
        """The status: 200, 404 no such poll or option, 409 voted before. The key of the table holds a voter to one."""
        if option >= len((await self.storage.get("poll") or {"options": []})["options"]):
            return 404
        if self.sql.exec("INSERT OR IGNORE INTO votes VALUES(?, ?)", voter, option).rowsWritten == 0:
            return 409
        self.changed.set()
        self.changed = asyncio.Event()
        return 200

    async def result(self, voter=None):
        poll = await self.storage.get("poll")
        if not poll:
            return None
        votes = dict(self.sql.exec("SELECT option, count(*) FROM votes GROUP BY option").raw())
        mine = [row["option"] for row in self.sql.exec("SELECT option FROM votes WHERE voter = ?", voter)]
        options = [{"text": text, "votes": votes.get(number, 0)} for number, text in enumerate(poll["options"])]
        return {**poll, "options": options, "total": sum(votes.values()), "mine": mine[0] if mine else None}

    async def fetch(self, request):
        async def events():
            while await self.storage.get("poll"):
                changed = self.changed
                yield f"data: {json.dumps(await self.result())}\n\n".encode()
                await changed.wait()

        return Response(events(), headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})


async def create(poll, request):
    try:
        made = await request.json()
        question, options = str(made["question"]).strip(), [str(text).strip() for text in made["options"]]
    except (ValueError, KeyError, TypeError):
        question, options = "", []
    if not question or not 2 <= len(options) <= 20 or not all(options):
        return Response("a question and 2 to 20 options\n", status=400)
    created = await poll.create(question, options)
    return Response("created\n" if created else "there is one of this name\n", status=201 if created else 409)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        option = parse_qs(url.query).get("option", [""])[0]
        cookie = SimpleCookie(request.headers.get("Cookie") or "").get("voter")
        voter = cookie.value if cookie else secrets.token_urlsafe(16)
        kept = f"voter={voter}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax"
        match request.method, *[unquote(part) for part in url.path.strip("/").split("/")]:
            case ("GET", "") | ("GET", "poll", _):
                return Response(PAGE, headers={"Content-Type": "text/html; charset=utf-8", "Set-Cookie": kept})
            case "POST", "poll", name if name:
                return await create(self.env.POLLS.getByName(name), request)
            case "GET", "poll", name, "live":
                return await self.env.POLLS.getByName(name).fetch(request)
            case "POST", "poll", name, "vote" if option.isdecimal() and len(option) < 9:
                status = await self.env.POLLS.getByName(name).vote(voter, int(option))
                result = await self.env.POLLS.getByName(name).result(voter)
                return Response.json(result, status=status, headers={"Set-Cookie": kept})
            case "GET", "poll", name, "result":
                result = await self.env.POLLS.getByName(name).result(voter)
                return Response.json(result, status=200 if result else 404)
        return Response("not found\n", status=404)
