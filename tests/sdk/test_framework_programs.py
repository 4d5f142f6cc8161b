"""Whole programs in the shapes that are about: how they import `asgi` and `wsgi`, and how they hand the request on."""

from __future__ import annotations

import pytest
from perdure.testing import World

APP = """
from fastapi import FastAPI, Request
app = FastAPI()

@app.get("/")
async def root(req: Request):
    return {"message": "Hello, World!", "greeting": req.scope["env"].GREETING}
"""
FLASK = """
from flask import Flask, request
app = Flask(__name__)

@app.get("/")
def root():
    return {"message": "Hello, World!", "greeting": request.environ["workers.env"].GREETING}
"""
OBJECT = """
from workers import DurableObject
class Some(DurableObject):
    pass
"""
DEFAULT = """
from workers import WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def fetch(self, request):
"""
SHAPES = {
    "imported where it is used": APP
    + DEFAULT
    + "        import asgi\n        return await asgi.fetch(app, request, self.env)",
    "from workers": APP
    + "from workers import asgi"
    + DEFAULT
    + "        return await asgi.fetch(app, request, self.env)",
    "the function": APP
    + "from asgi import fetch"
    + DEFAULT
    + "        return await fetch(app, request, self.env, self.ctx)",
    "a submodule": APP
    + "import workers.asgi"
    + DEFAULT
    + "        return await workers.asgi.fetch(app, request, self.env)",
    "the request of js": APP
    + "import asgi"
    + DEFAULT
    + "        return await asgi.fetch(app, request.js_object, self.env)",
    "a global handler": APP
    + "async def on_fetch(request, env):\n    import asgi\n    return await asgi.fetch(app, request, env)",
    "an entrypoint": APP + "from workers import asgi\nDefault = asgi.entrypoint(app)",
    "env of the module": "import asgi\n"
    + APP.replace("req: Request", "env=asgi.env").replace('req.scope["env"]', "env")
    + DEFAULT
    + "        return await asgi.fetch(app, request, self.env)",
    "wsgi": FLASK + "from workers import wsgi" + DEFAULT + "        return await wsgi.fetch(app, request, self.env)",
    "wsgi, a global handler": FLASK
    + "from workers import wsgi\nasync def on_fetch(request, env):\n    return await wsgi.fetch(app, request, env)",
    "wsgi, an entrypoint": FLASK + "import wsgi\nDefault = wsgi.entrypoint(app)",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_program(tmp_path, shape) -> None:
    old = "global handler" in shape  # which are of programs before 2025-08-14
    (tmp_path / "entry.py").write_text(OBJECT + SHAPES[shape])
    (tmp_path / "wrangler.toml").write_text(
        f'name = "some"\nmain = "entry.py"\ncompatibility_date = "{"2025-01-01" if old else "2026-01-01"}"\n'
        '[vars]\nGREETING = "hello"\n'
        '[[durable_objects.bindings]]\nname = "SOME"\nclass_name = "Some"\n'
        '[[migrations]]\ntag = "v1"\nnew_sqlite_classes = ["Some"]\n'
    )
    with World(tmp_path) as world:
        response = world.fetch("/")
        assert (response.status, world.loop.drive(response.json())) == (
            200,
            {"message": "Hello, World!", "greeting": "hello"},
        )
