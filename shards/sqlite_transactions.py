"""A transaction on one of our own SQLite files: history, the catalogue.

What always holds: the caller gets the error that stopped it. On a full disk SQLite rolls back by itself, and apsw's own `with
connection` then fails to roll back again and hides why.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import apsw


@contextmanager
def transaction(connection: apsw.Connection) -> Generator[None]:
    """Commit at the end, roll back on any error; inside another one it is a part of that. Raises apsw.Error."""
    if connection.in_transaction:
        yield
        return
    connection.execute("begin immediate")
    try:
        yield
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise
