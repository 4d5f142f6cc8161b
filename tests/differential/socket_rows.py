"""WebSockets of objects: accepting, tags, attachments, automatic answers, closing, and what is refused.

The Worker is the client: it connects by `stub.fetch` and accepts its end itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from .operation import Allowance, Operation, Text, Wording, inside, outside

_ECHO = {"fetch": Text("return upgrade()"), "message": Text("ws.send(said)")}


def _talk(
    name: str, code: str, python: str = "", *, parts: Mapping[str, Text] | None = None, allow: Allowance | None = None
) -> Operation:
    """A row whose Worker connects; `parts` beside the object's plain `fetch`."""
    return outside(
        f"socket: {name}", code, python, parts={"fetch": Text("return upgrade()"), **(parts or {})}, allow=allow
    )


_MESSAGES = [
    _talk(
        "text and bytes, empty ones too",
        """
        const c = await connect(stub);
        for (const each of ["a", "", new Uint8Array([1, 2]), new Uint8Array([]), "ü"]) c.ws.send(each);
        return await c.heard(5);
        """,
        """
        c = await connect(stub)
        for each in ["a", "", bytes([1, 2]), b"", "ü"]:
            c.ws.send(each)
        return await c.heard(5)
        """,
        parts=_ECHO,
    ),
    _talk(
        "what is sent before the answer to the upgrade is heard first",
        "c = await connect(stub); return await c.heard(1)",
        parts={
            "fetch": Text(
                'const r = upgrade(); ctx.getWebSockets()[0].send("hello"); return r',
                'r = upgrade()\nctx.getWebSockets()[0].send("hello")\nreturn r',
            )
        },
    ),
    _talk(
        "a handler that raises leaves the socket open",
        'const c = await connect(stub); c.ws.send("bad"); c.ws.send("good"); return await c.heard(1)',
        'c = await connect(stub)\nc.ws.send("bad")\nc.ws.send("good")\nreturn await c.heard(1)',
        parts={
            "message": Text(
                'if (said === "bad") throw new Error("x"); ws.send(said)',
                'if said == "bad":\n    raise Exception("x")\nws.send(said)',
            )
        },
    ),
    _talk(
        "what a number is sent as",
        "const c = await connect(stub); c.ws.send(5); return await c.heard(1)",
        "c = await connect(stub)\nc.ws.send(5)\nreturn await c.heard(1)",
        parts=_ECHO,
    ),
]

