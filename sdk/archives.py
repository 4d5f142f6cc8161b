"""Archives that are bodies: unpacked into a folder. On its own, so that only who unpacks one loads what it takes."""

from __future__ import annotations

import os
import shutil
import tempfile


def unpack(data: bytes, name: str, folder: str | None, format: str | None) -> None:
    """`format`: one of the names of shutil; None: told by the name. Raises OSError, ValueError, shutil.ReadError."""
    with tempfile.TemporaryDirectory(prefix="perdure-archive-") as place:
        path = os.path.join(place, name)
        with open(path, "wb") as file:
            file.write(data)
        kind = format or _format_of(name)
        if kind == "zip" or kind is None:
            shutil.unpack_archive(path, folder, kind)
        else:
            shutil.unpack_archive(path, folder, kind, filter="data")  # nothing of it leaves the folder


def _format_of(name: str) -> str | None:
    for format, endings, _ in shutil.get_unpack_formats():
        if any(name.lower().endswith(ending) for ending in endings):
            return format
    return None
