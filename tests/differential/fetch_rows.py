"""Requests between a Worker and objects: methods, headers, bodies, statuses, errors, URLs."""

from __future__ import annotations

from .operation import Operation, PythonRaised, Text, outside

_SEEN = "return [r.status, r.status_text, r.ok, r.headers.get('content-type'), await r.text()]"
_MIRROR = Text(
    """
const headers = {};
for (const name of ["x-one", "x-two", "content-type"]) headers[name] = request.headers.get(name);
return Response.json([request.method, request.url, headers, await request.text()]);
""",
    """
headers = {name: request.headers.get(name) for name in ["x-one", "x-two", "content-type"]}
return Response.json([str(request.method), request.url, headers, await request.text()])
""",
)


def _mirror(name: str, js: str, python: str = "") -> Operation:
    """What of a request arrives."""
    return outside(
        f"fetch: {name}",
        f"return await (await stub.fetch({js})).json()",
        f"return await (await stub.fetch({python or js})).json()",
        parts={"fetch": _MIRROR},
    )


def _answer(name: str, js: str, python: str, seen_js: str = "", seen_python: str = "") -> Operation:
    """What of a response arrives."""
    return outside(
        f"fetch: {name}",
        f"const r = await stub.fetch('http://x/'); {seen_js or _SEEN.replace('status_text', 'statusText')}",
        f"r = await stub.fetch('http://x/')\n{seen_python or _SEEN}",
        parts={"fetch": Text(js, python)},
    )


def _redirect(name: str, mode: str) -> Operation:
    """An object that redirects to itself."""
    return outside(
        f"fetch: {name}",
        f"""
        const r = await stub.fetch("http://x/here", {{ method: "POST", body: "b", redirect: {f'"{mode}"' if mode else "undefined"} }});
        return [r.status, await r.text(), r.redirected, r.url, r.headers.get("location")];
        """,
        f"""
        r = await stub.fetch("http://x/here", method="POST", body="b", redirect={f'"{mode}"' if mode else "None"})
        return [r.status, await r.text(), r.redirected, r.url, r.headers.get("location")]
        """,
        parts={
            "fetch": Text(
                """
                if (request.url.endsWith("/here")) return Response.redirect("http://x/there", 302);
                return new Response(`${request.method} ${request.url} ${await request.text()}`);
                """,
                """
                if request.url.endswith("/here"):
                    return Response.redirect("http://x/there", 302)
                return Response(f"{request.method} {request.url} {await request.text()}")
                """,
            )
        },
    )


