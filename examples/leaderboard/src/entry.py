"""Leaderboards, each an object with a table of scores. Each season begins with an empty board; past ones can be looked at.

GET  /board/NAME                             the page
POST /board/NAME/score?player=ann&score=120  {"player": "ann", "score": 120, "rank": 1, "of": 40}: a player's best counts
GET  /board/NAME/rank?player=ann             the same, 404 when there is no score
GET  /board/NAME/top[?n=10][&season=1]       {"season": 2, "ends_ms": …, "top": [{"player": "ann", "score": 120, "rank": 1}, …]}

Equal scores have equal ranks, and who was first stands first. A season ends by itself SEASON_DAYS after its begin.
"""

import time
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from workers import DurableObject, Response, WorkerEntrypoint

PAGE = Path(__file__).with_name("page.html").read_text()
KEPT_SEASONS = 10
SCHEMA = """
CREATE TABLE IF NOT EXISTS scores(season INTEGER, player TEXT, score INTEGER, at_ms INTEGER, PRIMARY KEY(season, player));
CREATE INDEX IF NOT EXISTS best ON scores(season, score DESC, at_ms, player);
"""
SUBMIT = """
INSERT INTO scores VALUES(?, ?, ?, ?) ON CONFLICT DO UPDATE SET score = excluded.score, at_ms = excluded.at_ms
WHERE excluded.score > score
"""
TOP = """
SELECT player, score, rank() OVER (ORDER BY score DESC) AS rank
FROM (SELECT * FROM scores WHERE season = ? ORDER BY score DESC, at_ms, player LIMIT ?) ORDER BY score DESC, at_ms, player
"""
RANK = """
SELECT player, score, (SELECT count(*) FROM scores WHERE season = mine.season AND score > mine.score) + 1 AS rank,
(SELECT count(*) FROM scores WHERE season = mine.season) AS of FROM scores AS mine WHERE season = ? AND player = ?
"""


class Board(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.storage, self.sql = ctx.storage, ctx.storage.sql
        self.season_ms = float(env.SEASON_DAYS) * 86_400_000
        self.sql.exec(SCHEMA)

    async def season(self):
        """The one of this moment. The time ends a season; an alarm, which may come a little later, only helps it."""
        season, now_ms = await self.storage.get("season"), time.time() * 1000
        if not season or now_ms < season["ends_ms"]:
            return season or {"number": 1, "ends_ms": None}
        late_ms = now_ms - season["ends_ms"]  # more than a season, if nobody was there: the calendar goes on
        season = await self.begin(season["number"] + 1, season["ends_ms"] + late_ms // self.season_ms * self.season_ms)
        self.sql.exec("DELETE FROM scores WHERE season < ?", season["number"] - KEPT_SEASONS)
        return season

    async def begin(self, number, at_ms):
        season = {"number": number, "ends_ms": int(at_ms + self.season_ms)}
        await self.storage.put("season", season)
        await self.storage.setAlarm(season["ends_ms"])
        return season

    async def submit(self, player, score):
        season, now_ms = await self.season(), int(time.time() * 1000)
        if season["ends_ms"] is None:  # the first score of all begins the first season
            season = await self.begin(1, now_ms)
        self.sql.exec(SUBMIT, season["number"], player, score, now_ms)
        return await self.rank(player)

    async def rank(self, player):
        found = self.sql.exec(RANK, (await self.season())["number"], player).toArray()
        return found[0] if found else None

    async def top(self, count, number=None):
        season = await self.season()
        number = number or season["number"]
        return {"season": number, "ends_ms": season["ends_ms"], "top": self.sql.exec(TOP, number, count).toArray()}

    async def alarm(self):
        await self.season()


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        player, count, season = query.get("player", "").strip()[:40], query.get("n", "10"), query.get("season", "0")
        score = query.get("score", "")
        match request.method, *[unquote(part) for part in url.path.strip("/").split("/")]:
            case "GET", "board", _:
                return Response(PAGE, headers={"Content-Type": "text/html; charset=utf-8"})
            case "POST", "board", name, "score":
                if not player or not score.isdecimal() or len(score) > 15:
                    return Response("score?player=NAME&score=NUMBER\n", status=400)
                return Response.json(await self.env.BOARDS.getByName(name).submit(player, int(score)))
            case "GET", "board", name, "rank":
                found = await self.env.BOARDS.getByName(name).rank(player)
                return Response.json(found, status=200 if found else 404)
            case "GET", "board", name, "top" if count.isdecimal() and season.isdecimal():
                board = self.env.BOARDS.getByName(name)
                return Response.json(await board.top(min(int(count[:9]), 100), int(season[:9])))
        return Response("try GET /board/NAME\n", status=404)