_ROWS_OF_CTX = [
    inside(
        "socket: nothing accepted",
        "return [ctx.getWebSockets().length, ctx.getWebSockets('x').length, ctx.getWebSocketAutoResponse(),"
        " ctx.getHibernatableWebSocketEventTimeout()]",
        "return [len(ctx.getWebSockets()), len(ctx.getWebSockets('x')), ctx.getWebSocketAutoResponse(),"
        " ctx.getHibernatableWebSocketEventTimeout()]",
    ),
    inside(
        "socket: tags are distinct, in the order given",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b, ['y', 'x', 'y']); return ctx.getTags(b)",
        "a, b = pairOf()\nctx.acceptWebSocket(b, ['y', 'x', 'y'])\nreturn ctx.getTags(b)",
    ),
    inside(
        "socket: no tags",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b); return ctx.getTags(b)",
        "a, b = pairOf()\nctx.acceptWebSocket(b)\nreturn ctx.getTags(b)",
    ),
    inside(
        "socket: an empty tag",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b, ['']); return [ctx.getTags(b), ctx.getWebSockets('').length]",
        "a, b = pairOf()\nctx.acceptWebSocket(b, [''])\nreturn [ctx.getTags(b), len(ctx.getWebSockets(''))]",
    ),
    inside(
        "socket: ten tags",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b, [...'abcdefghij']); return ctx.getTags(b).length",
        "a, b = pairOf()\nctx.acceptWebSocket(b, list('abcdefghij'))\nreturn len(ctx.getTags(b))",
    ),
    inside(
        "socket error: eleven tags",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b, [...'abcdefghijk'])",
        "a, b = pairOf()\nctx.acceptWebSocket(b, list('abcdefghijk'))",
        allow=Wording("cannot have more than 10 tags"),
    ),
    inside(
        "socket error: ten tags and one again",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b, [...'abcdefghija'])",
        "a, b = pairOf()\nctx.acceptWebSocket(b, list('abcdefghija'))",
        allow=Wording("cannot have more than 10 tags"),
    ),
    inside(
        "socket: ten tags with one twice among them",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b, [...'aabcdefghij']); return ctx.getTags(b).length",
        "a, b = pairOf()\nctx.acceptWebSocket(b, list('aabcdefghij'))\nreturn len(ctx.getTags(b))",
    ),
    inside(
        "socket: a tag of 256 bytes",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b, ['ü'.repeat(128)]); return ctx.getTags(b)[0].length",
        "a, b = pairOf()\nctx.acceptWebSocket(b, ['ü' * 128])\nreturn len(ctx.getTags(b)[0])",
    ),
    inside(
        "socket error: a tag of 257 bytes",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b, ['ü'.repeat(128) + 'a'])",
        "a, b = pairOf()\nctx.acceptWebSocket(b, ['ü' * 128 + 'a'])",
        allow=Wording("longer than the max tag length"),
    ),
    inside(
        "socket: a refused end can be accepted later",
        """
        const [a, b] = pairOf();
        const first = await outcome(() => ctx.acceptWebSocket(b, ["x".repeat(300)]));
        ctx.acceptWebSocket(b);
        return [first.error.name, ctx.getWebSockets().length];
        """,
        """
        a, b = pairOf()
        first = await outcome(lambda: ctx.acceptWebSocket(b, ["x" * 300]))
        ctx.acceptWebSocket(b)
        return [first["error"]["name"], len(ctx.getWebSockets())]
        """,
    ),
    inside(
        "socket error: accepted twice",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b); ctx.acceptWebSocket(b)",
        "a, b = pairOf()\nctx.acceptWebSocket(b)\nctx.acceptWebSocket(b)",
    ),
    inside(
        "socket error: accept() and then acceptWebSocket()",
        "const [a, b] = pairOf(); b.accept(); ctx.acceptWebSocket(b)",
        "a, b = pairOf()\nb.accept()\nctx.acceptWebSocket(b)",
        allow=Wording("already accepted via `accept()`"),
    ),
    inside(
        "socket error: acceptWebSocket() and then accept()",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b); b.accept()",
        "a, b = pairOf()\nctx.acceptWebSocket(b)\nb.accept()",
        allow=Wording("after enabling hibernation"),
    ),
    inside(
        "socket: accept() twice",
        "const [a, b] = pairOf(); b.accept(); b.accept(); return b.readyState",
        "a, b = pairOf()\nb.accept()\nb.accept()\nreturn b.readyState",
    ),
    inside(
        "socket error: both ends of a pair accepted",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b); ctx.acceptWebSocket(a)",
        "a, b = pairOf()\nctx.acceptWebSocket(b)\nctx.acceptWebSocket(a)",
        allow=Wording("already been accepted or used in a Response"),
    ),
    inside(
        "socket error: the other end has accept()ed",
        "const [a, b] = pairOf(); a.accept(); ctx.acceptWebSocket(b); return ctx.getWebSockets().length",
        "a, b = pairOf()\na.accept()\nctx.acceptWebSocket(b)\nreturn len(ctx.getWebSockets())",
    ),
    inside(
        "socket error: tags before it is accepted",
        "const [a, b] = pairOf(); return ctx.getTags(b)",
        "a, b = pairOf()\nreturn ctx.getTags(b)",
        allow=Wording("before attempting to access the tags"),
    ),
    inside(
        "socket error: tags of one that accept() took",
        "const [a, b] = pairOf(); b.accept(); return ctx.getTags(b)",
        "a, b = pairOf()\nb.accept()\nreturn ctx.getTags(b)",
        allow=Wording("only hibernatable websockets can have tags"),
    ),
    inside(
        "socket: the same objects each time",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b, ['t']);"
        " return [ctx.getWebSockets()[0] === b, ctx.getWebSockets('t')[0] === b]",
        "a, b = pairOf()\nctx.acceptWebSocket(b, ['t'])\n"
        "return [ctx.getWebSockets()[0] is b, ctx.getWebSockets('t')[0] is b]",
    ),
    inside(
        "socket: the order of those accepted",
        """
        for (const name of "abc") {
          const [x, y] = pairOf();
          y.serializeAttachment(name);
          ctx.acceptWebSocket(y, ["all"]);
        }
        const names = (found) => found.map((each) => each.deserializeAttachment());
        return [names(ctx.getWebSockets()), names(ctx.getWebSockets("all")), names(ctx.getWebSockets("none"))];
        """,
        """
        for name in "abc":
            x, y = pairOf()
            y.serializeAttachment(name)
            ctx.acceptWebSocket(y, ["all"])
        names = lambda found: [each.deserializeAttachment() for each in found]
        return [names(ctx.getWebSockets()), names(ctx.getWebSockets("all")), names(ctx.getWebSockets("none"))]
        """,
    ),
]

