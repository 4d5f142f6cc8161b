"""`fetch`: what is asked, where redirects lead, who is asked instead, and what ends it (spec: sdk, fetch; edge case 45a)."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import pytest
from perdure.engine.errors import NetworkError
from perdure.engine.http import HttpRequest, HttpResponse
from perdure.sdk import fetching
from perdure.sdk.fetching import REDIRECTS_MAX, fetch, redirected
from perdure.sdk.request import Request
from perdure.sdk.response import Response

from .test_streams import Signal


class Server:
    """Answers with what a test has laid ready, and keeps what was asked."""

    def __init__(self, *answers: HttpResponse | BaseException) -> None:
        self.answers = list(answers)
        self.asked: list[HttpRequest] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if self.answers else HttpResponse(200, [], b"ok")
        if isinstance(answer, BaseException):
            raise answer
        return answer


@contextmanager
def served(*answers: HttpResponse | BaseException):
    server = Server(*answers)
    remove = fetching.install(server)
    try:
        yield server
    finally:
        remove()


def moved(status: int, location: str = "/next") -> HttpResponse:
    return HttpResponse(status, [("Location", location)], b"moved")


def run(work):
    async def bounded():
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(bounded())


def test_options_make_the_request() -> None:
    with served() as server:
        response = run(fetch("http://a", method="post", body="hi", headers={"X": 1}, cf={"cacheTtl": 5}, foobarbaz=42))
        assert (response.status, run(response.text()), response.url, response.redirected) == (
            200,
            "ok",
            "http://a/",
            False,
        )
        sent = server.asked[0]
        assert (sent.method, sent.body) == ("POST", b"hi")
        assert sent.headers == [("X", "1"), ("content-type", "text/plain;charset=UTF-8")]
        run(fetch(Request("http://b", method="PUT"), headers={"a": "b"}))
        assert (server.asked[1].method, server.asked[1].headers) == ("PUT", [("a", "b")])


def test_edge_45a_a_second_argument_is_an_error() -> None:
    with pytest.raises(TypeError) as caught:
        fetch("http://a", {"headers": {"X": 1}})
    assert str(caught.value) == "fetch() takes 1 positional argument but 2 were given"


def test_network_errors_are_os_errors() -> None:
    with served(NetworkError("no such host")), pytest.raises(OSError, match="no such host") as caught:
        run(fetch("http://a"))
    assert caught.value.name == "Error"
    with served(), pytest.raises(OSError, match="Fetch API cannot load: ftp://a/"):
        run(fetch("ftp://a/"))
    with pytest.raises(OSError, match="nothing to ask with"):
        run(fetch("http://a"))
    with served(), pytest.raises(TypeError, match="Invalid URL"):
        run(fetch("/relative"))


@pytest.mark.parametrize(
    ("status", "method", "turned"),
    [
        (301, "POST", True),
        (302, "POST", True),
        (303, "POST", True),
        (303, "PUT", True),
        (301, "PUT", False),
        (307, "POST", False),
        (308, "POST", False),
        (303, "HEAD", False),
        (301, "GET", False),
    ],
)
def test_methods_across_redirects(status: int, method: str, turned: bool) -> None:
    body = b"x" if method in ("POST", "PUT") else None
    request = HttpRequest(method, "http://a/x#part", [("Content-Type", "a/b"), ("X", "1")], body)
    found = redirected(request, moved(status))
    assert found is not None
    assert found.url == "http://a/next#part"
    if turned:
        assert (found.method, found.body, found.headers) == ("GET", None, [("X", "1")])
    else:
        assert (found.method, found.body, found.headers) == (method, body, request.headers)


def test_secrets_stay_with_their_origin() -> None:
    secrets = [("Authorization", "a"), ("Cookie", "b"), ("X", "1")]
    request = HttpRequest("GET", "http://a/x", secrets)
    for location in ("/y", "http://a/z", "http://a:80/z"):
        assert redirected(request, moved(302, location)).headers == secrets
    for location in ("https://a/", "http://b/", "http://a:81/", "//b/"):
        assert redirected(request, moved(302, location)).headers == [("X", "1")]


def test_what_is_no_redirect_and_what_cannot_be_followed() -> None:
    request = HttpRequest("GET", "http://a/x", [])
    assert redirected(request, moved(304)) is None
    assert redirected(request, HttpResponse(302, [])) is None
    for location in ("http://", "ftp://a/", "javascript:1"):
        with pytest.raises(NetworkError, match="Invalid redirect URL"):
            redirected(request, moved(302, location))


def test_redirects_are_followed_taken_as_they_are_or_refused() -> None:
    with served(moved(302), moved(307, "http://b/c")) as server:
        response = run(fetch("http://a/x"))
        assert (response.url, response.redirected) == ("http://b/c", True)
        assert [asked.url for asked in server.asked] == ["http://a/x", "http://a/next", "http://b/c"]
    with served(moved(302)):
        response = run(fetch("http://a/x", redirect="manual"))
        assert (response.status, response.headers["location"], response.redirected) == (302, "/next", False)
    with served(moved(302)), pytest.raises(OSError, match="redirect='error'"):
        run(fetch("http://a/x", redirect="error"))
    with served(*[moved(302)] * (REDIRECTS_MAX + 1)) as server, pytest.raises(OSError, match="Too many redirects"):
        run(fetch("http://a/x"))
    assert len(server.asked) == REDIRECTS_MAX + 1


def test_a_stream_is_never_sent_twice() -> None:
    async def body():
        yield b"x"

    with served(moved(307)), pytest.raises(OSError, match="one-time-use body"):
        run(fetch("http://a/x", method="POST", body=body()))
    with served(moved(303)) as server:
        run(fetch("http://a/x", method="POST", body=body()))
        assert (server.asked[1].method, server.asked[1].body) == ("GET", None)


def test_bodies_of_redirects_are_closed() -> None:
    closed = []

    class Body:
        async def __anext__(self):
            raise StopAsyncIteration

        def __aiter__(self):
            return self

        async def aclose(self):
            closed.append(True)

    with served(HttpResponse(302, [("location", "/y")], Body())):
        run(fetch("http://a/x"))
    assert closed == [True]


def test_a_binding_is_asked_instead_of_the_network() -> None:
    class Service:
        async def fetch(self, request):
            return Response(f"{request.method} {request.url}")

    with served() as server:
        for binding in (Service(), Service().fetch):
            response = run(fetch("http://a", method="PUT", fetcher=binding))
            assert run(response.text()) == "PUT http://a/"
        assert server.asked == []


def test_a_signal_ends_it_before_while_and_after() -> None:
    async def endless():
        while True:
            yield b"x"
            await asyncio.sleep(0)

    async def work():
        signal = Signal()
        signal.abort(None)
        with served() as server, pytest.raises(Exception, match="AbortError: The operation was aborted"):
            await fetch("http://a", signal=signal)
        assert server.asked == []
        signal = Signal()
        held = asyncio.get_running_loop().create_future()

        class Hanging(Server):
            async def send(self, request):
                self.asked.append(request)
                return await held

        remove = fetching.install(Hanging())
        asking = asyncio.ensure_future(fetch("http://a", signal=signal))
        for _ in range(5):
            await asyncio.sleep(0)
        signal.abort(ValueError("enough"))
        with pytest.raises(ValueError, match="enough"):
            await asking
        await asyncio.sleep(0)
        assert held.cancelled()
        remove()
        signal = Signal()
        body = endless()
        with served(HttpResponse(200, [], body)):
            response = await fetch("http://a", signal=signal)
            reader = response.body.getReader()
            assert (await reader.read()).value == b"x"
            signal.abort(ValueError("enough"))
            with pytest.raises(ValueError, match="enough"):
                await reader.read()
        assert body.ag_frame is None  # closed
        assert signal.listeners == []

    run(work())
