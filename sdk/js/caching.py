"""`js.caches`: the caches of the process (`sdk/caches.py`)."""

from __future__ import annotations

from ..caches import Cache, CacheStorage, caches

__all__ = ["Cache", "CacheStorage", "caches"]
