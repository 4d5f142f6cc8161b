"""FastAPI as its documentation teaches it, in a Worker and inside an object."""

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    File,
    Form,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    UploadFile,
)
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials, OAuth2PasswordBearer
from fastapi.staticfiles import StaticFiles
from perdure.engine.durable import DurableObject
from perdure.sdk import asgi
from perdure.sdk.entrypoints import WorkerEntrypoint
from pydantic import BaseModel, Field
from starlette.middleware.sessions import SessionMiddleware

TOLD: list[object] = []
pytestmark = [pytest.mark.perdure(env={"GREETING": "hello"})]


@pytest.fixture(autouse=True)
def _nothing_told():
    TOLD.clear()


class Item(BaseModel):
    name: str
    price: float = Field(gt=0)
    tags: list[str] = []


class Full(Exception):
    pass


@asynccontextmanager
async def lifespan(app):
    TOLD.append("startup")
    yield {"pool": "of connections"}
    TOLD.append("shutdown")


app = FastAPI(lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=1000)
app.add_middleware(SessionMiddleware, secret_key="secret")
app.add_middleware(CORSMiddleware, allow_origins=["https://friend.example"], allow_methods=["*"])


@app.middleware("http")
async def add_header(request: Request, call_next):
    response = await call_next(request)
    response.headers["X-Process"] = "through the middleware"
    return response


@app.get("/")
async def root():
    return {"message": "Hello, World!"}


@app.get("/env")
async def read_env(env=asgi.env):
    return {"greeting": env.GREETING}


@app.get("/scope")
async def read_scope(req: Request):
    return {"greeting": req.scope["env"].GREETING, "pool": req.state.pool, "url": str(req.url)}


@app.post("/items/", status_code=201)
async def create_item(item: Item) -> Item:
    return item


@app.get("/items/{item_id}")
async def read_item(item_id: Annotated[int, Path(ge=1)], q: Annotated[str | None, Query(max_length=5)] = None):
    if item_id == 404:
        raise HTTPException(404, detail="Item not found", headers={"X-Error": "gone"})
    return {"item_id": item_id, "q": q}


@app.post("/form")
async def form(username: Annotated[str, Form()], password: Annotated[str, Form()]):
    return {"username": username, "length": len(password)}


@app.post("/files")
async def files(fileb: UploadFile, file: Annotated[bytes, File()], token: Annotated[str, Form()]):
    content = await fileb.read()
    return {"size": len(content), "name": fileb.filename, "type": fileb.content_type, "file": len(file), "token": token}


@app.get("/headers")
async def headers(user_agent: Annotated[str | None, Header()] = None, ads_id: Annotated[str | None, Cookie()] = None):
    return {"agent": user_agent, "ads": ads_id}


async def common(q: str = "none"):
    TOLD.append("dependency entered")
    yield {"q": q}
    TOLD.append("dependency left")


@app.get("/dependency")
async def dependency(found: Annotated[dict, Depends(common)]):
    TOLD.append("endpoint")
    return found


def sync_dependency():
    TOLD.append(("dependency", threading.get_ident()))
    yield "from a plain function"
    TOLD.append(("left", threading.get_ident()))


@app.get("/sync")
def sync(found: Annotated[str, Depends(sync_dependency)]):
    TOLD.append(("endpoint", threading.get_ident()))
    return {"found": found}


def write(message: str):
    TOLD.append(message)


@app.post("/notify")
async def notify(tasks: BackgroundTasks):
    tasks.add_task(write, "from a plain function")
    tasks.add_task(write_later, "from a coroutine")
    return {"queued": True}


async def write_later(message: str):
    await asyncio.sleep(3)
    TOLD.append(message)


async def numbers():
    for number in range(4):
        await asyncio.sleep(1)
        yield f"data: {number}\n\n"


@app.get("/events")
async def events():
    return StreamingResponse(numbers(), media_type="text/event-stream")


@app.get("/plain-numbers")
def plain_numbers():
    return StreamingResponse((f"{number}\n" for number in range(4)), media_type="text/plain")


@app.get("/large")
async def large():
    return {"text": "x" * 5000}


@app.get("/session")
async def session(request: Request):
    request.session["count"] = request.session.get("count", 0) + 1
    return request.session


