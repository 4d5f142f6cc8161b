"""`python -m perdure.sdk.import_apart`: imports a program and says which classes it has, then ends.

A request on stdin (program, env_name, deployments), an answer on stdout: `{"exported": […]}` or `{"error": …}`. What the program
prints meanwhile goes to stderr. A Ctrl-C, which reaches the whole group, ends it without a word.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import cast

from ..engine.errors import PerdureError
from .class_migrations import Deployed
from .program import exported_classes


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})  # blocked while we were imported
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    request = cast("dict[str, object]", json.load(sys.stdin))
    given = cast("dict[str, dict[str, object]]", request["deployments"])
    deployments = {name: Deployed.from_wire(fields) for name, fields in given.items()}
    answer: dict[str, object]
    try:
        found = exported_classes(cast("str", request["program"]), cast("str | None", request["env_name"]), deployments)
        answer = {"exported": found}
    except PerdureError as error:
        answer = {"error": error.to_wire()}
    sys.stdout.flush()
    with os.fdopen(answer_fd, "w") as out:
        json.dump(answer, out)
    os._exit(0)  # what the program has started must not keep it


if __name__ == "__main__":
    main()
