"""Where log lines go: a stream that may not be there any more."""

from __future__ import annotations

from typing import TextIO

_LOST = "log lines before this one could not be written\n"


class Lines:
    """Where log lines go. What always holds: nothing that a process does depends on whether its lines can be written.

    A pipe that nobody reads any more, a file on a full disk: the line is lost, and the next that is not says so.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = False

    def write(self, text: str) -> int:
        """Never raises OSError, nor ValueError for a stream that is closed."""
        try:
            self._stream.write(f"{_LOST}{text}" if self._lost else text)
        except (OSError, ValueError):
            self._lost = True
        else:
            self._lost = False
        return len(text)

    def flush(self) -> None:
        """Never raises OSError, nor ValueError for a stream that is closed."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._lost = True
