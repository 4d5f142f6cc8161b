"""Dropping all that a program made in its database: for `deleteAll`, which keeps the file."""

from __future__ import annotations

import apsw


def drop_everything(connection: apsw.Connection) -> None:
    """Inside a transaction: drop every table and view but the hidden ones. Raises apsw.Error."""
    connection.execute("pragma defer_foreign_keys=on")
    query = (
        "select type, name from sqlite_schema where name not like 'sqlite\\_%' escape '\\' "
        "and name not like '\\_cf\\_%' escape '\\' and type in ('table', 'view') "
        "order by sql like 'create virtual%' desc"
    )
    while row := connection.execute(query).fetchone():
        name = str(row[1]).replace('"', '""')
        connection.execute(f'drop {row[0]} "{name}"')
