"""The names of `workers` itself."""

import asgi
import cloudflare.workers
import workers
import workers.asgi
import workers.entrypoints
import workers.rpc
import workers.workflows
import wsgi
from workers import (
    BlobEnding,
    BlobValue,
    Body,
    Context,
    FetchKwargs,
    FormDataValue,
    Headers,
    JSBody,
    RequestInitCfProperties,
    env,
    handler,
    import_from_javascript,
    patch_env,
)
from workers.utils import _to_js_headers

AT_IMPORT = env.WORD
EXPORTS = """
Blob BlobEnding BlobValue Body Context DurableObject FetchKwargs FetchResponse File FormData FormDataValue Headers
JSBody Request RequestInitCfProperties Response WorkerEntrypoint WorkflowEntrypoint env fetch handler import_from_javascript
patch_env python_from_rpc python_to_rpc waitUntil wait_until
"""
EXPORTS = EXPORTS.split()


async def check_exports(env, ctx):
    assert set(EXPORTS) <= set(workers.__all__), set(EXPORTS) - set(workers.__all__)
    for name in EXPORTS:
        getattr(workers, name)
    try:
        workers.nothing  # noqa: B018
    except AttributeError as error:
        assert str(error) == "module 'workers' has no attribute 'nothing'"
    assert workers.asgi is asgi
    assert workers.wsgi is wsgi
    assert cloudflare.workers.Response is workers.Response
    assert workers.entrypoints.WorkerEntrypoint is workers.WorkerEntrypoint
    assert issubclass(workers.workflows.NonRetryableError, Exception)


async def check_types(env, ctx):
    def typed(body: Body, headers: Headers, kw: FetchKwargs, blob: BlobValue, value: FormDataValue) -> JSBody: ...

    def more(ending: BlobEnding, cf: RequestInitCfProperties, ctx: Context): ...

    assert typed.__annotations__
    assert more.__annotations__

    class Arguments(FetchKwargs, total=False):
        extra: int

    assert Arguments is not None


async def check_env(env, ctx):
    assert AT_IMPORT == "text"
    assert workers.env.WORD == env.WORD == "text"
    assert env.TREE.leaf.n == 1
    assert list(env.TREE.list) == [1, 2]
    assert env.SELF is env.SELF
    with patch_env({"WORD": "patched"}, OTHER=1):
        assert workers.env.WORD == "patched"
        assert workers.env.OTHER == 1
    with patch_env([("WORD", "pairs")]):
        assert workers.env.WORD == "pairs"
    assert workers.env.WORD == "text"
    assert not hasattr(env, "NOTHING")


async def check_import(env, ctx):
    runtime = import_from_javascript("cloudflare:workers")
    assert runtime.env.WORD == "text"
    assert runtime.waitUntil is not None
    assert runtime.DurableObject is not None
    assert import_from_javascript("cloudflare:sockets").connect is not None
    try:
        import_from_javascript("cloudflare:nothing")
    except ImportError as error:
        assert "Failed to import 'cloudflare:nothing'" in str(error)
    else:
        raise AssertionError("there is no such module")


async def check_handlers(env, ctx):
    result = await env.SELF.scheduled(scheduledTime=1000, cron="* * * * 30")
    assert result.outcome == "ok"

    @handler
    async def on_fetch(request, env):
        return workers.Response(f"{request.method} {env.WORD}")

    assert callable(on_fetch)


async def check_headers(env, ctx):
    assert _to_js_headers({"a": "b"}).get("a") == "b"


async def check_frameworks(env, ctx):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            await send({"type": "lifespan.startup.complete"})
            return
        assert (scope["http_version"], scope["method"], scope["scheme"]) == ("1.1", "POST", "https")
        assert (scope["path"], scope["query_string"]) == ("/a b", b"x=1")
        assert scope["asgi"]["version"] == "3.0"
        heard = await receive()
        await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": heard["body"], "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})

    request = workers.Request("https://a.test/a%20b?x=1", method="POST", body="x")
    answer = await asgi.fetch(app, request, env, ctx)
    assert (answer.status, answer.headers.get("a"), await answer.text()) == (201, "b", "x!")

    def plain(environ, start_response):
        assert environ["SERVER_PROTOCOL"] == "HTTP/1.1"
        assert environ["workers.env"].WORD == "text"
        start_response("200 OK", [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return [environ["wsgi.input"].read()]

    answer = await wsgi.fetch(plain, workers.Request("https://a.test/", method="POST", body="wsgi"), env)
    assert list(answer.headers.getSetCookie()) == ["a=1", "b=2"]
    assert await answer.text() == "wsgi"
    assert asgi.env is not None
    scope = asgi.request_to_scope(workers.Request("https://a.test/", headers={"Header1": "Value1"}), env)
    assert scope["headers"] == [(b"header1", b"Value1")]