_STATES = [
    inside(
        "socket: ready states of a pair",
        """
        const [a, b] = pairOf();
        const seen = [a.readyState, b.readyState];
        b.accept(); a.accept();
        seen.push(a.readyState, b.readyState);
        b.close(1000, "x");
        seen.push(b.readyState, a.readyState);
        await sleep(20);
        seen.push(b.readyState, a.readyState);
        return seen;
        """,
        """
        a, b = pairOf()
        seen = [a.readyState, b.readyState]
        b.accept()
        a.accept()
        seen += [a.readyState, b.readyState]
        b.close(1000, "x")
        seen += [b.readyState, a.readyState]
        await sleep(20)
        seen += [b.readyState, a.readyState]
        return seen
        """,
    ),
    inside(
        "socket: properties",
        "const [a, b] = pairOf(); b.accept(); return [b.url, b.protocol, b.extensions, b.binaryType]",
        "a, b = pairOf()\nb.accept()\nreturn [b.url, b.protocol, b.extensions, b.binaryType]",
    ),
    inside(
        "socket: ready states of one that hibernates",
        """
        const [a, b] = pairOf();
        ctx.acceptWebSocket(b);
        const seen = [b.readyState];
        b.close(1000, "x");
        seen.push(b.readyState, ctx.getWebSockets().length);
        return seen;
        """,
        """
        a, b = pairOf()
        ctx.acceptWebSocket(b)
        seen = [b.readyState]
        b.close(1000, "x")
        seen += [b.readyState, len(ctx.getWebSockets())]
        return seen
        """,
    ),
    inside(
        "socket: a pair within one object talks",
        """
        const [a, b] = pairOf();
        const heard = [];
        b.accept(); a.accept();
        b.addEventListener("message", (event) => heard.push(event.data));
        b.addEventListener("close", (event) => heard.push([event.code, event.reason, event.wasClean]));
        a.send("one"); a.send("two"); a.close(3001, "bye");
        await sleep(20);
        return heard;
        """,
        """
        a, b = pairOf()
        heard = []
        b.accept()
        a.accept()
        b.addEventListener("message", lambda event: heard.append(event.data))
        b.addEventListener("close", lambda event: heard.append([event.code, event.reason, event.wasClean]))
        a.send("one")
        a.send("two")
        a.close(3001, "bye")
        await sleep(20)
        return heard
        """,
    ),
    inside(
        "socket: messages wait for accept()",
        """
        const [a, b] = pairOf();
        const heard = [];
        a.accept();
        a.send("early");
        await sleep(10);
        b.addEventListener("message", (event) => heard.push(event.data));
        await sleep(10);
        heard.push("accepted");
        b.accept();
        await sleep(20);
        return heard;
        """,
        """
        a, b = pairOf()
        heard = []
        a.accept()
        a.send("early")
        await sleep(10)
        b.addEventListener("message", lambda event: heard.append(event.data))
        await sleep(10)
        heard.append("accepted")
        b.accept()
        await sleep(20)
        return heard
        """,
    ),
]


def _refused(name: str, js: str, python: str = "", phrase: str = "") -> Operation:
    """An end that accept()ed, in an object; what is done to it."""
    return inside(
        f"socket error: {name}",
        f"const [a, b] = pairOf(); b.accept(); a.accept(); {js}",
        f"a, b = pairOf()\nb.accept()\na.accept()\n{python or js}",
        allow=Wording(phrase) if phrase else None,
    )


