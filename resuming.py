"""`from perdure.resuming import …`: the public names of `sdk/resuming/`."""

from .sdk.resuming.client import Client, Message, Reset
from .sdk.resuming.client_state import Patience
from .sdk.resuming.stream import Received, Stream

__all__ = ["Client", "Message", "Patience", "Received", "Reset", "Stream"]
