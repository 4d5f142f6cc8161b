"""A guest book: Flask with a blueprint, templates and sessions as the Worker, and Flask inside each book."""

from urllib.parse import unquote, urlsplit

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    flash,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from pyodide.ffi import run_sync
from workers import DurableObject, WorkerEntrypoint, wsgi

book_app = Flask("book")


@book_app.get("/entries")
def entries():
    return jsonify(this_book().sql.exec("select id, who, text from entries order by id desc limit 50").toArray())


@book_app.post("/entries")
def add():
    entry = request.get_json()
    made = this_book().sql.exec("insert into entries(who, text) values(?, ?) returning id", entry["who"], entry["text"])
    return jsonify(id=made.one().id), 201


@book_app.get("/export")
def export():
    rows = this_book().sql.exec("select who, text from entries order by id").toArray()
    return Response((f"{row.who}: {row.text}\n" for row in rows), mimetype="text/plain")


def this_book():
    return request.environ["workers.env"]


class Book(DurableObject):
    def __init__(self, ctx, env):
        super().__init__(ctx, env)
        self.sql = ctx.storage.sql
        self.sql.exec("create table if not exists entries(id integer primary key, who, text)")

    async def fetch(self, request):
        return await wsgi.fetch(book_app, request, self)


books = Blueprint("books", __name__, url_prefix="/books")


def book(name):
    return request.environ["workers.env"].BOOKS.getByName(name)


@books.get("/<name>")
def show(name):
    found = run_sync(run_sync(book(name).fetch("http://book/entries")).json())
    return render_template("book.html", name=name, entries=found)


@books.post("/<name>")
def sign(name):
    session["who"] = request.form.get("who") or session.get("who", "")
    if not session["who"]:
        abort(400, description="who are you?")
    entry = {"who": session["who"], "text": request.form["text"]}
    run_sync(book(name).fetch("http://book/entries", method="POST", **as_json(entry)))
    flash("thank you")
    return redirect(url_for("books.show", name=name), 303)


def as_json(value):
    return {"body": app.json.dumps(value), "headers": {"content-type": "application/json"}}


app = Flask(__name__)
app.register_blueprint(books)


@app.errorhandler(400)
def bad_request(error):
    return jsonify(error=error.description), 400


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        app.secret_key = self.env.SECRET_KEY
        match unquote(urlsplit(request.url).path).split("/"):
            case ["", "books", name, "export"]:
                return await self.env.BOOKS.getByName(name).fetch("http://book/export")
        return await wsgi.fetch(app, request, self.env)
