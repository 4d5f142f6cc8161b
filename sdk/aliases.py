"""In processes that perdure starts, `import workers` finds the SDK. Elsewhere nothing is shadowed."""

from __future__ import annotations

import sys


def install() -> None:
    """Make `workers` an alias of the SDK in this process."""
    from . import workers

    sys.modules["workers"] = workers
