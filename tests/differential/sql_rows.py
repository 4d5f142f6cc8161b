"""SQL: values, cursors, statements, counters."""

from __future__ import annotations

from .operation import Operation, inside

_TABLE = "sql.exec(\"CREATE TABLE t (id INTEGER PRIMARY KEY, n, v)\"); sql.exec(\"INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')\")"
_THREE = "SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3"


def _rows(name: str, statement: str, *bindings: str, before: str = "") -> Operation:
    """What a statement gives."""
    arguments = ", ".join([quoted(statement), *bindings])
    first = f"{before}; " if before else ""
    return inside(f"sql: {name}", f"{first}return sql.exec({arguments}).toArray()")


def _told(name: str, statement: str, *, before: str = _TABLE) -> Operation:
    """Rows read and written of a statement over a small table."""
    return inside(
        f"counters: {name}",
        f"{before}; c = sql.exec({quoted(statement)}); c.toArray(); return [c.rowsRead, c.rowsWritten]",
    )


def quoted(text: str) -> str:
    """A literal of that text in both languages."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'.replace("\r", "\\r").replace("\v", "\\x0b").replace("\f", "\\x0c")


_VALUES = [
    _rows("an integer", "SELECT 42 AS v"),
    _rows("a real", "SELECT 2.5 AS v"),
    _rows("a whole real", "SELECT 3.0 AS v"),
    _rows("text", "SELECT 'a ü €' AS v"),
    _rows("text with NUL", "SELECT 'a' || char(0) || 'b' AS v"),
    _rows("a blob", "SELECT x'00ff' AS v"),
    _rows("zeroblob", "SELECT zeroblob(3) AS v"),
    _rows("null", "SELECT NULL AS v"),
    _rows("the largest safe integer", "SELECT 9007199254740991 AS v"),
    _rows("infinity", "SELECT 9e999 AS v"),
    _rows("a negative integer", "SELECT -5 AS v"),
    _rows(
        "bound integer in an INTEGER column",
        "SELECT v, typeof(v) AS t FROM x",
        before='sql.exec("CREATE TABLE x (v INTEGER)"); sql.exec("INSERT INTO x VALUES (?)", 7)',
    ),
    _rows(
        "bound float in a REAL column",
        "SELECT v, typeof(v) AS t FROM x",
        before='sql.exec("CREATE TABLE x (v REAL)"); sql.exec("INSERT INTO x VALUES (?)", 7.5)',
    ),
    _rows("bound text", "SELECT ? AS v, typeof(?) AS t", '"hé"', '"hé"'),
    _rows("bound null", "SELECT ? AS v, typeof(?) AS t", "null", "null"),
    _rows("bound undefined", "SELECT ? AS v", "undefined"),
    _rows("bound float", "SELECT ? AS v, typeof(?) AS t", "2.5", "2.5"),
    _rows("bound text with NUL", "SELECT length(?) AS a, hex(?) AS b", '"a\\u0000b"', '"a\\u0000b"'),
    inside(
        "sql: bound bytes",
        'return sql.exec("SELECT ? AS v, typeof(?) AS t", new Uint8Array([1, 2]).buffer, new Uint8Array([1]).buffer).toArray()',
        'return sql.exec("SELECT ? AS v, typeof(?) AS t", b"\\x01\\x02", b"\\x01").toArray()',
    ),
    inside(
        "sql: bound typed array",
        'return sql.exec("SELECT hex(?) AS v", new Uint8Array([1, 2, 3]).subarray(1)).toArray()',
        'return sql.exec("SELECT hex(?) AS v", memoryview(b"\\x01\\x02\\x03")[1:]).toArray()',
    ),
    _rows("an int bound without affinity", "SELECT typeof(?) AS t, ? / 2 AS half", "1", "5"),
    _rows("true and false bound", "SELECT ? AS a, ? AS b, typeof(?) AS t", "true", "false", "true"),
    _rows("a whole number bound is found", "SELECT n FROM t WHERE id = ? AND n = ?", "2", "20", before=_TABLE),
    _rows("numbered bindings", "SELECT ?2 AS a, ?1 AS b", '"one"', '"two"'),
    _rows("a list bound", "SELECT ? AS v", '["a", "b"]'),
    inside(
        "sql: a blob is a new buffer each time",
        """
        sql.exec("CREATE TABLE b (v)"); sql.exec("INSERT INTO b VALUES (x'01')");
        const first = sql.exec("SELECT v FROM b").one().v;
        new Uint8Array(first)[0] = 9;
        return sql.exec("SELECT v FROM b").one().v;
        """,
        """
        sql.exec("CREATE TABLE b (v)")
        sql.exec("INSERT INTO b VALUES (x'01')")
        return sql.exec("SELECT v FROM b").one().v
        """,
    ),
]
_NAMES = [
    _rows("names of expressions", "SELECT 123, ?, ? + ?, 'x' || 'y'", "1.5", "1.5", "1.5"),
    _rows("double quotes are a literal", 'SELECT "foo"'),
    _rows("a column named twice", "SELECT a.n, b.n FROM t AS a, t AS b WHERE a.id = 1 AND b.id = 2", before=_TABLE),
    inside("cursor: columnNames", f'{_TABLE}; return sql.exec("SELECT v, n, n AS m, 1 + 1 FROM t").columnNames'),
    inside(
        "cursor: columnNames of two tables", f'{_TABLE}; return sql.exec("SELECT * FROM t AS a, t AS b").columnNames'
    ),
    inside(
        "cursor: columnNames without rows", f'{_TABLE}; return sql.exec("SELECT n FROM t WHERE id = 99").columnNames'
    ),
    inside(
        "cursor: columnNames of an INSERT", f'{_TABLE}; return sql.exec("INSERT INTO t VALUES (9, 9, 9)").columnNames'
    ),
    inside(
        "cursor: columnNames after consumption",
        f'{_TABLE}; c = sql.exec("SELECT n FROM t"); c.toArray(); return c.columnNames',
    ),
    inside(
        "cursor: columnNames of RETURNING",
        f'{_TABLE}; return sql.exec("INSERT INTO t VALUES (9, 9, 9) RETURNING id, n").columnNames',
    ),
]
_CURSORS = [
    inside("cursor: toArray twice", f'c = sql.exec("{_THREE}"); return [c.toArray(), c.toArray()]'),
    inside(
        "cursor: next", 'c = sql.exec("SELECT 1 AS n"); a = c.next(); b = c.next(); return [a.done, a.value, b.done]'
    ),
    inside("cursor: next beyond the end", 'c = sql.exec("SELECT 1 AS n"); c.next(); c.next(); return c.next().done'),
    inside("cursor: one", 'return sql.exec("SELECT 1 AS n").one()'),
    inside("cursor: one of none", f'{_TABLE}; return sql.exec("SELECT * FROM t WHERE id = 99").one()'),
    inside("cursor: one of several", f'return sql.exec("{_THREE}").one()'),
    inside("cursor: one consumes", 'c = sql.exec("SELECT 1 AS n"); c.one(); return c.toArray()'),
    inside("cursor: one after next", 'c = sql.exec("SELECT 1 AS n UNION ALL SELECT 2"); c.next(); return c.one()'),
    inside("cursor: one twice", 'c = sql.exec("SELECT 1 AS n"); c.one(); return c.one()'),
    inside("cursor: raw toArray", f'{_TABLE}; return sql.exec("SELECT id, v FROM t").raw().toArray()'),
    inside("cursor: raw keeps duplicates", 'return sql.exec("SELECT 1 AS a, 2 AS a").raw().toArray()'),
    inside(
        "cursor: raw next, then toArray", f'c = sql.exec("{_THREE}"); a = c.raw().next(); return [a.value, c.toArray()]'
    ),
    inside("cursor: raw next at the end", 'r = sql.exec("SELECT 1").raw(); r.next(); return r.next().done'),
    inside("cursor: raw of raw shares", f'c = sql.exec("{_THREE}"); c.raw().next(); return c.raw().toArray()'),
    inside("cursor: iteration", f'return [...sql.exec("{_THREE}")]', f'return list(sql.exec("{_THREE}"))'),
    inside(
        "cursor: iteration of raw",
        f'return [...sql.exec("{_THREE}").raw()]',
        f'return list(sql.exec("{_THREE}").raw())',
    ),
    inside(
        "cursor: iteration left and taken up",
        f"""
        const c = sql.exec("{_THREE}");
        for (const row of c) break;
        return c.toArray();
        """,
        f"""
        c = sql.exec("{_THREE}")
        for row in c:
            break
        return c.toArray()
        """,
    ),
    inside(
        "cursor: two of one text",
        f'a = sql.exec("{_THREE}"); b = sql.exec("{_THREE}"); a.next(); return [a.toArray(), b.toArray()]',
    ),
    inside(
        "cursor: nested loops",
        f"""
        {_TABLE};
        const seen = [];
        for (const a of sql.exec("SELECT id FROM t")) for (const b of sql.exec("SELECT id FROM t")) seen.push([a.id, b.id]);
        return seen;
        """,
        f"""
        {_TABLE}
        return [[a.id, b.id] for a in sql.exec("SELECT id FROM t") for b in sql.exec("SELECT id FROM t")]
        """,
    ),
    inside(
        "cursor: a row inserted while stepping is seen",
        f"""
        {_TABLE};
        const seen = [];
        for (const row of sql.exec("SELECT id FROM t ORDER BY id")) {{ seen.push(row.id); if (row.id === 1) sql.exec("INSERT INTO t VALUES (9, 9, 9)"); }}
        return seen;
        """,
        f"""
        {_TABLE}
        seen = []
        for row in sql.exec("SELECT id FROM t ORDER BY id"):
            seen.append(row.id)
            if row.id == 1:
                sql.exec("INSERT INTO t VALUES (9, 9, 9)")
        return seen
        """,
    ),
    inside(
        "cursor: dropped unread, the write happened",
        f'{_TABLE}; sql.exec("INSERT INTO t VALUES (9, 9, 9) RETURNING id"); return sql.exec("SELECT count(*) AS n FROM t").one()',
    ),
    inside(
        "cursor: used after deleteAll",
        f'{_TABLE}; c = sql.exec("SELECT * FROM t"); c.next(); await storage.deleteAll(); return c.next()',
    ),
    inside("cursor: DROP while open", f'{_TABLE}; c = sql.exec("SELECT * FROM t"); c.next(); sql.exec("DROP TABLE t")'),
    inside(
        "cursor: DROP when exhausted",
        f'{_TABLE}; c = sql.exec("SELECT * FROM t"); c.toArray(); sql.exec("DROP TABLE t"); return c.rowsRead',
    ),
    inside(
        "cursor: rowsRead while stepping",
        f"""
        {_TABLE};
        const c = sql.exec("SELECT * FROM t"); const seen = [c.rowsRead];
        for (let i = 0; i < 4; i++) {{ c.next(); seen.push(c.rowsRead); }}
        return seen;
        """,
        f"""
        {_TABLE}
        c = sql.exec("SELECT * FROM t")
        seen = [c.rowsRead]
        for _ in range(4):
            c.next()
            seen.append(c.rowsRead)
        return seen
        """,
    ),
    inside(
        "cursor: read after another await",
        f'{_TABLE}; c = sql.exec("SELECT id FROM t"); c.next(); await storage.get("k"); return c.toArray()',
    ),
]
_STATEMENTS = [
    _rows("several, the last one's rows", "SELECT 1 AS a; SELECT 2 AS b"),
    _rows("several, bindings to the last", "SELECT 1; SELECT ? AS b", '"x"'),
    _rows(
        "several with writes",
        "INSERT INTO t VALUES (7, 7, 7); DELETE FROM t WHERE id = 1; SELECT id FROM t",
        before=_TABLE,
    ),
    _rows("parameters in an earlier one", "SELECT ?; SELECT 2", '"x"'),
    *[
        _rows(f"white space after the last: {name}", f"SELECT 1 AS a;{space}")
        for name, space in (
            ("space", " "),
            ("tab", "\t"),
            ("LF", "\n"),
            ("CR", "\r"),
            ("VT", "\v"),
            ("FF", "\f"),
            ("CRLF", "\r\n"),
        )
    ],
    _rows("a comment after the last", "SELECT 1; -- comment"),
    _rows("a comment only", "-- comment"),
    _rows("nothing", ""),
    _rows("a semicolon", ";"),
    _rows("a comment before", "-- comment\nSELECT 1 AS a"),
    _rows("a comment inside", "SELECT /* no */ 1 AS a"),
    _rows("without a semicolon", "SELECT 1 AS a"),
    _rows("two semicolons", "SELECT 1 AS a;;"),
    inside(
        "sql: what ran before a failing one stays",
        f"""
        {_TABLE};
        try {{ sql.exec("INSERT INTO t VALUES (8, 8, 8); SELEC 1"); }} catch (error) {{}}
        return sql.exec("SELECT id FROM t").toArray();
        """,
        f"""
        {_TABLE}
        try:
            sql.exec("INSERT INTO t VALUES (8, 8, 8); SELEC 1")
        except Exception:
            pass
        return sql.exec("SELECT id FROM t").toArray()
        """,
    ),
    _rows("DELETE with LIMIT", "SELECT id FROM t", before=f'{_TABLE}; sql.exec("DELETE FROM t ORDER BY id LIMIT 2")'),
    _rows(
        "UPDATE with LIMIT",
        "SELECT * FROM t",
        before=f'{_TABLE}; sql.exec("UPDATE t SET n = 0 ORDER BY id DESC LIMIT 1")',
    ),
    _rows("INSERT RETURNING", "INSERT INTO t VALUES (4, 40, 'd') RETURNING *", before=_TABLE),
    _rows(
        "an upsert",
        "INSERT INTO t VALUES (1, 5, 'z') ON CONFLICT (id) DO UPDATE SET n = excluded.n RETURNING *",
        before=_TABLE,
    ),
    _rows(
        "a common table", "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 4) SELECT n FROM c"
    ),
    _rows("a window", "SELECT id, sum(n) OVER (ORDER BY id) AS s FROM t", before=_TABLE),
    _rows("JSON", "SELECT json_extract('{\"a\":[1,2]}', '$.a[1]') AS v, json_array(1, 'x') AS j"),
    _rows("json_each", "SELECT value FROM json_each('[3,1,2]') ORDER BY value"),
    _rows("math", "SELECT floor(2.7) AS f, pow(2, 10) AS p, pi() > 3 AS q"),
    _rows("date", "SELECT date('2026-01-02', '+1 day') AS d"),
    _rows(
        "full text search",
        "SELECT rowid FROM f WHERE f MATCH 'fox'",
        before="sql.exec(\"CREATE VIRTUAL TABLE f USING fts5(t)\"); sql.exec(\"INSERT INTO f(t) VALUES ('a quick fox'), ('a dog')\")",
    ),
    _rows(
        "after ALTER TABLE",
        "SELECT * FROM t WHERE id = 1",
        before=f'{_TABLE}; sql.exec("SELECT * FROM t WHERE id = 1"); sql.exec("ALTER TABLE t ADD COLUMN w DEFAULT 5")',
    ),
    _rows(
        "a generated column",
        "SELECT * FROM g",
        before='sql.exec("CREATE TABLE g (a INTEGER, b AS (a * 2))"); sql.exec("INSERT INTO g VALUES (4)")',
    ),
    _rows("a STRICT table", "INSERT INTO s VALUES ('x')", before='sql.exec("CREATE TABLE s (a INTEGER) STRICT")'),
    _rows(
        "WITHOUT ROWID",
        "SELECT * FROM w",
        before="sql.exec(\"CREATE TABLE w (k TEXT PRIMARY KEY, v) WITHOUT ROWID\"); sql.exec(\"INSERT INTO w VALUES ('b', 1), ('a', 2)\")",
    ),
    _rows("a view", "SELECT * FROM w", before=f'{_TABLE}; sql.exec("CREATE VIEW w AS SELECT n FROM t")'),
    _rows("last_insert_rowid, changes", "SELECT last_insert_rowid() AS r, changes() AS c", before=_TABLE),
    inside(
        "sql: databaseSize grows by tables",
        'a = sql.databaseSize; sql.exec("CREATE TABLE t (a)"); b = sql.databaseSize; sql.exec("DROP TABLE t"); return [b - a, sql.databaseSize - a]',
    ),
    inside("sql: no argument", "return sql.exec()"),
    inside(
        "sql: visible to a later event's statement",
        f'{_TABLE}; await sleep(1); return sql.exec("SELECT count(*) AS n FROM t").one()',
    ),
]
_COUNTERS = [
    _told("INSERT with a key", "INSERT INTO t VALUES (9, 9, 9)"),
    _told("INSERT without a key", "INSERT INTO p VALUES (1)", before='sql.exec("CREATE TABLE p (a)")'),
    _told("INSERT of three", "INSERT INTO t VALUES (7, 7, 7), (8, 8, 8), (9, 9, 9)"),
    _told("SELECT all", "SELECT * FROM t"),
    _told("SELECT by key", "SELECT * FROM t WHERE id = 2"),
    _told("SELECT by key, none", "SELECT * FROM t WHERE id = 99"),
    _told("SELECT by a scan", "SELECT * FROM t WHERE n = 20"),
    _told("SELECT with LIMIT", "SELECT * FROM t LIMIT 2"),
    _told("count", "SELECT count(*) FROM t"),
    _told("MAX of a scan", "SELECT max(n) FROM t"),
    _told("MIN of the key", "SELECT min(id) FROM t"),
    _told("DELETE by key", "DELETE FROM t WHERE id = 1"),
    _told("DELETE of none", "DELETE FROM t WHERE id = 99"),
    _told("DELETE of all", "DELETE FROM t"),
    _told("UPDATE by key", "UPDATE t SET n = 1 WHERE id = 1"),
    _told("UPDATE of all", "UPDATE t SET n = 1"),
    _told("INSERT SELECT", "INSERT INTO t SELECT id + 10, n, v FROM t"),
    _told("no table", "SELECT 1"),
    _told(
        "INSERT with an index",
        "INSERT INTO t VALUES (9, 9, 9)",
        before=f'{_TABLE}; sql.exec("CREATE INDEX i ON t (n)")',
    ),
    _told(
        "INSERT with two indices",
        "INSERT INTO t VALUES (9, 9, 9)",
        before=f'{_TABLE}; sql.exec("CREATE INDEX i ON t (n)"); sql.exec("CREATE INDEX j ON t (v)")',
    ),
    _told(
        "DELETE with an index", "DELETE FROM t WHERE id = 1", before=f'{_TABLE}; sql.exec("CREATE INDEX i ON t (n)")'
    ),
    _told(
        "SELECT by an index", "SELECT v FROM t WHERE n = 20", before=f'{_TABLE}; sql.exec("CREATE INDEX i ON t (n)")'
    ),
    _told(
        "SELECT of an index alone",
        "SELECT n FROM t WHERE n = 20",
        before=f'{_TABLE}; sql.exec("CREATE INDEX i ON t (n)")',
    ),
    _told("ORDER BY without an index", "SELECT * FROM t ORDER BY n DESC"),
    _told("ORDER BY of the key", "SELECT * FROM t ORDER BY id DESC"),
    _told("IN", "SELECT * FROM t WHERE id IN (1, 2, 99)"),
    _told("a range of the key", "SELECT * FROM t WHERE id > 1"),
    _told("CREATE TABLE", "CREATE TABLE z (a)"),
    _told("DROP TABLE", "DROP TABLE t"),
    _told(
        "a trigger",
        "INSERT INTO t VALUES (9, 9, 9)",
        before=f'{_TABLE}; sql.exec("CREATE TABLE l (a)"); sql.exec("CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO l VALUES (new.id); END")',
    ),
    _told("RETURNING", "INSERT INTO t VALUES (9, 9, 9) RETURNING id"),
    _told("an upsert that updates", "INSERT INTO t VALUES (1, 5, 'z') ON CONFLICT (id) DO UPDATE SET n = 5"),
    _told("a join by key", "SELECT * FROM t AS a JOIN t AS b ON b.id = a.id"),
    _told("a join of all", "SELECT * FROM t AS a, t AS b"),
    _told("DISTINCT", "SELECT DISTINCT v FROM t"),
    _told("GROUP BY", "SELECT v, count(*) FROM t GROUP BY v"),
    _told("EXISTS", "SELECT EXISTS (SELECT 1 FROM t WHERE id = 1)"),
]

ROWS = [*_VALUES, *_NAMES, *_CURSORS, *_STATEMENTS, *_COUNTERS]