@app.exception_handler(Full)
async def full(request: Request, error: Full):
    return JSONResponse(status_code=418, content={"message": f"no room: {error}"})


@app.get("/full")
async def raise_full():
    raise Full("today")


@app.get("/broken")
async def broken():
    raise ValueError("a mistake of the program")


@app.get("/html", response_class=HTMLResponse)
async def html():
    return "<h1>hello</h1>"


@app.get("/redirect")
async def redirect():
    return RedirectResponse("/html")


@app.delete("/items/{item_id}", status_code=204)
async def delete_item(item_id: int) -> None:
    return None


basic, bearer = HTTPBasic(), OAuth2PasswordBearer(tokenUrl="token")


@app.get("/basic")
def basic_user(credentials: Annotated[HTTPBasicCredentials, Depends(basic)]):
    return {"user": credentials.username}


@app.get("/bearer")
async def bearer_token(token: Annotated[str, Depends(bearer)]):
    return {"token": token}


router = APIRouter(prefix="/api", tags=["api"])


@router.get("/hello/{name}", response_class=PlainTextResponse)
async def hello(name: str):
    return f"hello {name}"


app.include_router(router)
other = FastAPI()


@other.get("/app")
async def other_app(request: Request):
    return {"root": request.scope.get("root_path")}


app.mount("/other", other)


# ---------------------------------------------------------------------- inside an object, with its storage
stored = FastAPI()


def this_object(request: Request):
    return request.scope["env"]


This = Annotated[DurableObject, Depends(this_object)]


@stored.post("/add/{amount}")
def add(amount: int, this: This):
    """A plain function: in the event all the same."""
    kv = this.ctx.storage.kv
    kv.put("n", (kv.get("n") or 0) + amount)
    return {"n": kv.get("n")}


@stored.post("/add-async/{amount}")
async def add_async(amount: int, this: This):
    async with asyncio.TaskGroup() as group:
        for _ in range(amount):
            group.create_task(add_one(this))
    return {"n": await this.ctx.storage.get("n")}


async def add_one(this):
    await this.ctx.storage.put("n", (await this.ctx.storage.get("n") or 0) + 1)


@stored.post("/slow/{amount}")
async def slow(amount: int, this: This):
    n = await this.ctx.storage.get("n") or 0
    await asyncio.sleep(0)  # no other event comes between
    await this.ctx.storage.put("n", n + amount)
    return {"n": n + amount}


@stored.post("/behind")
async def behind(this: This, tasks: BackgroundTasks):
    tasks.add_task(add, 1000, this)
    return {"n": this.ctx.storage.kv.get("n")}


@stored.get("/rows")
def rows(this: This):
    sql = this.ctx.storage.sql
    sql.exec("create table if not exists notes (id integer primary key, text)")
    sql.exec("insert into notes (text) values (?)", "a note")
    return StreamingResponse(f"{row.id} {row.text}\n" for row in sql.exec("select * from notes order by id"))


@stored.get("/broken")
def stored_broken(this: This):
    this.ctx.storage.kv.put("n", 5)
    raise ValueError("inside")


class Shelf(DurableObject):
    async def fetch(self, request):
        if "/whole/" in request.url:
            request = type(request)(request.url.replace("/whole", ""), method=request.method, headers=request.headers)
            return await asgi.fetch(app, request, self.env)
        return await asgi.fetch(stored, request, self)


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        return await asgi.fetch(app, request, self.env)


def stub(world):
    return world.namespace("Shelf").getByName("a")


async def ask(world, path, method="GET", **options):
    response = await world.fetch(path, **({} if "json" in options else {"method": method}), **options)
    kind = response.headers.get("content-type") or ""
    return response.status, await (response.json() if "json" in kind and response.status != 204 else response.text())


async def of_object(world, path, method="POST"):
    return await (await stub(world).fetch(f"http://x{path}", method=method)).json()


async def test_the_first_steps(world) -> None:
    response = await world.fetch("/")
    assert await response.text() == '{"message":"Hello, World!"}'
    assert response.headers["x-process"] == "through the middleware"
    assert response.headers["content-type"] == "application/json"
    await world.settle()
    assert TOLD == ["startup", "shutdown"]


