"""Rows of docs/compatibility.md about the SDK that no other test holds (spec: sdk)."""

from __future__ import annotations

import asyncio
import datetime
import http.client
import importlib

import pytest
from perdure.sdk import aliases, js
from perdure.sdk.batches import MessageBatch
from perdure.sdk.blob import Blob, File
from perdure.sdk.env import Env
from perdure.sdk.form_data import FormData
from perdure.sdk.request import Request
from perdure.sdk.response import Response
from perdure.testing import World


@pytest.fixture(autouse=True)
def installed():
    aliases.install()


def read(coroutine):
    return asyncio.run(coroutine)


@pytest.mark.parametrize(
    ("made", "text", "kind"),
    [
        (lambda: js.Uint8Array.new([104, 105]), "hi", None),
        (lambda: js.Uint8Array.new([104, 105]).buffer, "hi", None),
        (lambda: js.DataView.new(js.Uint8Array.new([104, 105]).buffer), "hi", None),
        (lambda: js.Response.new("hi").body, "hi", None),
        (lambda: js.Blob.new(["hi"], type="a/b"), "hi", "a/b"),
        (lambda: js.URLSearchParams.new("a=1"), "a=1", "application/x-www-form-urlencoded;charset=UTF-8"),
    ],
    ids=["Uint8Array", "ArrayBuffer", "DataView", "ReadableStream", "Blob", "URLSearchParams"],
)
def test_values_of_javascript_as_bodies(made, text: str, kind: str | None) -> None:
    response = Response(made())
    assert (response.headers.get("content-type"), read(response.text())) == (kind, text)


def test_a_form_of_javascript_as_a_body() -> None:
    form = js.FormData.new()
    form.append("a", "b")
    form.append("a", "c")
    assert list(FormData(form).items()) == [("a", "b"), ("a", "c")]
    assert Response(form).headers["content-type"].startswith("multipart/form-data; boundary=")


def test_a_response_of_javascript_is_wrapped_without_options() -> None:
    response = Response(js.Response.new("hi", status=201))
    assert (response.status, read(response.text())) == (201, "hi")
    for options in ({"status": 200}, {"headers": {}}, {"status_text": "x"}):
        with pytest.raises(ValueError, match="^Expected no options when constructing Response"):
            Response(js.Response.new("hi"), **options)


def test_headers_are_messages_and_come_of_javascript_too() -> None:
    response = Response("x", headers=js.Headers.new({"a": "b"}))
    assert response.headers["a"] == "b"
    assert isinstance(response.headers, http.client.HTTPMessage)
    request = Request("http://a", headers=js.Headers.new({"a": "b"}))
    assert isinstance(request.headers, http.client.HTTPMessage)
    assert (request.headers.get_all("A"), list(request.headers.items()), "a" in request.headers) == (
        ["b"],
        [("a", "b")],
        True,
    )


def test_a_request_of_javascript_is_wrapped() -> None:
    request = Request(js.Request.new("https://test.com", method="POST", body="hi"))
    assert (request.url, request.method, read(request.text())) == ("https://test.com/", "POST", "hi")


def test_every_status_of_a_redirect() -> None:
    assert [Response.redirect("http://a/", status).status for status in (301, 302, 303, 307, 308)] == [
        301,
        302,
        303,
        307,
        308,
    ]
    assert Response.redirect("http://a/").status == 302
    for status in (200, 300, 304, 306):
        with pytest.raises(ValueError):
            Response.redirect("http://a/", status)


def test_a_content_type_that_is_given_wins_in_any_case() -> None:
    assert Response.json({}, headers={"cOnTent-tyPe": "42"}).headers.get_all("content-type") == ["42"]
    assert Response.from_json({}, headers=[("CONTENT-TYPE", "42")]).headers.get_all("content-type") == ["42"]


def test_repr_leaves_out_what_is_as_usual() -> None:
    assert repr(Response.json({})) == "Response(status=200, status_text='OK', content_type='application/json')"
    response = Response.json({})
    response.url, response.type = "http://a/", "error"
    assert repr(response).endswith("content_type='application/json', url='http://a/', type='error')")


def test_a_buffer_has_a_length_and_is_taken_where_buffers_are() -> None:
    buffer = read(Response("hi").buffer())
    assert (buffer.byteLength, bytes(js.Uint8Array.new(buffer).to_py())) == (2, b"hi")
    assert isinstance(buffer, memoryview)
    assert not isinstance(buffer, js.ArrayBuffer)


def test_parts_of_blobs_and_files() -> None:
    assert read(Blob(part for part in ("a", b"b", Blob("c"))).text()) == "abc"
    assert File("x", "n.txt", content_type="a/b").js_object.name == "n.txt"


def test_variables_have_attributes_and_are_looked_up_once() -> None:
    env = Env({"TEXT": "x", "JSON": {"deep": {"a": 1}}, "LIST": [{"a": 1}]})
    assert type(env.TEXT) is str
    assert (env.JSON.deep.a, env.LIST[0].a) == (1, 1)
    assert env.JSON is env.JSON


def test_the_module_of_the_javascript_runtime_has_env() -> None:
    found = importlib.import_module("workers").import_from_javascript("cloudflare:workers")
    for name in ("env", "waitUntil", "DurableObject", "WorkerEntrypoint", "RpcTarget"):
        assert hasattr(found, name)


def test_what_a_batch_is_made_of() -> None:
    sent = [{"id": "1", "timestamp": 1000, "attempts": 2, "body": {"a": 1}}, {"id": "2", "body": "x"}]
    batch = MessageBatch.of_plain("orders", sent)
    first, second = batch.messages
    assert (batch.queue, first.id, first.body, first.attempts, second.attempts) == ("orders", "1", {"a": 1}, 2, 1)
    assert first.timestamp == datetime.datetime.fromtimestamp(1)
    first.ack()
    second.retry()
    found = batch.outcome()
    assert (found.explicitAcks, [each.msgId for each in found.retryMessages]) == (["1"], ["2"])


PROGRAM = """
from workers import Response, WorkerEntrypoint, asgi, env, patch_env, wait_until, waitUntil


async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


class Default(WorkerEntrypoint):
    async def fetch(self, request):
        with patch_env([("NAME", "patched")], MORE=1):
            inside = [env.NAME, env.MORE]
        answer = await asgi.fetch(application, request, self.env, self.ctx)
        return Response.json([inside, env.NAME, isinstance(answer, Response), answer.status, waitUntil is wait_until])
"""


def test_patches_as_pairs_and_what_asgi_gives(tmp_path) -> None:
    (tmp_path / "entry.py").write_text(PROGRAM)
    (tmp_path / "wrangler.toml").write_text(
        'name = "w"\nmain = "entry.py"\ncompatibility_date = "2026-01-01"\n[vars]\nNAME = "n"\n'
    )
    with World(str(tmp_path)) as world:
        assert world.run(world.fetch("/").json()) == [["patched", 1], "n", True, 201, True]
