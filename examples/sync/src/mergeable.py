"""A mergeable store as TinyBase has it: tables of rows of cells, and values, each with a stamp; kept in one SQL table.

What always holds: of two values of a cell the one with the later clock stays, wherever and in whatever order they are
merged; what `merge` has taken is on the disk with the same turn. The content is a tree: the node at a path has children, a
clock and a hash; a leaf has a value, a clock and a hash. Paths: ["t", table, row, cell] and ["v", value].
"""

import json

import stamps

TABLES, VALUES = "t", "v"
DEPTH = {TABLES: 3, VALUES: 1}


class Node:
    __slots__ = ("children", "clock", "hash", "value")

    def __init__(self):
        self.children, self.clock, self.hash, self.value = {}, "", 0, stamps.UNDEFINED

    def stamp(self, depth):
        """As it travels: without hashes."""
        value = {name: child.stamp(depth - 1) for name, child in self.children.items()} if depth else self.value
        return [value, self.clock] if self.clock else [value]

    def hashes(self):
        return {name: child.hash for name, child in self.children.items()}


class Mergeable:
    def __init__(self, sql):
        self.sql = sql
        self.roots = {TABLES: Node(), VALUES: Node()}
        sql.exec(
            "CREATE TABLE IF NOT EXISTS stamps (path TEXT PRIMARY KEY, value TEXT, clock TEXT NOT NULL, hash INTEGER NOT NULL)"
            " WITHOUT ROWID"
        )
        for row in sql.exec("SELECT path, value, clock, hash FROM stamps"):
            path = json.loads(row["path"])
            node = self.roots[path[0]]
            for name in path[1:]:
                node = node.children.setdefault(name, Node())
            node.clock, node.hash, node.value = row["clock"], row["hash"], json.loads(row["value"])

    def keep(self, path, node):
        self.sql.exec(
            "INSERT OR REPLACE INTO stamps (path, value, clock, hash) VALUES (?, ?, ?, ?)",
            json.dumps(path), json.dumps(node.value), node.clock, node.hash,
        )  # fmt: skip

    def merge(self, tables, values):
        """Two stamps, of all tables and of all values. Whether anything was new."""
        before = self.hashes()
        self._merge([TABLES], self.roots[TABLES], tables, 3)
        self._merge([VALUES], self.roots[VALUES], values, 1)
        return self.hashes() != before

    def _merge(self, path, node, stamp, depth):
        incoming, clock = stamp[0], stamp[1] if len(stamp) > 1 else ""
        old = node.hash, node.clock
        for name, part in incoming.items():
            child = node.children.setdefault(name, Node())
            if depth > 1:
                was = child.hash
                self._merge([*path, name], child, part, depth - 1)
                node.hash ^= (stamps.of_child(name, was) if was else 0) ^ stamps.of_child(name, child.hash)
            elif not child.clock or (len(part) > 1 and part[1] > child.clock):
                was = child.hash
                child.value, child.clock = stamps.encoded(part[0]), part[1] if len(part) > 1 else ""
                child.hash = stamps.of_value(child.value, child.clock)
                node.hash ^= stamps.of_child(name, was) ^ stamps.of_child(name, child.hash)
                self.keep([*path, name], child)
        node.hash ^= stamps.of_clock(node.clock, clock)
        node.clock = max(node.clock, clock)
        if (node.hash, node.clock) != old or not old[0]:
            self.keep(path, node)

    def hashes(self):
        return [self.roots[TABLES].hash, self.roots[VALUES].hash]

    # What one peer asks another: first hashes of tables, then of rows of those that differ, then of cells.

    def table_diff(self, theirs):
        """(stamp of the tables that they have not, hashes of those that differ)."""
        new, differ = {}, {}
        for name, table in self.roots[TABLES].children.items():
            if name not in theirs:
                new[name] = table.stamp(2)
            elif theirs[name] != table.hash:
                differ[name] = table.hash
        return [self._tables(new), differ]

    def row_hashes(self, theirs):
        tables = self.roots[TABLES].children
        return {
            name: {row: node.hash for row, node in tables[name].children.items()}
            for name, hash in theirs.items()
            if name in tables and tables[name].hash != hash
        }

    def row_diff(self, theirs):
        new, differ = {}, {}
        for name, rows in theirs.items():
            for row, node in self._children(name).items():
                if row not in rows:
                    new.setdefault(name, [{}])[0][row] = node.stamp(1)
                elif rows[row] != node.hash:
                    differ.setdefault(name, {})[row] = node.hash
        return [self._tables(new), differ]

    def cell_hashes(self, theirs):
        made = {}
        for name, rows in theirs.items():
            for row, hash in rows.items():
                node = self._children(name).get(row)
                if node is not None and node.hash != hash:
                    made.setdefault(name, {})[row] = node.hashes()
        return made

    def cell_diff(self, theirs):
        made = {}
        for name, rows in theirs.items():
            for row, cells in rows.items():
                node = self._children(name).get(row)
                for cell, leaf in node.children.items() if node else ():
                    if cells.get(cell) != leaf.hash:
                        table = made.setdefault(name, self._headed({}, self.roots[TABLES].children[name].clock))
                        table[0].setdefault(row, self._headed({}, node.clock))[0][cell] = leaf.stamp(0)
        return self._tables(made)

    def value_diff(self, theirs):
        root = self.roots[VALUES]
        return self._headed(
            {name: leaf.stamp(0) for name, leaf in root.children.items() if theirs.get(name) != leaf.hash}, root.clock
        )

    def _children(self, table):
        node = self.roots[TABLES].children.get(table)
        return node.children if node else {}

    def _tables(self, tables):
        return self._headed(tables, self.roots[TABLES].clock)

    @staticmethod
    def _headed(value, clock):
        return [value, clock] if clock else [value]