async def test_env_is_a_dependency(world) -> None:
    assert await ask(world, "/env") == (200, {"greeting": "hello"})
    assert await ask(world, "/scope?a=b") == (
        200,
        {"greeting": "hello", "pool": "of connections", "url": "http://localhost/scope?a=b"},
    )


async def test_models_paths_and_queries_are_checked(world) -> None:
    item = {"name": "a", "price": 1.5, "tags": ["x"]}
    assert await ask(world, "/items/", json=item) == (201, item)
    status, found = await ask(world, "/items/", json={"name": "a", "price": -1})
    assert (status, found["detail"][0]["loc"]) == (422, ["body", "price"])
    assert (await ask(world, "/items/", method="POST", body="{", headers={"content-type": "application/json"}))[
        0
    ] == 422
    assert await ask(world, "/items/7?q=abc") == (200, {"item_id": 7, "q": "abc"})
    assert (await ask(world, "/items/0"))[0] == 422
    assert (await ask(world, "/items/7?q=abcdef"))[0] == 422
    assert await ask(world, "/items/404") == (404, {"detail": "Item not found"})
    assert await ask(world, "/items/7", method="DELETE") == (204, "")
    assert (await ask(world, "/items/7", method="PATCH"))[0] == 405
    assert (await ask(world, "/nowhere"))[0] == 404


async def test_the_documentation_of_the_api(world) -> None:
    status, found = await ask(world, "/openapi.json")
    assert (status, found["info"]["title"]) == (200, "FastAPI")
    assert "swagger" in (await ask(world, "/docs"))[1]


async def test_forms_and_files(world) -> None:
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    sent = await ask(world, "/form", method="POST", body="username=%C3%A4nn&password=123", headers=urlencoded)
    assert sent == (200, {"username": "änn", "length": 3})
    parts = "".join(
        f'--edge\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{content}\r\n'
        for name, more, content in (
            ("fileb", '; filename="notes.txt"\r\nContent-Type: text/plain', "x" * 200_000),
            ("file", '; filename="b"', "12345"),
            ("token", "", "abc"),
        )
    )
    multipart = {"content-type": "multipart/form-data; boundary=edge"}
    assert await ask(world, "/files", method="POST", body=f"{parts}--edge--\r\n", headers=multipart) == (
        200,
        {"size": 200_000, "name": "notes.txt", "type": "text/plain", "file": 5, "token": "abc"},
    )


async def test_headers_cookies_and_security(world) -> None:
    sent = {"User-Agent": "me", "Cookie": "ads_id=5", "Authorization": "Basic YW5uOnB3"}
    assert await ask(world, "/headers", headers=sent) == (200, {"agent": "me", "ads": "5"})
    assert await ask(world, "/basic", headers=sent) == (200, {"user": "ann"})
    assert (await ask(world, "/basic"))[0] == 401
    assert await ask(world, "/bearer", headers={"Authorization": "Bearer t"}) == (200, {"token": "t"})


async def test_dependencies_are_left_after_the_endpoint(world) -> None:
    assert await ask(world, "/dependency?q=x") == (200, {"q": "x"})
    await world.settle()
    assert TOLD == ["startup", "dependency entered", "endpoint", "dependency left", "shutdown"]


async def test_plain_functions_run_on_the_loop_s_own_thread(world) -> None:
    assert await ask(world, "/sync") == (200, {"found": "from a plain function"})
    await world.settle()
    here = threading.get_ident()
    assert [told for told in TOLD if isinstance(told, tuple)] == [
        ("dependency", here),
        ("endpoint", here),
        ("left", here),
    ]


async def test_background_tasks_run_after_the_response(world) -> None:
    before = world.now
    assert await ask(world, "/notify", method="POST") == (200, {"queued": True})
    assert world.now == before
    await world.advance(seconds=4)
    assert TOLD == ["startup", "from a plain function", "from a coroutine", "shutdown"]


async def test_streams(world) -> None:
    response = await world.fetch("/events")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert await response.text() == "".join(f"data: {number}\n\n" for number in range(4))
    assert await ask(world, "/plain-numbers") == (200, "0\n1\n2\n3\n")