_REFUSED = [
    inside(
        "socket error: send before accept",
        "const [a, b] = pairOf(); b.send('x')",
        "a, b = pairOf()\nb.send('x')",
        allow=Wording("before sending messages"),
    ),
    inside(
        "socket error: close before accept",
        "const [a, b] = pairOf(); b.close(1000, 'x')",
        "a, b = pairOf()\nb.close(1000, 'x')",
        allow=Wording("You must call one of accept()"),
    ),
    _refused(
        "send after close",
        "b.close(); b.send('x')",
        "b.close()\nb.send('x')",
        "Can't call WebSocket send() after close()",
    ),
    _refused("close code 999", "b.close(999)", phrase="Invalid WebSocket close code: 999"),
    _refused("close code 1004", "b.close(1004)", phrase="Invalid WebSocket close code: 1004"),
    _refused("close code 1005", "b.close(1005)", phrase="Invalid WebSocket close code: 1005"),
    _refused("close code 1006", "b.close(1006)", phrase="Invalid WebSocket close code: 1006"),
    _refused("close code 1015", "b.close(1015)", phrase="Invalid WebSocket close code: 1015"),
    _refused("close code 5000", "b.close(5000)", phrase="Invalid WebSocket close code: 5000"),
    _refused("close code 0", "b.close(0)", phrase="Invalid WebSocket close code: 0"),
    _refused("close code 70000", "b.close(70000)"),
    _refused(
        "a reason without a code", "b.close(undefined, 'x')", "b.close(None, 'x')", "you must also specify a code"
    ),
    _refused(
        "an empty reason without a code",
        "b.close(undefined, ''); return b.readyState",
        "b.close(None, '')\nreturn b.readyState",
    ),
    _refused(
        "a reason of 124 bytes",
        "b.close(1000, 'ü'.repeat(62))",
        "b.close(1000, 'ü' * 62)",
        "must not be longer than 123 bytes",
    ),
    _refused(
        "a reason of 123 bytes",
        "b.close(1000, 'ü'.repeat(61) + 'a'); return b.readyState",
        "b.close(1000, 'ü' * 61 + 'a')\nreturn b.readyState",
    ),
    *[
        _refused(
            f"close code {code} is one",
            f"b.close({code}); return b.readyState",
            f"b.close({code})\nreturn b.readyState",
        )
        for code in (1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 1016, 2999, 3000, 4999)
    ],
    _refused(
        "a second close",
        "b.close(1000); b.close(1001, 'y'); return b.readyState",
        "b.close(1000)\nb.close(1001, 'y')\nreturn b.readyState",
    ),
    _refused("a second close with a bad code", "b.close(1000); b.close(1)", "b.close(1000)\nb.close(1)"),
]

_RESPONSES = [
    inside(
        "socket error: an accepted end in a Response",
        "const [a, b] = pairOf(); ctx.acceptWebSocket(b); return new Response(null, { status: 101, webSocket: b }).status",
        "a, b = pairOf()\nctx.acceptWebSocket(b)\nreturn Response(None, status=101, web_socket=b).status",
    ),
    _talk(
        "error: the object returns an end that it has accepted",
        "await connect(stub)",
        parts={
            "fetch": Text(
                "const [a, b] = pairOf(); b.accept(); return new Response(null, { status: 101, webSocket: b })",
                "a, b = pairOf()\nb.accept()\nreturn Response(None, status=101, web_socket=b)",
            )
        },
    ),
    _talk(
        "error: the object returns an end that acceptWebSocket() took",
        "await connect(stub)",
        parts={
            "fetch": Text(
                "const [a, b] = pairOf(); ctx.acceptWebSocket(b); return new Response(null, { status: 101, webSocket: b })",
                "a, b = pairOf()\nctx.acceptWebSocket(b)\nreturn Response(None, status=101, web_socket=b)",
            )
        },
    ),
    _talk(
        "error: the object returns an end a second time",
        "await connect(stub); await connect(stub)",
        "await connect(stub)\nawait connect(stub)",
        parts={
            "fetch": Text(
                "if (!self.kept) { self.kept = pairOf(); ctx.acceptWebSocket(self.kept[1]); }"
                " return new Response(null, { status: 101, webSocket: self.kept[0] })",
                "if not getattr(self, 'kept', None):\n    self.kept = pairOf()\n    ctx.acceptWebSocket(self.kept[1])\n"
                "return Response(None, status=101, web_socket=self.kept[0])",
            )
        },
    ),
    _talk(
        "error: the other end was returned before",
        "await connect(stub); return await inside('later')",
        "await connect(stub)\nreturn await inside('later')",
        parts={
            "fetch": Text(
                "self.kept = pairOf(); self.kept[1].accept(); return new Response(null, { status: 101, webSocket: self.kept[0] })",
                "self.kept = pairOf()\nself.kept[1].accept()\nreturn Response(None, status=101, web_socket=self.kept[0])",
            ),
            "later": Text("ctx.acceptWebSocket(self.kept[0])"),
        },
        allow=Wording("already been accepted or used in a Response"),
    ),
    inside(
        "socket error: 101 without a socket",
        "new Response(null, { status: 101 })",
        "Response(None, status=101)",
    ),
    inside(
        "socket error: a socket with another status",
        "const [a, b] = pairOf(); new Response(null, { status: 200, webSocket: a })",
        "a, b = pairOf()\nResponse(None, status=200, web_socket=a)",
    ),
    inside(
        "socket error: a socket without a status",
        "const [a, b] = pairOf(); new Response(null, { webSocket: a })",
        "a, b = pairOf()\nResponse(None, web_socket=a)",
    ),
    inside(
        "socket error: a socket and a body",
        "const [a, b] = pairOf(); new Response('x', { status: 101, webSocket: a })",
        "a, b = pairOf()\nResponse('x', status=101, web_socket=a)",
        allow=Wording("Response with null body status"),
    ),
    inside(
        "socket error: a clone of a response with a socket",
        "const [a, b] = pairOf(); new Response(null, { status: 101, webSocket: a }).clone()",
        "a, b = pairOf()\nResponse(None, status=101, web_socket=a).clone()",
    ),
    inside(
        "socket error: something else as a socket",
        "new Response(null, { status: 101, webSocket: 5 })",
        "Response(None, status=101, web_socket=5)",
        allow=Wording("is not of type 'WebSocket'"),
    ),
    outside(
        "socket: a response with a socket, as it arrives",
        "const c = await connect(stub); const r = c.response; return [r.status, r.ok, r.body]",
        "c = await connect(stub)\nr = c.response\nreturn [r.status, r.ok, r.body]",
        parts={"fetch": Text("return upgrade()")},
    ),
    outside(
        "socket: no upgrade was asked for",
        "const r = await stub.fetch('http://x/'); return [r.status, r.webSocket === null]",
        "r = await stub.fetch('http://x/')\nreturn [r.status, r.web_socket is None]",
        parts={"fetch": Text("return upgrade()")},
    ),
    outside(
        "socket: an answer that is no upgrade",
        "const r = await stub.fetch('http://x/', { headers: { Upgrade: 'websocket' } }); return [r.status, r.webSocket === null]",
        "r = await stub.fetch('http://x/', headers={'Upgrade': 'websocket'})\nreturn [r.status, r.web_socket is None]",
        parts={"fetch": Text("return new Response('no', { status: 426 })", "return Response('no', status=426)")},
    ),
]

