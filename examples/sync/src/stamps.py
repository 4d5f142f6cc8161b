"""Hashes and clocks of TinyBase's mergeable stores, bit for bit: two stores with the same hash have the same content.

A stamp is [value, clock, hash]. Clocks are texts of 16 characters that sort as time does; "" is before all of them. Hashes
are FNV-1a of 32 bits over UTF-8; that of a node is what its children's hashes give under XOR, so it changes with each child
and needs no others.
"""

import json
import math
import re

UNDEFINED = "\ufffc"
"""In a message: the value of a cell that was deleted."""
JSON_MARK = "\ufffd"
FUTURE_MS = 300_000
CLOCK = re.compile(r"[-0-9A-Z_a-z]{16}")
DIGITS = {char: at for at, char in enumerate("-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")}
SURROGATE = re.compile("[\ud800-\udfff]")


def fnv(text):
    made = 2_166_136_261
    for byte in text.encode():
        made = ((made ^ byte) * 16_777_619) & 0xFFFFFFFF
    return made


def of_child(name, made):
    return fnv(f"{name}:{made}")


def of_value(value, clock):
    return fnv(f"{as_json(value)}:{clock}")


def of_clock(old, new):
    """What a node's hash changes by when its own clock goes from `old` to `new`."""
    return ((fnv(old) if old else 0) ^ fnv(new)) if new > old else 0


def encoded(value):
    """Lists and objects as the store has them that made them: one text. Its hash is over that."""
    return JSON_MARK + as_json(value) if isinstance(value, (list, dict)) else value


def decoded(value):
    return json.loads(value[1:]) if isinstance(value, str) and value.startswith(JSON_MARK) else value


def as_json(value):
    """As JSON.stringify writes it: the hash is over its text."""
    if value == UNDEFINED or value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return number(float(value))
    if isinstance(value, str):
        return SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    if isinstance(value, list):
        return "[" + ",".join(map(as_json, value)) + "]"
    return "{" + ",".join(f"{as_json(name)}:{as_json(part)}" for name, part in value.items()) + "}"


def number(value):
    """A double as JavaScript writes it: the shortest digits, exponents only from 1e21 and below 1e-6."""
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value!r}".partition("e")
    if not exponent and 1e-6 <= abs(value) < 1e21:
        return mantissa.removesuffix(".0")
    digits = mantissa.removesuffix(".0").replace(".", "").lstrip("-0")
    power = math.floor(math.log10(abs(value))) if not exponent else int(exponent)
    sign = "-" if value < 0 else ""
    if 0 <= power < 21:
        return sign + digits.ljust(power + 1, "0")
    if -7 < power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{power:+d}"


def is_clock(text, latest_ms=math.inf):
    return isinstance(text, str) and (text == "" or (CLOCK.fullmatch(text) is not None and millis(text) <= latest_ms))


def millis(clock):
    made = 0
    for char in clock[:7]:
        made = made * 64 + DIGITS[char]
    return made


def is_stamp(stamp, depth, latest_ms=math.inf):
    """[value] or [value, clock]; of a node of `depth` > 0 the value is an object of stamps one less deep."""
    if (
        not isinstance(stamp, list)
        or not 1 <= len(stamp) <= 2
        or (len(stamp) == 2 and not is_clock(stamp[1], latest_ms))
    ):
        return False
    if depth == 0:
        return True
    return isinstance(stamp[0], dict) and all(is_stamp(child, depth - 1, latest_ms) for child in stamp[0].values())


def is_hashes(tree, depth):
    if not isinstance(tree, dict):
        return isinstance(tree, int) and depth < 0
    return depth >= 0 and all(is_hashes(child, depth - 1) for child in tree.values())
