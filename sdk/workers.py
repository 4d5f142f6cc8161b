"""What programs import as `workers`."""

from __future__ import annotations

from ..engine.context import DurableObjectContext
from ..engine.durable import DurableObject
from .blob import Blob, BlobEnding, BlobValue, File
from .entrypoints import ExecutionContext, WorkerEntrypoint
from .fetching import FetchKwargs, fetch
from .form_data import FormData, FormDataValue
from .headers import Headers
from .readable_stream import ReadableStream
from .request import Request
from .response import Response
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
    "WorkerEntrypoint",
    "fetch",
    "waitUntil",
    "wait_until",
]