async def test_a_stream_arrives_as_it_is_made(world) -> None:
    body = (await stub(world).fetch("http://x/whole/events")).to_wire().body
    before = world.loop.time()
    seen = []
    async for chunk in body:
        seen.append((world.loop.time() - before, chunk))
        if len(seen) == 2:
            break
    assert seen == [(0, b"data: 0\n\n"), (1, b"data: 1\n\n")]
    await body.aclose()
    await world.settle()
    assert TOLD == ["startup", "shutdown"]


async def test_middleware(world) -> None:
    response = await world.fetch("/large", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert len(await response.bytes()) < 500
    asked = {"Origin": "https://friend.example", "Access-Control-Request-Method": "GET"}
    response = await world.fetch("/", method="OPTIONS", headers=asked)
    assert response.headers["access-control-allow-origin"] == "https://friend.example"
    first = await world.fetch("/session")
    assert await first.json() == {"count": 1}
    cookie = first.headers["set-cookie"].split(";")[0]
    assert await ask(world, "/session", headers={"Cookie": cookie}) == (200, {"count": 2})


async def test_errors(world) -> None:
    assert await ask(world, "/full") == (418, {"message": "no room: today"})
    assert await ask(world, "/broken") == (500, "Internal Server Error")
    await world.settle()


async def test_routers_mounts_redirects_and_pages(world) -> None:
    assert await ask(world, "/api/hello/ann%20b") == (200, "hello ann b")
    assert await ask(world, "/other/app") == (200, {"root": "/other"})
    assert await ask(world, "/html") == (200, "<h1>hello</h1>")
    response = await world.fetch("/redirect")
    assert (response.status, response.headers["location"]) == (307, "/html")
    response = await world.fetch("/items")
    assert (response.status, response.headers["location"]) == (307, "http://localhost/items/")


async def test_static_files(world, tmp_path) -> None:
    (tmp_path / "a.txt").write_text("from a file" * 10_000)
    files = FastAPI()
    files.mount("/static", StaticFiles(directory=tmp_path))
    from perdure.sdk.request import Request as Asked

    response = await asgi.fetch(files, Asked("http://x/static/a.txt"), None)
    assert await response.text() == "from a file" * 10_000
    assert response.headers["content-type"].startswith("text/plain")
    etag = {"If-None-Match": response.headers["etag"]}
    assert (await asgi.fetch(files, Asked("http://x/static/a.txt", headers=etag), None)).status == 304
    assert (await asgi.fetch(files, Asked("http://x/static/b.txt"), None)).status == 404
    await world.settle()


# ---------------------------------------------------------------------- inside an object
async def test_storage_works_in_plain_functions_and_coroutines(world) -> None:
    assert await of_object(world, "/add/5") == {"n": 5}
    assert await of_object(world, "/add-async/10") == {"n": 15}
    await world.crash(stub(world))
    assert await of_object(world, "/add/1") == {"n": 16}


async def test_no_other_event_comes_between_read_and_write(world) -> None:
    await asyncio.gather(*(of_object(world, "/slow/1") for _ in range(20)))
    assert await of_object(world, "/add/0") == {"n": 20}


async def test_background_tasks_of_an_object_use_its_storage(world) -> None:
    assert await of_object(world, "/behind") == {"n": None}
    await world.settle()
    assert await of_object(world, "/add/0") == {"n": 1000}
    await world.advance(seconds=15)
    assert world.state(stub(world)) == "cold"


async def test_rows_are_streamed_from_sql(world) -> None:
    for expected in ("1 a note\n", "1 a note\n2 a note\n"):
        assert await (await stub(world).fetch("http://x/rows")).text() == expected


async def test_an_endpoint_that_raises_is_a_500_of_the_application(world, caplog) -> None:
    response = await stub(world).fetch("http://x/broken")
    assert (response.status, await response.text()) == (500, "Internal Server Error")
    await world.settle()
    assert "ValueError: inside" in caplog.text
    assert await of_object(world, "/add/1") == {"n": 6}


async def test_the_whole_application_runs_inside_an_object(world) -> None:
    for path, found in (
        ("env", {"greeting": "hello"}),
        ("items/3", {"item_id": 3, "q": None}),
        ("sync", {"found": "from a plain function"}),
        ("session", {"count": 1}),
    ):
        assert await (await stub(world).fetch(f"http://x/whole/{path}")).json() == found
