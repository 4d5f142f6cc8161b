"""Request, Response, Headers, configuration (spec: sdk, config)."""

from __future__ import annotations

import asyncio
import http
import json

import pytest
from perdure.engine.errors import ConfigError
from perdure.sdk import config
from perdure.sdk.env import Env
from perdure.sdk.headers import Headers
from perdure.sdk.request import Request
from perdure.sdk.response import Response


def read(coroutine):
    return asyncio.run(coroutine)


def test_response() -> None:
    assert Response(None, status=204).body is None
    assert Response("x").headers["content-type"] == "text/plain;charset=UTF-8"
    assert "content-type" not in Response(b"x").headers
    assert Response("x", headers={"a": 123, "b": True}).headers["b"] == "true"
    assert Response("x", headers={"a": 123}).headers["a"] == "123"
    assert Response("x", headers=[("a", "1"), ("a", "2")]).headers.get_all("a") == ["1", "2"]
    assert Response("x", headers=[("a", "modified"), ("A", "another")]).headers["a"] == "modified, another"
    assert read(Response.from_json({"obj": {"field": 123}}).text()) == '{"obj": {"field": 123}}'
    assert read(Response.json("test").text()) == '"test"'
    assert Response.json({}, headers={"Content-Type": "42"}).headers["content-type"] == "42"
    assert read(Response.json([1]).json()) == [1]
    assert Response.redirect("http://a/b").headers["location"] == "http://a/b"
    assert Response(status=http.HTTPStatus.NOT_FOUND).status == 404
    assert repr(Response("x")) == "Response(status=200, status_text='OK', content_type='text/plain;charset=UTF-8')"
    for bad in (
        lambda: Response.redirect("", 302),
        lambda: Response.redirect("", 502),
        lambda: Response.redirect("http://a", 502),
        lambda: Response(status=99),
    ):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(TypeError, match="Unsupported type in Response: int"):
        Response(5)
    with pytest.raises(TypeError, match="headers argument"):
        Response("x", headers=5)
    with pytest.raises(TypeError, match="not JSON serializable"):
        Response.from_json(object())
    with pytest.raises(TypeError, match="Invalid header"):
        Response("x", headers={"a": "b\r\nc: d"})


def test_a_body_is_read_once() -> None:
    response = Response("abc")
    other = response.clone()
    assert read(response.text()) == "abc"
    assert response.body_used
    with pytest.raises(OSError, match="Body already used"):
        read(response.text())
    assert read(other.bytes()) == b"abc"


def test_request() -> None:
    request = Request("https://test.com", method="post", body=json.dumps([1]), headers={"X-A": "1"})
    assert request.url == "https://test.com/"
    assert request.method == http.HTTPMethod.POST == "POST"
    assert request.headers["x-a"] == "1"
    assert read(request.clone().json()) == [1]
    again = Request(request, headers={"b": "2"})
    assert again.headers.get("x-a") is None
    assert read(again.text()) == "[1]"
    for bad, kind in (
        (lambda: Request("/relative"), TypeError),
        (lambda: Request("http://a", method="GET", body="x"), TypeError),
        (lambda: Request("http://a", method="a b"), TypeError),
        (lambda: Request(5), TypeError),
    ):
        with pytest.raises(kind):
            bad()


def test_headers() -> None:
    headers = Headers({"Accept": "a"})
    headers.append("accept", "b")
    assert headers.get("ACCEPT") == "a, b"
    assert headers.get_all("accept") == ["a", "b"]
    headers.set("accept", "c")
    assert headers["accept"] == "c"
    headers.append("set-cookie", "x=1")
    headers.append("set-cookie", "y=2")
    assert headers.getSetCookie() == ["x=1", "y=2"]
    assert "accept" in headers
    headers.delete("accept")
    assert headers.get("accept") is None


def test_env() -> None:
    env = Env({"NAME": "x", "JSON": {"deep": {"a": 1}}})
    assert env.JSON.deep.a == 1
    assert env["NAME"] == "x"
    assert "NAME" in env
    with pytest.raises(AttributeError, match="declares: JSON, NAME"):
        _ = env.MISSING


