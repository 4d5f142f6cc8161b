"""A document on the disk: its updates in the order in which they came, and from time to time one update instead of them all.

What always holds: applying all of them in any order gives the document. A row has at most ROW_BYTES, so large updates lie
in parts.
"""

ROW_BYTES = 1 << 20
UPDATES_MAX = 200


class Pieces:
    def __init__(self, sql):
        self.sql = sql
        sql.exec(
            "CREATE TABLE IF NOT EXISTS updates (number INTEGER, part INTEGER, bytes BLOB NOT NULL, PRIMARY KEY (number, part))"
            " WITHOUT ROWID"
        )
        (last,) = sql.exec("SELECT max(number) AS number, count(DISTINCT number) AS count FROM updates")
        self.last, self.count = (last["number"] or 0), last["count"]

    def all(self):
        """Each update, whole."""
        found = {}
        for row in self.sql.exec("SELECT number, bytes FROM updates ORDER BY number, part"):
            found.setdefault(row["number"], []).append(bytes(row["bytes"]))
        return [b"".join(parts) for parts in found.values()]

    def add(self, update, whole):
        """One more. `whole()`: the document as one update; it replaces all when there are many."""
        if self.count >= UPDATES_MAX:
            self.sql.exec("DELETE FROM updates")
            update, self.count = whole(), 0
        self.last += 1
        self.count += 1
        for part, at in enumerate(range(0, len(update), ROW_BYTES)):
            self.sql.exec(
                "INSERT INTO updates (number, part, bytes) VALUES (?, ?, ?)",
                self.last,
                part,
                update[at : at + ROW_BYTES],
            )
