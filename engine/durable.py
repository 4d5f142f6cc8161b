"""The base class of what programs declare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .raw import Raw

if TYPE_CHECKING:
    from .context import DurableObjectContext


class DurableObject:
    """A class whose instances each have a name, one thread of control and a database (spec: objects).

    Subclasses may leave out the constructor; `self.ctx` (id, storage, gates) and `self.env` (bindings) are set here.
    """

    _ctx = Raw("ctx")
    _env = Raw("env")

    def __init__(self, ctx: DurableObjectContext, env: object) -> None:
        self.ctx = ctx
        self.env = env