BASE = {
    "name": "w",
    "main": "entry.py",
    "durable_objects": {"bindings": [{"name": "A", "class_name": "Alpha"}, {"name": "B", "class_name": "Beta"}]},
    "migrations": [
        {"tag": "1", "new_sqlite_classes": ["Old"], "new_classes": ["Beta"]},
        {"tag": "2", "renamed_classes": [{"from": "Old", "to": "Alpha"}]},
    ],
    "vars": {"V": "1"},
    "env": {"staging": {"vars": {"V": "2"}, "durable_objects": {"bindings": [{"name": "A", "class_name": "Alpha"}]}}},
}


def write(tmp_path, found: object, name: str = "wrangler.json") -> str:
    (tmp_path / "entry.py").write_text("")
    (tmp_path / name).write_text(found if isinstance(found, str) else json.dumps(found))
    return str(tmp_path / name)


def test_a_rename_keeps_the_key_and_the_kind_of_storage(tmp_path) -> None:
    found = config.read(write(tmp_path, BASE))
    assert found.keys == {"Alpha": "Old", "Beta": "Beta"}
    assert found.sqlite == {"Alpha"}
    assert found.vars == {"V": "1"}
    assert found.warnings == ()


def test_environments_secrets_and_warnings(tmp_path) -> None:
    (tmp_path / ".dev.vars").write_text("# comment\nTOKEN='secret'\n")
    found = config.read(write(tmp_path, {**BASE, "unknown": 1, "observability": {}}), "staging")
    assert found.name == "w-staging"
    assert found.vars == {"V": "2", "TOKEN": "secret"}
    assert [b.name for b in found.bindings] == ["A"]
    assert any("unknown key 'unknown'" in text for text in found.warnings)
    assert not any("observability" in text for text in found.warnings)


def test_toml_and_comments(tmp_path) -> None:
    toml = 'name = "w"\nmain = "entry.py"\n[[durable_objects.bindings]]\nname = "A"\nclass_name = "A"\n'
    found = config.read(write(tmp_path, toml, "wrangler.toml"))
    assert found.keys == {"A": "A"}
    assert found.sqlite == frozenset()
    assert "no migration" in found.warnings[0]
    text = '{ /* c */ "name": "w", // c\n "main": "entry.py", }'
    assert config.read(write(tmp_path, text, "wrangler.jsonc")).name == "w"


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"name": None}, "'name' is missing"),
        ({"main": "entry.js"}, "needs to end with a .py"),
        ({"main": "nowhere.py"}, "does not exist"),
        ({"vars": 5}, "vars must be a table"),
        ({"migrations": [{"tag": "1"}, {"tag": "1"}]}, "two migrations have the tag"),
        ({"migrations": [{"tag": "1", "deleted_classes": ["X"]}]}, "non-existent class X"),
        (
            {"migrations": [{"tag": "1", "transferred_classes": [{"from": "A"}]}]},
            "'from_script' is missing",
        ),
        ({"triggers": ["* * * * *"]}, "triggers must be a table"),
        ({"triggers": {"crons": "* * * * *"}}, "crons must be a list"),
        ({"triggers": {"crons": ["* * * *"]}}, "4 fields"),
        ({"durable_objects": {"bindings": [{"name": "A"}]}}, "'class_name' is missing"),
        ({"durable_objects": {"bindings": [{"name": "A", "class_name": "X", "script_name": 1}]}}, "'script_name'"),
    ],
)
def test_configuration_mistakes_name_the_file_and_the_key(tmp_path, change, phrase: str) -> None:
    with pytest.raises(ConfigError, match=phrase) as caught:
        config.read(write(tmp_path, {**BASE, **change}))
    assert "wrangler.json" in caught.value.message


def test_crons_are_inherited_by_environments_and_run_once_each(tmp_path) -> None:
    found = {**BASE, "triggers": {"crons": ["0 5 * * *", "0 5 * * *"]}, "env": {"quiet": {"triggers": {"crons": []}}}}
    path = write(tmp_path, {**found, "env": {**found["env"], "same": {}}})
    assert [cron.text for cron in config.read(path).crons] == ["0 5 * * *"]
    assert len(config.read(path, "same").crons) == 1
    assert config.read(path, "quiet").crons == ()


def test_what_is_no_json_is_said(tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.read(write(tmp_path, "{"))
    with pytest.raises(ConfigError, match="no environment 'x'"):
        config.read(write(tmp_path, BASE), "x")
