"""Which file a URL's path means, or where it is redirected to: the four ways of `html_handling` (spec: config, assets).

Pure: `exists(path)` says whether there is such a file. Paths begin with `/` and are decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Exists = Callable[[str], bool]
_INDEX, _HTML = "/index.html", ".html"


@dataclass(frozen=True, slots=True)
class File:
    """Serve this one."""

    path: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The page has another address."""

    path: str


Found = File | Moved | None


def find(path: str, html_handling: str, exists: Exists) -> Found:
    """What a path means."""
    if html_handling == "none":
        return File(path) if exists(path) else None
    for ending in (_INDEX, "/index"):  # pages have one address each
        if path.endswith(ending) and exists(path.removesuffix(ending) + _INDEX):
            return _moved(path, path.removesuffix(ending), html_handling, folder=True, exists=exists)
    if path.endswith(_HTML) and exists(path):
        return _moved(path, path.removesuffix(_HTML), html_handling, folder=False, exists=exists)
    if exists(path):
        return File(path)
    bare = path.rstrip("/")
    page, folder = exists(bare + _HTML) and bare != "", exists(bare + _INDEX)
    if not page and not folder:
        return None
    if html_handling == "auto-trailing-slash":
        return _auto(path, bare, page=page, folder=folder)
    wanted = bare + "/" if html_handling == "force-trailing-slash" or bare == "" else bare
    if path != wanted:
        return Moved(wanted)
    first_folder = html_handling == "force-trailing-slash"
    return File(bare + _INDEX) if folder and (first_folder or not page) else File(bare + _HTML)


def _auto(path: str, bare: str, *, page: bool, folder: bool) -> Found:
    """A page of a file has no slash at its end, one of a folder has."""
    if path.endswith("/"):
        return File(bare + _INDEX) if folder else Moved(bare)
    return File(bare + _HTML) if page else Moved(bare + "/")


def _moved(path: str, bare: str, html_handling: str, *, folder: bool, exists: Exists) -> Found:
    """The address of a page that was asked for by its file; the file itself when that leads to another one."""
    slash = {"auto-trailing-slash": folder, "force-trailing-slash": True, "drop-trailing-slash": False}[html_handling]
    wanted = (bare + "/" if slash else bare) or "/"
    meant = find(wanted, html_handling, exists)
    file = bare + (_INDEX if folder else _HTML)
    return Moved(wanted) if meant == File(file) else File(file)


def find_fallback(path: str, not_found_handling: str, exists: Exists) -> tuple[str, int] | None:
    """The file and the status for a path without a file; None: plain 404."""
    if not_found_handling == "single-page-application":
        return (_INDEX, 200) if exists(_INDEX) else None
    if not_found_handling == "404-page":
        folder = path
        while folder:
            folder = folder.rpartition("/")[0]
            if exists(f"{folder}/404.html"):
                return f"{folder}/404.html", 404
    return None
