"""Which programs use `run_sync`: theirs are the events that are stepped on stacks of their own, which costs a little.

What always holds: the answer is the same in every process of one program, and asking runs none of its code.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator

from ..engine.blocking import run_sync

_NAMES = re.compile(rb"\brun_sync\b|\bwsgi\b|\basgi\b|\bdjango|\bflask\b", re.IGNORECASE)
"""`run_sync` itself, and what calls it for the program."""
_FILES_MAX = 2_000
_BYTES_MAX = 1 << 20
_SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages"})


def uses_run_sync(main: str, classes: Iterable[type], whole_folder: bool) -> bool:
    """Whether the program may block. `main`: its main file. `whole_folder`: the files beside it are the program's too.

    A name in its text is enough. A program that hides it (`getattr(ffi, "run_" + "sync")`) is noticed when it blocks.
    """
    declared = {str(getattr(sys.modules.get(cls.__module__), "__file__", None)) for cls in classes}
    files = _python_files(os.path.dirname(main)) if whole_folder else [main, *sorted(declared - {main})]
    return any(_mentions(file) for file in files) or _library_uses_it()


def _python_files(folder: str) -> Iterator[str]:
    found = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        for name in sorted(names):
            if name.endswith(".py"):
                found += 1
                if found > _FILES_MAX:
                    return
                yield os.path.join(place, name)


def _mentions(file: str) -> bool:
    try:
        with open(file, "rb") as opened:
            return _NAMES.search(opened.read(_BYTES_MAX)) is not None
    except OSError:  # a file that went meanwhile, or that cannot be read: nor can it be imported
        return False


def _library_uses_it() -> bool:
    """Whether an installed package that the program has imported has taken the function."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if names and names.get("run_sync") is run_sync and "site-packages" in str(names.get("__file__")):
            return True
    return False
