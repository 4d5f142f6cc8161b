"""`workers.entrypoints`: what classes of a program derive from, and the context that they get."""

from __future__ import annotations

from ...engine.context import DurableObjectContext
from ...engine.durable import DurableObject
from ..entrypoints import ExecutionContext, WorkerEntrypoint
from .workflows import WorkflowEntrypoint

Context = ExecutionContext

__all__ = ["Context", "DurableObject", "DurableObjectContext", "WorkerEntrypoint", "WorkflowEntrypoint"]
