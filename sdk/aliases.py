"""In processes that perdure starts, `import workers`, `asgi` and `wsgi` find the SDK. Elsewhere nothing is shadowed."""

from __future__ import annotations

import sys


def install() -> None:
    """Make `workers`, `asgi` and `wsgi` aliases of the SDK in this process."""
    from . import asgi, workers, wsgi

    sys.modules["workers"] = workers
    for name, module in (("asgi", asgi), ("wsgi", wsgi)):
        sys.modules[name] = sys.modules[f"workers.{name}"] = module
