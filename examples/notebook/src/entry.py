"""Notebooks, each an object, whose tables have changed since the first version.

POST /notebook/NAME?title=Plan&text=…   adds a note, answers its number
GET  /notebook/NAME                     {"version": 3, "notes": [{"id": 1, "title": "Plan", "text": "…", "tags": 0}, …]}

A notebook that an older version of this program made is brought up to date when it is next used.
"""

from urllib.parse import parse_qs, unquote, urlsplit

from perdure.migrations import Migrations
from workers import DurableObject, Response, WorkerEntrypoint


def split_titles(sql):
    """Notes were one text, `title: text`."""
    sql.exec("ALTER TABLE notes ADD COLUMN title TEXT NOT NULL DEFAULT ''")
    for row in sql.exec("SELECT id, text FROM notes").toArray():
        title, colon, text = row["text"].partition(": ")
        if colon:
            sql.exec("UPDATE notes SET title = ?, text = ? WHERE id = ?", title, text, row["id"])


# Never change an applied step: add one at the end.
MIGRATIONS = Migrations(
    (1, "notes", "CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL)"),
    (2, "titles", split_titles),
    (3, "tags", "CREATE TABLE tags(note INTEGER REFERENCES notes, tag TEXT, PRIMARY KEY(note, tag)) WITHOUT ROWID"),
)


class Notebook(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        MIGRATIONS.apply(ctx.storage)
        self.sql = ctx.storage.sql

    async def add(self, title, text):
        return self.sql.exec("INSERT INTO notes(title, text) VALUES(?, ?) RETURNING id", title, text).one()["id"]

    async def notes(self):
        query = (
            "SELECT id, title, text, (SELECT count(*) FROM tags WHERE note = notes.id) AS tags FROM notes ORDER BY id"
        )
        return {"version": MIGRATIONS.version, "notes": self.sql.exec(query).toArray()}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        url = urlsplit(request.url)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if len(parts) != 2 or parts[0] != "notebook":
            return Response("try POST /notebook/NAME?title=Plan&text=…\n", status=404)
        notebook = self.env.NOTEBOOKS.getByName(parts[1])
        if request.method == "POST":
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            return Response(f"{await notebook.add(query.get('title', ''), query.get('text', ''))}\n")
        return Response.json(await notebook.notes())
