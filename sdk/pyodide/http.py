"""`pyodide.http`: `pyfetch` over the SDK's fetch."""

from __future__ import annotations

from typing import Any

from ...engine.errors import PerdureError
from ..fetching import fetch
from ..response import Response

FetchResponse = Response
HttpStatusError = BodyUsedError = AbortError = OSError
"""What the responses here raise."""


async def pyfetch(url: object, /, **kwargs: Any) -> FetchResponse:
    """Ask `url`; options as of `fetch`. Raises OSError when there is no answer."""
    return await fetch(url, **kwargs)


def open_url(url: str) -> Any:
    """Raises PerdureError: it would stand still until the answer is there."""
    raise PerdureError("open_url() is not provided", hint="use `await pyfetch(url)`, or run_sync(pyfetch(url))")
