from flask import Flask, jsonify, request
from pyodide.ffi import run_sync
from workers import wsgi

app = Flask(__name__)


@app.get("/")
def root():
    return jsonify(message="ok")


@app.get("/todos")
def todos():
    db = request.environ["workers.env"].DB
    run_sync(db.exec("CREATE TABLE IF NOT EXISTS todos (id TEXT PRIMARY KEY, title TEXT)"))
    rows = run_sync(db.prepare("SELECT * FROM todos ORDER BY id").all()).results
    return jsonify([{"id": row.id, "title": row.title} for row in rows])


@app.post("/todos")
def add():
    body = request.get_json(silent=True) or {}
    db = request.environ["workers.env"].DB
    run_sync(db.exec("CREATE TABLE IF NOT EXISTS todos (id TEXT PRIMARY KEY, title TEXT)"))
    run_sync(db.prepare("INSERT INTO todos VALUES (?, ?)").bind(body["id"], body["title"]).run())
    return jsonify(added=body["id"]), 201


Default = wsgi.entrypoint(app)
