"""Counters, thousands of them, spread over shards: objects of which each has a part of the keys. They split while they count.

GET  /                    the page: shards, how often each is called, what they have
POST /count/KEY[?by=1]    the new count of a key
GET  /count/KEY           its count
GET  /total               of all keys, exact, also while shards split
GET  /shards              {"epoch", "shards": [{"name", "low", "calls_per_s", "keys", "total"}, …], "splits": […]}
POST /grow                twice as many shards; it goes on by itself

A shard that is called more than 700 times a second splits without being told. `docs/sharding.md` says how.
"""

import functools
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from perdure.sharding import ByMap, Shard, ShardMap, SplitPolicy
from workers import Response, WorkerEntrypoint

PAGE = Path(__file__).with_name("page.html").read_text()


class Counts(Shard):
    async def add(self, key, by):
        value = (self.items.get(key) or 0) + by
        self.items.put(key, value)
        return value

    async def get(self, key):
        return self.items.get(key) or 0

    async def sizes(self):
        """Of all that this shard has."""
        values = [value for _, _, value in self.items]
        return {"low": self.span[0], "keys": len(values), "total": sum(values)}


class CountMap(ShardMap):
    shards = "COUNTS"
    count = 2
    policy = SplitPolicy(calls_per_s_max=700, shards_max=32)


@functools.cache
def counts(env):
    """One for the process: it remembers the map."""
    return ByMap(env.COUNTS, env.MAPS.getByName("counts"))


async def overview(found):
    """What the map and the shards say of themselves; a part that is on its way is of no shard of the map yet."""
    status = await found.map.status()
    known = {shard["low"]: shard for shard in status["shards"]}
    parts = [
        {**known.get(part["low"], {"name": "new", "calls_per_s": 0}), **part} for part in await found.gather("sizes")
    ]
    return {**status, "shards": parts}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        by = parse_qs(url.query).get("by", ["1"])[0]
        found = counts(self.env)
        match request.method, *[unquote(part) for part in url.path.strip("/").split("/")]:
            case "GET", "":
                return Response(PAGE, headers={"Content-Type": "text/html; charset=utf-8"})
            case "POST", "count", key if 0 < len(key) <= 100 and "\0" not in key and by.isdecimal() and len(by) < 10:
                return Response.json(await found.at(key).add(int(by)))
            case "GET", "count", key if 0 < len(key) <= 100 and "\0" not in key:
                return Response.json(await found.at(key).get())
            case "GET", "total":
                return Response.json(sum(size["total"] for size in await found.gather("sizes")))
            case "GET", "shards":
                return Response.json(await overview(found))
            case "POST", "grow":
                return Response.json(await found.map.grow(), status=202)
        return Response("try POST /count/KEY\n", status=404)