_SENT = [
    _mirror("GET of a URL", '"http://fake-host/ping?a=1&b=%20#frag"'),
    _mirror("an https URL", '"https://example.com/"'),
    _mirror("a URL without a path", '"http://example.com"'),
    _mirror("a port", '"http://example.com:8080/x"'),
    _mirror("the default port", '"http://example.com:80/x"'),
    _mirror("upper case host", '"http://EXAMPLE.com/A/../B"'),
    _mirror("spaces and umlauts in the path", '"http://example.com/a b/ü"'),
    *[
        _mirror(f"method {method}", f'"http://x/", {{ method: "{method}" }}', f'"http://x/", method="{method}"')
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "post")
    ],
    _mirror(
        "a text body", '"http://x/", { method: "POST", body: "hällo" }', '"http://x/", method="POST", body="hällo"'
    ),
    _mirror("an empty body", '"http://x/", { method: "POST", body: "" }', '"http://x/", method="POST", body=""'),
    _mirror(
        "a body of bytes",
        '"http://x/", { method: "POST", body: new Uint8Array([65, 66]) }',
        '"http://x/", method="POST", body=b"AB"',
    ),
    _mirror(
        "headers",
        '"http://x/", { headers: { "X-One": "1", "x-TWO": " two " } }',
        '"http://x/", headers={"X-One": "1", "x-TWO": " two "}',
    ),
    _mirror("a number as header", '"http://x/", { headers: { "x-one": 123 } }', '"http://x/", headers={"x-one": 123}'),
    _mirror(
        "a content type of its own",
        '"http://x/", { method: "POST", body: "{}", headers: { "content-type": "application/json" } }',
        '"http://x/", method="POST", body="{}", headers={"content-type": "application/json"}',
    ),
    _mirror(
        "headers as pairs",
        '"http://x/", { headers: [["x-one", "a"], ["x-one", "b"]] }',
        '"http://x/", headers=[["x-one", "a"], ["x-one", "b"]]',
    ),
    _mirror(
        "a Request",
        'new Request("http://x/r", { method: "PUT", body: "b", headers: { "x-one": "1" } })',
        'Request("http://x/r", method="PUT", body="b", headers={"x-one": "1"})',
    ),
    _mirror("a GET with a body", '"http://x/", { body: "b" }', '"http://x/", body="b"'),
    _mirror("a relative URL", '"/relative"'),
    _mirror("no URL", '"not a url"'),
    _mirror("the empty URL", '""'),
    _mirror("a URL object's text", 'new URL("http://x/u?q=1")', '"http://x/u?q=1"'),
    outside("fetch: without an argument", "await stub.fetch()"),
]
_ANSWERED = [
    _answer("a text", 'return new Response("text ü")', 'return Response("text ü")'),
    _answer("no body", "return new Response(null)", "return Response(None)"),
    _answer("the empty text", 'return new Response("")', 'return Response("")'),
    _answer("bytes", "return new Response(new Uint8Array([65]))", 'return Response(b"A")'),
    _answer("a status", 'return new Response("made", { status: 201 })', 'return Response("made", status=201)'),
    _answer("204", "return new Response(null, { status: 204 })", "return Response(None, status=204)"),
    _answer("404", 'return new Response("no", { status: 404 })', 'return Response("no", status=404)'),
    _answer("500", 'return new Response("bad", { status: 500 })', 'return Response("bad", status=500)'),
    _answer(
        "a status text",
        'return new Response("x", { status: 200, statusText: "Fine" })',
        'return Response("x", status=200, status_text="Fine")',
    ),
    _answer(
        "Response.json",
        'return Response.json({ a: [1, "x"] })',
        'return Response.json({"a": [1, "x"]})',
        "return [r.status, r.headers.get('content-type'), await r.json()]",
        "return [r.status, r.headers.get('content-type'), await r.json()]",
    ),
    _answer(
        "headers of an answer",
        'return new Response("x", { headers: { "X-One": "1", "content-type": "text/html" } })',
        'return Response("x", headers={"X-One": "1", "content-type": "text/html"})',
        "return [r.headers.get('x-one'), r.headers.get('content-type'), r.headers.get('missing')]",
        "return [r.headers.get('x-one'), r.headers.get('content-type'), r.headers.get('missing')]",
    ),
    _answer(
        "two cookies",
        """
        const headers = new Headers(); headers.append("set-cookie", "a=1"); headers.append("set-cookie", "b=2");
        return new Response("x", { headers });
        """,
        'return Response("x", headers=[["set-cookie", "a=1"], ["set-cookie", "b=2"]])',
        "return r.headers.getSetCookie()",
        "return r.headers.get_all('set-cookie')",
    ),
    _redirect("a redirect is followed to the same object", ""),
    _redirect("a redirect that is to be followed", "follow"),
    _redirect("a redirect that is an answer", "manual"),
    _answer(
        "a large body",
        'return new Response("x".repeat(3000000))',
        'return Response("x" * 3000000)',
        "return (await r.text()).length",
        "return len(await r.text())",
    ),
    _answer(
        "its url",
        'return new Response("x")',
        'return Response("x")',
        "return [r.url, r.redirected]",
        "return [r.url, r.redirected]",
    ),
    _answer(
        "read twice",
        'return new Response("x")',
        'return Response("x")',
        "await r.text(); try { await r.text(); return 0; } catch { return 'refused'; }",
        "await r.text()\ntry:\n    await r.text()\n    return 0\nexcept OSError:\n    return 'refused'",
    ),
    _answer(
        "bodyUsed",
        'return new Response("x")',
        'return Response("x")',
        "const a = r.bodyUsed; await r.text(); return [a, r.bodyUsed]",
        "a = r.body_used\nawait r.text()\nreturn [a, r.body_used]",
    ),
    _answer(
        "an arrayBuffer",
        "return new Response(new Uint8Array([1, 2]))",
        'return Response(b"\\x01\\x02")',
        "return await r.arrayBuffer()",
        "return await r.bytes()",
    ),
    outside(
        "fetch: HEAD",
        "const r = await stub.fetch('http://x/', { method: 'HEAD' }); return [r.status, await r.text()]",
        "r = await stub.fetch('http://x/', method='HEAD'); return [r.status, await r.text()]",
        parts={
            "fetch": Text(
                'return new Response(null, { headers: { "x-m": request.method } })',
                'return Response(None, headers={"x-m": str(request.method)})',
            )
        },
    ),
]
_FAILED = [
    outside(
        "fetch error: an exception reaches the caller",
        "await stub.fetch('http://x/')",
        parts={"fetch": Text('throw new Error("in fetch")', 'raise Exception("in fetch")')},
        allow=PythonRaised(),
    ),
    outside(
        "fetch error: a TypeError's text",
        "await stub.fetch('http://x/')",
        parts={"fetch": Text('await storage.list({"limit": -1})')},
    ),
    outside("fetch error: no such handler", "await env.PLAIN.getByName('x').fetch('http://x/')"),
    outside("fetch error: what is no response", "await stub.fetch('http://x/')", parts={"fetch": Text("return 5")}),
    outside("fetch error: nothing returned", "await stub.fetch('http://x/')", parts={"fetch": Text("return null")}),
    outside(
        "fetch error: an abort", "await stub.fetch('http://x/')", parts={"fetch": Text('ctx.abort("while fetching")')}
    ),
    outside(
        "fetch error: the stub lives on",
        """
        try { await stub.fetch("http://x/"); } catch {}
        return await stub.increment();
        """,
        """
        try:
            await stub.fetch("http://x/")
        except Exception:
            pass
        return await stub.increment()
        """,
        parts={"fetch": Text('throw new Error("x")', 'raise Exception("x")')},
    ),
    outside(
        "fetch: an object fetches another",
        'return await inside("go")',
        parts={"go": Text('return await (await env.NOBASE.getByName("b").fetch("http://x/")).text()')},
    ),
    outside(
        "fetch: its writes are there when it is answered",
        "await stub.fetch('http://x/'); return await again().part('seen')",
        parts={
            "fetch": Text(
                'storage.put("a", 1); return new Response("ok")', 'storage.put("a", 1); return Response("ok")'
            ),
            "seen": Text('return await storage.get("a")'),
        },
    ),
]

ROWS = [*_SENT, *_ANSWERED, *_FAILED]
