"""The life of one object: ids, gates, turns, storage, errors, limits, clock. Knows no network, process or slot."""
