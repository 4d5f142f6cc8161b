"""`crypto`: random values, and `subtle`."""

from __future__ import annotations

import secrets
import uuid

from ...engine.errors import PerdureError
from .buffers import View
from .proxies import JsProxy
from .subtle import SubtleCrypto

_BYTES_MAX = 65_536


class Crypto(JsProxy):
    """The one `crypto`."""

    def __init__(self) -> None:
        self.subtle = SubtleCrypto()

    def randomUUID(self) -> str:
        """A random UUID, version 4."""
        return str(uuid.uuid4())

    def getRandomValues(self, view: View) -> View:
        """Fill a typed array with random bytes. Raises PerdureError (QuotaExceededError) above 65,536 bytes."""
        if not isinstance(view, View):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PerdureError("The data argument must be an integer-type typed array", name="TypeMismatchError")
        if view.byteLength > _BYTES_MAX:
            raise PerdureError(f"more than {_BYTES_MAX} random bytes at once", name="QuotaExceededError")
        view.assign(secrets.token_bytes(view.byteLength))
        return view


crypto = Crypto()