_ATTACHMENTS = [
    inside(
        "socket: attachments",
        """
        const [a, b] = pairOf();
        const seen = [b.deserializeAttachment()];
        const value = { n: 1, list: [1, 2] };
        b.serializeAttachment(value);
        value.n = 2;
        seen.push(b.deserializeAttachment(), b.deserializeAttachment() === b.deserializeAttachment());
        b.serializeAttachment(null);
        seen.push(b.deserializeAttachment());
        return seen;
        """,
        """
        a, b = pairOf()
        seen = [b.deserializeAttachment()]
        value = {"n": 1, "list": [1, 2]}
        b.serializeAttachment(value)
        value["n"] = 2
        seen += [b.deserializeAttachment(), b.deserializeAttachment() is b.deserializeAttachment()]
        b.serializeAttachment(None)
        seen.append(b.deserializeAttachment())
        return seen
        """,
    ),
    inside(
        "socket error: an attachment that is too big",
        "const [a, b] = pairOf(); b.serializeAttachment('x'.repeat(16385))",
        "a, b = pairOf()\nb.serializeAttachment('x' * 16385)",
        allow=Wording("cannot be larger than 16384 bytes"),
    ),
    inside(
        "socket: an attachment as big as it may be",
        "const [a, b] = pairOf(); b.serializeAttachment('x'.repeat(16000)); return b.deserializeAttachment().length",
        "a, b = pairOf()\nb.serializeAttachment('x' * 16000)\nreturn len(b.deserializeAttachment())",
    ),
    inside(
        "socket error: an attachment that cannot be copied",
        "const [a, b] = pairOf(); b.serializeAttachment(() => 1)",
        "a, b = pairOf()\nb.serializeAttachment(lambda: 1)",
        allow=Wording("DataCloneError"),
    ),
]

