"""Which number a pad has: the one that it had before, if nobody else has it now. Who comes back is who they were."""

PADS_MAX = 12


def chosen(had, taken, key):
    """(number, had) for a key. `had`: {key: number} of before; `taken`: numbers that others have now. None when all are taken."""
    free = [number for number in range(1, PADS_MAX + 1) if number not in taken]
    known = had.get(key)
    number = known if known in free else min(free, key=lambda one: one in had.values(), default=None)
    if number is None:
        return None, had
    return number, {**{other: one for other, one in had.items() if one != number}, key: number}
