"""What programs import as `workers`."""

from __future__ import annotations

import importlib

from ..engine.context import DurableObjectContext
from ..engine.durable import DurableObject
from ..engine.rpc_target import RpcTarget
from . import asgi, wsgi
from .blob import Blob, BlobEnding, BlobValue, File
from .conversions import python_from_rpc, python_to_rpc
from .entrypoints import ExecutionContext, WorkerEntrypoint
from .env import CURRENT_ENV as env
from .env import patch_env
from .fetching import FetchKwargs, fetch
from .form_data import FormData, FormDataValue
from .headers import Headers
from .javascript_modules import import_from_javascript
from .legacy import handler
from .readable_stream import ReadableStream
from .request import Request
from .response import Response
from .submodules.workflows import WorkflowEntrypoint
from .urls import URLSearchParams
from .wait_until import waitUntil

Context = ExecutionContext
FetchResponse = Response
RequestInitCfProperties = dict[str, object]
"""What `cf=` may hold; it is carried, nothing of it has an effect here."""
JSBody = Blob | bytes | bytearray | memoryview | FormData | ReadableStream | URLSearchParams
Body = str | JSBody
"""What a body may be made of."""
wait_until = waitUntil
__path__: list[str] = []  # a package to importlib: `workers.rpc` and the others are found by name


__all__ = [
    "Blob",
    "BlobEnding",
    "BlobValue",
    "Body",
    "Context",
    "DurableObject",
    "DurableObjectContext",
    "FetchKwargs",
    "FetchResponse",
    "File",
    "FormData",
    "FormDataValue",
    "Headers",
    "JSBody",
    "Request",
    "RequestInitCfProperties",
    "Response",
    "RpcTarget",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "asgi",
    "env",
    "fetch",
    "handler",
    "import_from_javascript",
    "patch_env",
    "python_from_rpc",
    "python_to_rpc",
    "waitUntil",
    "wait_until",
    "wsgi",
]


def __getattr__(name: str) -> object:
    if name == "HTMLRewriter":  # few need it, and it needs `js`
        return importlib.import_module(f"{__name__.rpartition('.')[0]}.js.rewriter").HTMLRewriter
    raise AttributeError(f"module 'workers' has no attribute {name!r}")
