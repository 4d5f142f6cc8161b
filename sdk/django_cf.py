"""The public package django-cf keeps the storage of the object that was made last for its whole process, which objects share.

What always holds: what it keeps stands for the storage of whichever object runs, so each object's queries go to its own database.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any, cast

from ..engine.errors import ProgramBug
from ..engine.turns import SCOPE

_KEEPERS = ("django_cf.do_binding.storage", "django_cf.db.backends.do.storage")
"""Before 0.2, and since."""


class RunningSql:
    """`ctx.storage.sql` of the object whose event runs."""

    def __getattr__(self, name: str) -> object:
        scope = SCOPE.get()
        if scope is None:
            raise ProgramBug("a query of Django was made outside of any event of an object")
        return getattr(scope.instance.storage_api.sql, name)


def adapt() -> None:
    """Call when the program was imported; does nothing for programs that do without the package."""
    if "django_cf" not in sys.modules:
        return
    for name in _KEEPERS:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            continue
        if found is not None:
            cast("Any", importlib.import_module(name)).set_storage = _keep_running
            cast("Any", importlib.import_module(name)).storage = RunningSql()


def _keep_running(_sql: object) -> None:
    """In the place of its `set_storage`."""