_AUTO = [
    _talk(
        "automatic answers",
        """
        await inside("set");
        const c = await connect(stub);
        c.ws.send("ping"); c.ws.send("other"); c.ws.send(new TextEncoder().encode("ping"));
        return [await c.heard(2), await inside("seen")];
        """,
        """
        await inside("set")
        c = await connect(stub)
        c.ws.send("ping")
        c.ws.send("other")
        c.ws.send(b"ping")
        return [await c.heard(2), await inside("seen")]
        """,
        parts={
            "set": Text(
                'ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"))',
                'ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair.new("ping", "pong"))',
            ),
            "message": Text(
                "self.log.push(typeof said); ws.send('seen ' + self.log.length)",
                "self.log.append('string' if isinstance(said, str) else 'object')\nws.send(f'seen {len(self.log)}')",
            ),
            "seen": Text(
                "const first = ctx.getWebSockets()[0]; const pair = ctx.getWebSocketAutoResponse();"
                " return [self.log, pair.request, pair.response, ctx.getWebSocketAutoResponseTimestamp(first) instanceof Date]",
                "first = ctx.getWebSockets()[0]\npair = ctx.getWebSocketAutoResponse()\n"
                "return [self.log, pair.request, pair.response, ctx.getWebSocketAutoResponseTimestamp(first) is not None]",
            ),
        },
    ),
    inside(
        "socket: automatic answers are set and cleared",
        """
        const [a, b] = pairOf(); ctx.acceptWebSocket(b);
        ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("a", "b"));
        const seen = [ctx.getWebSocketAutoResponse().request, ctx.getWebSocketAutoResponseTimestamp(b)];
        ctx.setWebSocketAutoResponse();
        return [seen, ctx.getWebSocketAutoResponse()];
        """,
        """
        a, b = pairOf()
        ctx.acceptWebSocket(b)
        ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair.new("a", "b"))
        seen = [ctx.getWebSocketAutoResponse().request, ctx.getWebSocketAutoResponseTimestamp(b)]
        ctx.setWebSocketAutoResponse()
        return [seen, ctx.getWebSocketAutoResponse()]
        """,
    ),
    inside(
        "socket error: an automatic request that is too long",
        "ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair('x'.repeat(2049), 'y'))",
        "ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair.new('x' * 2049, 'y'))",
        allow=Wording("cannot be larger than 2048 bytes"),
    ),
    inside(
        "socket error: an automatic response that is too long",
        "ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair('x', 'y'.repeat(2049)))",
        "ctx.setWebSocketAutoResponse(WebSocketRequestResponsePair.new('x', 'y' * 2049))",
        allow=Wording("cannot be larger than 2048 bytes"),
    ),
    inside(
        "socket: event timeouts",
        "ctx.setHibernatableWebSocketEventTimeout(1000); const a = ctx.getHibernatableWebSocketEventTimeout();"
        " ctx.setHibernatableWebSocketEventTimeout(0); const b = ctx.getHibernatableWebSocketEventTimeout();"
        " ctx.setHibernatableWebSocketEventTimeout(604800000); const c = ctx.getHibernatableWebSocketEventTimeout();"
        " ctx.setHibernatableWebSocketEventTimeout(); return [a, b, c, ctx.getHibernatableWebSocketEventTimeout()]",
        "ctx.setHibernatableWebSocketEventTimeout(1000)\na = ctx.getHibernatableWebSocketEventTimeout()\n"
        "ctx.setHibernatableWebSocketEventTimeout(0)\nb = ctx.getHibernatableWebSocketEventTimeout()\n"
        "ctx.setHibernatableWebSocketEventTimeout(604800000)\nc = ctx.getHibernatableWebSocketEventTimeout()\n"
        "ctx.setHibernatableWebSocketEventTimeout()\nreturn [a, b, c, ctx.getHibernatableWebSocketEventTimeout()]",
    ),
    inside(
        "socket error: an event timeout that is too long",
        "ctx.setHibernatableWebSocketEventTimeout(604800001)",
        allow=Wording("should not exceed 604800000 ms"),
    ),
]

_CLOSED = {
    "closed": Text(
        "self.log.push([...ending, ws.readyState, ctx.getWebSockets().length])",
        "self.log.append([*ending, ws.readyState, len(ctx.getWebSockets())])",
    ),
    "seen": Text("return self.log.length ? self.log : null", "return self.log or None"),
    "left": Text("return ctx.getWebSockets().length", "return len(ctx.getWebSockets())"),
}

