"""The command `perdure`. Errors print one line and a hint, and exit 1.

What always holds: a Ctrl-C ends it without a traceback, also while it is still being imported: so nothing large is imported here
before the signal is taken care of.
"""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Entry point of the console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # it ends us at once: there is nothing to clear up yet
        from . import commands as commands

        signal.signal(signal.SIGINT, signal.default_int_handler)
    from ..engine.errors import PerdureError
    from .commands import cli
    from .terminal import print_error

    try:
        cli(prog_name="perdure")
    except PerdureError as error:
        print_error(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
