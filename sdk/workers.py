"""What programs import as `workers`."""

from __future__ import annotations

from ..engine.context import DurableObjectContext
from ..engine.durable import DurableObject
from ..engine.rpc_target import RpcTarget
from .entrypoints import ExecutionContext, WorkerEntrypoint
from .headers import Headers
from .request import Request
from .response import Response
from .wait_until import waitUntil

Context = ExecutionContext
wait_until = waitUntil

__all__ = [
    "Context",
    "DurableObject",
    "DurableObjectContext",
    "Headers",
    "Request",
    "Response",
    "RpcTarget",
    "WorkerEntrypoint",
    "waitUntil",
    "wait_until",
]
