"""Notebooks over FastAPI: one application is the Worker, another runs inside each notebook, on the notebook's own database."""

from typing import Annotated

import asgi
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.requests import HTTPConnection
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from workers import DurableObject, Request, WorkerEntrypoint


class Note(BaseModel):
    text: str = Field(min_length=1, max_length=1000)
    tags: list[str] = []


notes = FastAPI()


def notebook(request: HTTPConnection) -> "Notebook":
    return request.scope["env"]


This = Annotated["Notebook", Depends(notebook)]


@notes.get("/notes")
async def list_notes(this: This, tag: str | None = None):
    rows = this.sql.exec("select id, text from notes order by id").toArray()
    if tag is None:
        return rows
    tagged = {row.note for row in this.sql.exec("select note from tags where tag = ?", tag)}
    return [row for row in rows if row.id in tagged]


@notes.post("/notes", status_code=201)
def add_note(note: Note, this: This, tasks: BackgroundTasks):
    """A plain function: it runs in the notebook's turn like the others, so what it writes is kept whole or not at all."""
    if this.sql.exec("select count(*) as n from notes").one().n >= this.env.NOTES_MAX:
        raise HTTPException(507, detail="this notebook is full")
    made = this.sql.exec("insert into notes(text) values(?) returning id", note.text).one().id
    for tag in note.tags:
        this.sql.exec("insert or ignore into tags(tag, note) values(?, ?)", tag, made)
    tasks.add_task(this.count_words, made, note.text)
    return {"id": made}


@notes.get("/words")
async def words(this: This):
    return this.sql.exec("select coalesce(sum(words), 0) as words from notes").one()


@notes.get("/export")
async def export(this: This):
    rows = this.sql.exec("select text from notes order by id").toArray()
    return StreamingResponse((f"- {row.text}\n" for row in rows), media_type="text/markdown")


class Notebook(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        self.sql.exec("create table if not exists notes(id integer primary key, text, words integer)")
        self.sql.exec("create table if not exists tags(tag, note, primary key(tag, note))")

    async def count_words(self, note, text):
        self.sql.exec("update notes set words = ? where id = ?", len(text.split()), note)

    async def fetch(self, request):
        return await asgi.fetch(notes, request, self)


app = FastAPI(title="Notebooks")


@app.get("/")
async def root():
    return {"message": "POST a note to /notebooks/NAME/notes"}


@app.get("/notebooks/{name}/words")
async def count(name: str, env=asgi.env):
    answer = await env.NOTEBOOKS.getByName(name).fetch("http://notebook/words")
    return {"notebook": name, **await answer.json()}


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        name, _, rest = request.url.partition("/notebooks/")[2].partition("/")
        if rest.startswith(("notes", "export")):
            return await self.env.NOTEBOOKS.getByName(name).fetch(
                Request(f"http://notebook/{rest}", **parts_of(request))
            )
        return await asgi.fetch(app, request, self.env)


def parts_of(request):
    return {"method": request.method, "headers": request.headers, "body": request.body}
