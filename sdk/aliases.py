"""In processes that perdure starts, the SDK is `workers`, `asgi`, `wsgi`, `js`, `pyodide`. Elsewhere nothing is shadowed."""

from __future__ import annotations

import sys


def install() -> None:
    """Make them aliases of the SDK in this process."""
    from . import alias_finder, asgi, js, pyodide, workers, wsgi

    sys.modules["workers"] = workers
    sys.modules["js"] = js
    sys.modules["pyodide"] = pyodide
    for name, module in (("asgi", asgi), ("wsgi", wsgi)):
        sys.modules[name] = sys.modules[f"workers.{name}"] = module
    alias_finder.install()