_CLOSING = [
    _talk(
        "the client closes",
        'const c = await connect(stub); c.ws.close(3001, "bye"); return [await until("seen"), await c.heard(1), await inside("left")]',
        'c = await connect(stub)\nc.ws.close(3001, "bye")\nreturn [await until("seen"), await c.heard(1), await inside("left")]',
        parts=_CLOSED,
    ),
    _talk(
        "the client closes without a code",
        'const c = await connect(stub); c.ws.close(); return [await until("seen"), await c.heard(1)]',
        'c = await connect(stub)\nc.ws.close()\nreturn [await until("seen"), await c.heard(1)]',
        parts=_CLOSED,
    ),
    _talk(
        "the object closes too, in its handler",
        'const c = await connect(stub); c.ws.close(3001, "bye"); return [await c.heard(1), await until("seen")]',
        'c = await connect(stub)\nc.ws.close(3001, "bye")\nreturn [await c.heard(1), await until("seen")]',
        parts={
            **_CLOSED,
            "closed": Text(
                'ws.close(1000, "mine"); self.log.push([...ending, ws.readyState])',
                'ws.close(1000, "mine")\nself.log.append([*ending, ws.readyState])',
            ),
        },
    ),
    _talk(
        "a send in the handler of the close",
        'const c = await connect(stub); c.ws.close(3001, "bye"); return [await until("seen"), await c.heard(1)]',
        'c = await connect(stub)\nc.ws.close(3001, "bye")\nreturn [await until("seen"), await c.heard(1)]',
        parts={
            **_CLOSED,
            "closed": Text(
                'self.log.push(await outcome(() => ws.send("late")))',
                'self.log.append(await outcome(lambda: ws.send("late")))',
            ),
        },
    ),
    _talk(
        "the socket is gone after the handler has waited",
        'const c = await connect(stub); c.ws.close(3001, "bye"); return await until("seen")',
        'c = await connect(stub)\nc.ws.close(3001, "bye")\nreturn await until("seen")',
        parts={
            **_CLOSED,
            "closed": Text(
                "const before = ctx.getWebSockets().length; await sleep(10); self.log.push([before, ctx.getWebSockets().length])",
                "before = len(ctx.getWebSockets())\nawait sleep(10)\nself.log.append([before, len(ctx.getWebSockets())])",
            ),
        },
    ),
    _talk(
        "the object closes: the client hears it, and the handler the client's answer",
        'const c = await connect(stub); c.ws.send("end"); const a = await c.heard(1); await sleep(100); return [a, await inside("all"), await inside("left")]',
        'c = await connect(stub)\nc.ws.send("end")\na = await c.heard(1)\nawait sleep(100)\nreturn [a, await inside("all"), await inside("left")]',
        parts={
            **_CLOSED,
            "message": Text(
                'ws.close(4000, "over"); self.log.push(["in", ws.readyState, ctx.getWebSockets().length])',
                'ws.close(4000, "over")\nself.log.append(["in", ws.readyState, len(ctx.getWebSockets())])',
            ),
            "all": Text("return self.log"),
        },
    ),
    _talk(
        "the object closes, the client answers with a code of its own",
        """
        const c = await connect(stub, { quiet: "1" });
        const heard = [];
        c.ws.addEventListener("close", (event) => { heard.push([event.code, event.reason, c.ws.readyState]); c.ws.close(3333, "mine"); });
        c.ws.accept();
        c.ws.send("end");
        await sleep(200);
        return [heard, await inside("all"), c.ws.readyState];
        """,
        """
        c = await connect(stub, {"quiet": "1"})
        heard = []
        def closed(event):
            heard.append([event.code, event.reason, c.ws.readyState])
            c.ws.close(3333, "mine")
        c.ws.addEventListener("close", closed)
        c.ws.accept()
        c.ws.send("end")
        await sleep(200)
        return [heard, await inside("all"), c.ws.readyState]
        """,
        parts={**_CLOSED, "message": Text('ws.close(4000, "over")'), "all": Text("return self.log")},
    ),
    _talk(
        "the object closes without a code",
        'const c = await connect(stub); c.ws.send("end"); return await c.heard(1)',
        'c = await connect(stub)\nc.ws.send("end")\nreturn await c.heard(1)',
        parts={"message": Text("ws.close()")},
    ),
    _talk(
        "what was sent before a close arrives",
        'const c = await connect(stub); c.ws.send("end"); return await c.heard(3)',
        'c = await connect(stub)\nc.ws.send("end")\nreturn await c.heard(3)',
        parts={
            "message": Text(
                'ws.send("1"); ws.send("2"); ws.close(1000, "x")', 'ws.send("1")\nws.send("2")\nws.close(1000, "x")'
            )
        },
    ),
    _talk(
        "messages after the object's close are not delivered",
        """
        const c = await connect(stub);
        c.ws.send("end"); c.ws.send("late");
        await c.heard(1); await sleep(100);
        return await inside("all");
        """,
        """
        c = await connect(stub)
        c.ws.send("end")
        c.ws.send("late")
        await c.heard(1)
        await sleep(100)
        return await inside("all")
        """,
        parts={
            "message": Text(
                'self.log.push(said); if (said === "end") ws.close(1000)',
                'self.log.append(said)\nif said == "end":\n    ws.close(1000)',
            ),
            "all": Text("return self.log"),
        },
    ),
    _talk(
        "an abort ends the socket",
        'const c = await connect(stub); c.ws.send("end"); const a = await c.heard(1); return [a, await again().part("left")]',
        'c = await connect(stub)\nc.ws.send("end")\na = await c.heard(1)\nreturn [a, await again().part("left")]',
        parts={**_CLOSED, "message": Text('ctx.abort("enough")')},
    ),
    _talk(
        "the close event of the client, and its state",
        """
        const c = await connect(stub);
        c.ws.close(1000, "x");
        const seen = [c.ws.readyState];
        await c.heard(1);
        seen.push(c.ws.readyState);
        return [seen, c.events];
        """,
        """
        c = await connect(stub)
        c.ws.close(1000, "x")
        seen = [c.ws.readyState]
        await c.heard(1)
        seen.append(c.ws.readyState)
        return [seen, c.events]
        """,
    ),
    _talk(
        "a send after the peer has closed",
        """
        const c = await connect(stub);
        c.ws.send("end");
        await c.heard(1);
        return [(await outcome(() => c.ws.send("late"))).error?.message ?? null, c.ws.readyState];
        """,
        """
        c = await connect(stub)
        c.ws.send("end")
        await c.heard(1)
        found = await outcome(lambda: c.ws.send("late"))
        return [found.get("error", {}).get("message"), c.ws.readyState]
        """,
        parts={"message": Text('ws.close(4000, "over")')},
    ),
]

