"""The hub: short codes that lead to rooms, for a while.

What always holds: a code leads to one room until its time is over, then to none; an alarm erases it.
"""

import secrets
import time

from workers import DurableObject

ALPHABET = "ACDEFGHJKMNPRTVWXY3479"
"""Nothing that looks or sounds like something else: no 0 O Q, 1 I L, 2 Z, 5 S, 6 8 B, U."""
LENGTH, MINUTES = 4, 10


def cleaned(typed):
    """A code as somebody has typed it."""
    return "".join(typed.upper().split())


class Hub(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.storage, self.sql = ctx.storage, ctx.storage.sql
        self.sql.exec(
            "CREATE TABLE IF NOT EXISTS codes(code TEXT PRIMARY KEY, room TEXT NOT NULL, until INTEGER NOT NULL)"
        )

    async def open(self):
        """A new room: {"code", "room", "until"} (in ms)."""
        room, until = secrets.token_urlsafe(12), int(time.time() * 1000) + MINUTES * 60_000
        while True:
            code = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
            if self.sql.exec("INSERT OR IGNORE INTO codes VALUES(?, ?, ?)", code, room, until).rowsWritten:
                break
        if await self.storage.getAlarm() is None:
            await self.storage.setAlarm(until)
        return {"code": code, "room": room, "until": until}

    async def room_of(self, code):
        """None: there is no such code, or no more."""
        now = int(time.time() * 1000)
        found = list(self.sql.exec("SELECT room FROM codes WHERE code = ? AND until > ?", cleaned(code), now))
        return found[0]["room"] if found else None

    async def alarm(self):
        self.sql.exec("DELETE FROM codes WHERE until <= ?", int(time.time() * 1000))
        first = self.sql.exec("SELECT min(until) AS until FROM codes").one()["until"]
        if first is not None:
            await self.storage.setAlarm(first)
