"""In processes that perdure starts, `import workers`, `js` and `pyodide` find the SDK. Elsewhere nothing is shadowed."""

from __future__ import annotations

import sys


def install() -> None:
    """Make `workers`, `js` and `pyodide` aliases of the SDK in this process."""
    from . import alias_finder, js, pyodide, workers

    sys.modules["workers"] = workers
    sys.modules["js"] = js
    sys.modules["pyodide"] = pyodide
    alias_finder.install()