_STANDARD = [
    _talk(
        "accept() and listeners in an object",
        'const c = await connect(stub); c.ws.send("a"); c.ws.send("b"); return [await c.heard(2), await inside("left")]',
        'c = await connect(stub)\nc.ws.send("a")\nc.ws.send("b")\nreturn [await c.heard(2), await inside("left")]',
        parts={
            "fetch": Text(
                'const [a, b] = pairOf(); b.accept(); b.addEventListener("message", (event) => b.send("got " + event.data));'
                " return new Response(null, { status: 101, webSocket: a })",
                'a, b = pairOf()\nb.accept()\nb.addEventListener("message", lambda event: b.send("got " + event.data))\n'
                "return Response(None, status=101, web_socket=a)",
            ),
            "left": _CLOSED["left"],
        },
    ),
    _talk(
        "accept() in an object: the client closes",
        'const c = await connect(stub); c.ws.close(3001, "bye"); return [await until("seen"), await c.heard(1)]',
        'c = await connect(stub)\nc.ws.close(3001, "bye")\nreturn [await until("seen"), await c.heard(1)]',
        parts={
            "fetch": Text(
                'const [a, b] = pairOf(); b.accept(); b.addEventListener("close", (event) =>'
                " self.log.push([event.code, event.reason, event.wasClean, b.readyState]));"
                " return new Response(null, { status: 101, webSocket: a })",
                'a, b = pairOf()\nb.accept()\nb.addEventListener("close", lambda event:'
                " self.log.append([event.code, event.reason, event.wasClean, b.readyState]))\n"
                "return Response(None, status=101, web_socket=a)",
            ),
            "seen": _CLOSED["seen"],
        },
    ),
    _talk(
        "accept() in an object: the object closes",
        'const c = await connect(stub); c.ws.send("x"); return await c.heard(1)',
        'c = await connect(stub)\nc.ws.send("x")\nreturn await c.heard(1)',
        parts={
            "fetch": Text(
                'const [a, b] = pairOf(); b.accept(); b.addEventListener("message", () => b.close(4001, "no"));'
                " return new Response(null, { status: 101, webSocket: a })",
                'a, b = pairOf()\nb.accept()\nb.addEventListener("message", lambda event: b.close(4001, "no"))\n'
                "return Response(None, status=101, web_socket=a)",
            ),
        },
    ),
    _talk(
        "a handler's property as a listener",
        'const c = await connect(stub); c.ws.send("a"); return await c.heard(1)',
        'c = await connect(stub)\nc.ws.send("a")\nreturn await c.heard(1)',
        parts={
            "fetch": Text(
                'const [a, b] = pairOf(); b.accept(); b.onmessage = (event) => b.send("got " + event.data);'
                " return new Response(null, { status: 101, webSocket: a })",
                'a, b = pairOf()\nb.accept()\nb.onmessage = lambda event: b.send("got " + event.data)\n'
                "return Response(None, status=101, web_socket=a)",
            ),
        },
    ),
]

ROWS = [
    *_MESSAGES,
    *_ROWS_OF_CTX,
    *_STATES,
    *_REFUSED,
    *_RESPONSES,
    *_ATTACHMENTS,
    *_AUTO,
    *_CLOSING,
    *_STANDARD,
]
