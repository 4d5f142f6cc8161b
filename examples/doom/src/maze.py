"""The arena's walls, and how one moves between them. The page has the same rules (walk.js), to move before it is told.

Lengths are in cells, y grows downwards, angles are in radians from the x axis towards y. A letter is a kind of wall, a dot
is floor.
"""

import math

ROWS = (
    "aaaaaaaaaaaaaaaaaaaaaaaa",
    "a..........a...........a",
    "a.bb....bb.a.cc.....cc.a",
    "a.b......b...c.......c.a",
    "a..........a...........a",
    "a....dd....a.....cc....a",
    "a....dd..........cc....a",
    "a..........a...........a",
    "a.b......b.a.c.......c.a",
    "a.bb....bb.a.cc.....cc.a",
    "a..........a...........a",
    "aaa.aaaaaaaa.aaaaaa.aaaa",
    "a......................a",
    "a..b...................a",
    "a..b..ddd...b..ddd..b..a",
    "a..b..d.........d......a",
    "a.....d..c...c..d..bb..a",
    "a.........c.c..........a",
    "a.bb..d..c...c..d......a",
    "a.....d.........d...b..a",
    "a..b..ddd...b..ddd..b..a",
    "a..b................b..a",
    "a......................a",
    "aaaaaaaaaaaaaaaaaaaaaaaa",
)
SPAWNS = (
    (2.5, 1.5),
    (21.5, 1.5),
    (5.5, 7.5),
    (18.5, 7.5),
    (1.5, 12.5),
    (22.5, 12.5),
    (11.5, 17.5),
    (1.5, 22.5),
    (22.5, 22.5),
    (12.5, 22.5),
)
KITS = ((6.5, 3.5), (17.5, 3.5), (11.5, 16.5), (8.5, 12.5), (5.5, 13.5), (19.5, 17.5))
STEP, RADIUS = 0.16, 0.24
AHEAD, BACK, LEFT, RIGHT, FIRE = 1, 2, 4, 8, 16


def wall(x, y):
    return ROWS[int(y)][int(x)] != "."


def free(x, y):
    return not any(wall(x + dx, y + dy) for dx in (-RADIUS, RADIUS) for dy in (-RADIUS, RADIUS))


def walk(x, y, angle, keys):
    """Where a step leads."""
    ahead = (keys & AHEAD > 0) - (keys & BACK > 0)
    side = (keys & RIGHT > 0) - (keys & LEFT > 0)
    step = STEP * (math.sqrt(0.5) if ahead and side else 1)
    dx = (math.cos(angle) * ahead - math.sin(angle) * side) * step
    dy = (math.sin(angle) * ahead + math.cos(angle) * side) * step
    if free(x + dx, y):
        x += dx
    if free(x, y + dy):
        y += dy
    return x, y


def sight(x, y, angle):
    """How far it is to the wall: from line to line of the grid, as the page's rays go."""
    dx, dy = math.cos(angle), math.sin(angle)
    cell = [int(x), int(y)]
    each = [abs(1 / dx) if dx else math.inf, abs(1 / dy) if dy else math.inf]
    step = [1 if dx > 0 else -1, 1 if dy > 0 else -1]
    following = [(cell[0] + (dx > 0) - x) / dx if dx else math.inf, (cell[1] + (dy > 0) - y) / dy if dy else math.inf]
    while True:
        axis = 0 if following[0] < following[1] else 1
        cell[axis] += step[axis]
        if ROWS[cell[1]][cell[0]] != ".":
            return following[axis]
        following[axis] += each[axis]
