"""Keys and values, asynchronous and synchronous."""

from __future__ import annotations

from .operation import Differs, Wording, inside

_FIVE = 'await storage.put({"a": 1, "aa": 2, "b": 3, "ba": 4, "c": 5}); '

ROWS = [
    inside("get: nothing there", 'return await storage.get("k")'),
    inside("get: what was put", 'await storage.put("k", {"a": [1, "x", null, true]}); return await storage.get("k")'),
]
