"""`workers.workflows`: the names exist so that a module that mentions them can be imported; there are no Workflows."""

from __future__ import annotations

from ...engine.errors import PerdureError

_HINT = "objects with alarms and storage do this: see examples/jobs"


class NonRetryableError(Exception):
    """Raised by a step that must not be tried again."""

    def __init__(self, message: str = "", name: str = "NonRetryableError") -> None:
        super().__init__(message)
        self.name = name


class WorkflowEntrypoint:
    """The base class of workflows: a class may derive from it, none can be made. Raises PerdureError."""

    def __init__(self, *_args: object) -> None:
        raise PerdureError("Workflows are not implemented in perdure", hint=_HINT)
