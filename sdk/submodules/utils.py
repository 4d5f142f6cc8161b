"""`workers.utils`: what libraries take from there."""

from __future__ import annotations

from ..headers import Headers, as_pairs


def _to_js_headers(headers: object) -> Headers:  # pyright: ignore[reportUnusedFunction]
    """Headers of a dict, of pairs, of Headers. Raises TypeError for other types."""
    return Headers(as_pairs(headers))
