"""Rooms: messages by room and day, in shards whose keys are in order. A room's days are neighbours, wherever they lie.

What always holds: what `say` has answered is in the history; numbers of a room's day only grow.
"""

import functools
import time

from perdure.sharding import SORTED, ByRange, Shard, ShardMap

DAY_MS, SHOWN, LATE_MS = 86_400_000, 50, 60_000


class Rooms(Shard):
    async def say(self, key, by, text):
        """Its number: the time in milliseconds, or a little more."""
        number = max([int(time.time() * 1000), *[int(name) + 1 for name in self.items.of(key, last=1)]])
        self.items.put(key, {"number": number, "by": by, "text": text}, f"{number:015}")
        return number

    async def between(self, low, high, after, before):
        """Messages of the days from `low` to `high` that this shard has: the first after a number, or the last before one."""
        found = [value for _, _, value in self.items.between(low, high) if after < value["number"] < before]
        return found[-SHOWN:] if after < 0 else found[:SHOWN]


class RoomMap(ShardMap):
    shards = "ROOMS"
    order = SORTED
    bounds = ("h", "p")


@functools.cache
def rooms(env):
    """One for the process: it remembers the map."""
    return ByRange(env.ROOMS, env.MAPS.getByName("rooms"))


def day(room, ms):
    return f"{room}/{int(ms) // DAY_MS:06}"


async def say(env, room, by, text):
    return await rooms(env).at(day(room, time.time() * 1000)).say(by, text)


async def messages(env, room, *, after=-1, before=1 << 53):
    """In order: the first ones after a number, or the last ones of a week before one."""
    last = min(time.time() * 1000, before)
    first = (
        after - LATE_MS if after >= 0 else max(last - 7 * DAY_MS, 0)
    )  # what is said at midnight may be of either day
    parts = await rooms(env).over(day(room, max(first, 0)), day(room, last) + "~", "between", after, before)
    found = [message for part in parts for message in part]
    return found[-SHOWN:] if after < 0 else found[:SHOWN]
