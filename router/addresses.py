"""Where a running perdure is found when nobody says: the address file in a data folder of this user."""

from __future__ import annotations

import glob
import os

from ..engine.errors import NotConnected

_CHOOSE = "PERDURE_ADDRESS=$(cat FOLDER/address)"


def find_address() -> str:
    """PERDURE_ADDRESS, else the one live router endpoint under the user's state folder. Raises NotConnected."""
    given = os.environ.get("PERDURE_ADDRESS")
    if given:
        return given
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    found: dict[str, str] = {}
    for path in sorted(glob.glob(f"{glob.escape(state)}/perdure/*/address")):
        with open(path) as file:
            address = file.read().strip()
        if address.startswith("ipc://") and os.path.exists(address.removeprefix("ipc://")):
            found[os.path.dirname(path)] = address
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise NotConnected(
            f"no perdure is running under {state}/perdure",
            hint=f"start one with `perdure run`; for one with a data folder elsewhere: {_CHOOSE}",
        )
    raise NotConnected(f"several are running: {', '.join(found)}", hint=f"say which: {_CHOOSE}")
