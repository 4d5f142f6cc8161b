"""The rules of the arena: a tick takes what players have pressed and says what became of it. No clock, sockets, storage.

What always holds: the same world and the same inputs give the same tick; a world is as much as `saved` says, so one that
goes on from there has lost nothing but inputs that were not yet used, and these come again: players send what they have not
seen used.
"""

import json
import math
from dataclasses import asdict, dataclass, field

from maze import FIRE, KITS, SPAWNS, sight, walk

TICK_MS = 50
HEALTH, DAMAGE, KIT = 100, 20, 40
RELOAD, DEAD, KIT_AWAY = 7, 40, 300
"""Ticks: between two shots, until one is alive again, until a kit is there again."""
INPUTS_A_TICK, INPUTS_SAVED_MAX = 3, 24
"""One input is one step, so a player has as many as time passed; after a pause a few a tick more, until it has caught up."""
IDLE_MS = 60_000
BODY = 0.34


@dataclass(slots=True)
class Player:
    name: str
    x: float
    y: float
    angle: float = 0.0
    health: int = HEALTH
    frags: int = 0
    deaths: int = 0
    seen: int = 0
    """Number of the last input that was used."""
    saved: float = 2.0
    """Inputs that it may still have used."""
    ready: int = 0
    back: int = 0
    """The ticks from which on it may fire; is alive again."""
    active_ms: int = 0


@dataclass(slots=True)
class World:
    tick: int = 0
    at_ms: int = 0
    players: dict[str, Player] = field(default_factory=dict)
    kits: list[int] = field(default_factory=lambda: [0] * len(KITS))
    """The tick from which on each is there."""

    def saved(self):
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def loaded(cls, text):
        made = cls(**json.loads(text))
        made.players = {key: Player(**player) for key, player in made.players.items()}
        return made

    def join(self, key, name, now_ms):
        x, y = self.spawn()
        widest = max((turn * math.tau / 16 + 0.05 for turn in range(-8, 8)), key=lambda angle: sight(x, y, angle))
        self.players[key] = Player(name, x, y, angle=widest, active_ms=now_ms)

    def spawn(self):
        """Of the places where one begins the one that is farthest from everybody."""
        alive = [player for player in self.players.values() if player.health > 0]
        return max(SPAWNS, key=lambda place: min((math.dist(place, (other.x, other.y)) for other in alive), default=99))

    def idle(self, now_ms):
        return [key for key, player in self.players.items() if now_ms - player.active_ms > IDLE_MS]

    def step(self, inputs, now_ms):
        """One tick. `inputs`: of each player [[number, keys, angle], …], ascending; what is used is taken out. What happened."""
        events = []
        passed = max(0.0, min((now_ms - self.at_ms) / TICK_MS, INPUTS_SAVED_MAX))
        self.tick, self.at_ms = self.tick + 1, now_ms
        for key, player in self.players.items():
            player.saved = min(player.saved + passed, INPUTS_SAVED_MAX)
            waiting = inputs.get(key, [])
            while waiting and waiting[0][0] <= player.seen:
                waiting.pop(0)
            for _ in range(INPUTS_A_TICK if len(waiting) > 1 else 1):
                if waiting and player.saved >= 1:
                    self.use(key, player, waiting.pop(0), now_ms, events)
            if player.health <= 0 and self.tick >= player.back:
                player.x, player.y = self.spawn()
                player.health = HEALTH
                events.append(["spawn", key])
        self.pick_up(events)
        return events

    def use(self, key, player, given, now_ms, events):
        player.seen, keys, angle = given
        player.saved -= 1
        if keys or abs(angle - player.angle) > 0.001:
            player.active_ms = now_ms
        player.angle = angle
        if player.health > 0:
            player.x, player.y = walk(player.x, player.y, angle, keys)
            if keys & FIRE and self.tick >= player.ready:
                player.ready = self.tick + RELOAD
                self.fire(key, player, events)

    def fire(self, key, player, events):
        """At once, along the line of sight: the nearest body before the wall."""
        reach, target = sight(player.x, player.y, player.angle), None
        for other_key, other in self.players.items():
            dx, dy = other.x - player.x, other.y - player.y
            ahead = dx * math.cos(player.angle) + dy * math.sin(player.angle)
            aside = abs(dy * math.cos(player.angle) - dx * math.sin(player.angle))
            if other is not player and other.health > 0 and 0 < ahead < reach and aside < BODY:
                reach, target = ahead, (other_key, other)
        events.append(["shot", key, round(reach, 2)])
        if target is not None:
            other_key, other = target
            other.health = max(0, other.health - DAMAGE)
            events.append(["hit", other_key, key])
            if other.health == 0:
                other.deaths, other.back = other.deaths + 1, self.tick + DEAD
                player.frags += 1
                events.append(["frag", other_key, key])

    def pick_up(self, events):
        for at, place in enumerate(KITS):
            for key, player in self.players.items():
                near = math.dist(place, (player.x, player.y)) < 0.6
                if near and self.tick >= self.kits[at] and 0 < player.health < HEALTH:
                    player.health = min(HEALTH, player.health + KIT)
                    self.kits[at] = self.tick + KIT_AWAY
                    events.append(["kit", key, at])

    def told(self, events):
        """The tick, as everybody is told of it: one message for all."""
        rows = [
            [key, round(p.x, 3), round(p.y, 3), round(p.angle, 3), p.health, p.frags, p.deaths, p.seen]
            for key, p in self.players.items()
        ]
        kits = [at for at, back in enumerate(self.kits) if self.tick >= back]
        return json.dumps({"tick": self.tick, "players": rows, "kits": kits, "events": events}, separators=(",", ":"))

    def names(self):
        return json.dumps({"tick": self.tick, "names": {key: player.name for key, player in self.players.items()}})


def checked(inputs, seen):
    """What a player sends, as [[number, keys, angle], …]. ValueError if it is anything else."""
    made = []
    for number, keys, angle in inputs[-INPUTS_SAVED_MAX:]:
        if not (isinstance(number, int) and isinstance(keys, int) and 0 <= keys < 32 and math.isfinite(angle)):
            raise ValueError("not inputs")
        if number > seen:
            seen = number
            made.append([number, keys, math.remainder(angle, math.tau)])
    return made
