"""`workers.rpc`: the names of the reference's wrappers. Here nothing is wrapped: they are the classes of what programs get."""

from __future__ import annotations

from ...engine.references import RpcStub as _RpcStubWrapper
from ...engine.stubs import Namespace as _BindingWrapper
from ..conversions import python_from_rpc, python_to_rpc
from ..env import Env as _EnvWrapper
from ..service import Service as _FetcherWrapper

__all__ = [
    "_BindingWrapper",
    "_EnvWrapper",
    "_FetcherWrapper",
    "_RpcStubWrapper",
    "python_from_rpc",
    "python_to_rpc",
]
