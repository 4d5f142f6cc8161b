"""Dropping all that a program made in its database: for `deleteAll`, which keeps the file until the object leaves memory."""

from __future__ import annotations

from typing import cast

import apsw

from .database import PAGE

_CONTENT = """
select exists(select 1 from sqlite_schema where name not like 'sqlite\\_%' escape '\\' and name not like '\\_cf\\_%' escape '\\')
or exists(select 1 from _cf_KV) or exists(select 1 from _cf_METADATA where key not in ('wiped', 'name', 'sockets'))
"""
_SOCKETS = "select 1 from sqlite_schema where name = '_cf_SOCKETS'"
_ANY_SOCKET = "select exists(select 1 from _cf_SOCKETS)"
_ZEROS = 1 << 20
"""Bytes of a row that overwrites free pages."""


def is_empty(connection: apsw.Connection) -> bool:
    """No tables, no keys, no alarm, no sockets, nothing asked for."""
    if connection.execute(_CONTENT).fetchall()[0][0]:
        return False
    return not (connection.execute(_SOCKETS).fetchall() and connection.execute(_ANY_SOCKET).fetchall()[0][0])


def overwrite_free_pages(connection: apsw.Connection) -> None:
    """Use every page that is free, with zeros: what is dropped next gives them back."""
    if not connection.pragma("freelist_count"):
        return
    connection.execute("create table _cf_ZEROS(zeros)")
    while free := cast("int", connection.pragma("freelist_count")):
        connection.execute("insert into _cf_ZEROS values(zeroblob(?))", (min(free * (PAGE - 4), _ZEROS),))
    connection.execute("drop table _cf_ZEROS")


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
