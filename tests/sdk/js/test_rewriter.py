"""`HTMLRewriter`: selectors, what handlers may do, and that everything else passes as it was."""

from __future__ import annotations

import asyncio

import pytest
from perdure.sdk import js
from perdure.sdk.pyodide.ffi import JsException
from perdure.sdk.response import Response

PAGE = (
    "<!DOCTYPE html>\n<HTML lang=en><head><title>A &amp; B&nbsp;</title><!-- note --></head>\n"
    "<body class='x y'><div id=main><p>one<p class=second>two &lt; three</p><a href=\"https://a/?b=1&c=2\">link</a>"
    "<br/><img src=i.png></div><script>if (a < b && c) { '<p>' }</script>"
    "&copy&#169;</body></html>\n<?pi x?><![CDATA[x]]></ bogus><!also bogus>"
    "<!-- x --!>"
)


def rewritten(page, *handlers, document=None, size=7):
    """The page after the handlers, read in pieces of `size` bytes."""

    async def work():
        data = page.encode()

        async def pieces():
            for start in range(0, len(data), size):
                yield data[start : start + size]

        rewriter = js.HTMLRewriter.new()
        for selector, handler in handlers:
            rewriter.on(selector, handler)
        if document is not None:
            rewriter.onDocument(document)
        response = Response(pieces(), headers={"content-type": "text/html", "content-length": str(len(data))})
        found = rewriter.transform(response)
        assert found.headers.get("content-length") is None
        assert found.headers.get("content-type") == "text/html"
        return await found.text()

    return asyncio.run(work())


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_what_nobody_touches_passes_as_it_was(size):
    seen: list[str] = []
    assert rewritten(PAGE, ("*", {"element": lambda e: seen.append(e.tagName)}), size=size) == PAGE
    assert seen == ["html", "head", "title", "body", "div", "p", "p", "a", "br", "img", "script"]


@pytest.mark.parametrize(
    ("selector", "ids"),
    [
        ("p", ["2", "3", "5"]),
        ("div p", ["2", "3", "5"]),
        ("div > p", ["2", "3"]),
        ("#x1 > .a", ["2", "3"]),
        (".a.b", ["3"]),
        ("p, span", ["2", "3", "4", "5"]),
        ("[id='4']", ["4"]),
        ("[data-x]", ["5"]),
        ("[data-x^=he][data-x$='lo' i]", ["5"]),
        ("[data-x*=LL i]", ["5"]),
        ("[lang|=en]", ["4"]),
        ("[class~=b]", ["3"]),
        ("p:not(.a)", ["5"]),
        ("p:first-child", ["2", "5"]),
        ("div > :nth-child(2)", ["3"]),
        ("div :nth-child(2n+1)", ["2", "4", "5"]),
        ("p:nth-of-type(even)", ["3"]),
        ("p:first-of-type", ["2", "5"]),
        ("main p", []),
    ],
)
def test_selectors(selector, ids):
    page = (
        "<div id=x1><p id=2 class=a></p><p id=3 class='a b'></p><span id=4 lang=en-GB><p id=5 data-x=HelLO data-x=no></p>"
        "</span></div>"
    ).replace("HelLO", "helLO")
    seen: list[object] = []
    rewritten(page, (selector, {"element": lambda element: seen.append(element.getAttribute("id"))}))
    assert seen == ids


@pytest.mark.parametrize("selector", ["", ">", "a >", "a:hover", "[", "a > > b", ":nth-child(x)"])
def test_selectors_that_cannot_be_used(selector):
    with pytest.raises(JsException, match="TypeError: Parser error"):
        js.HTMLRewriter.new().on(selector, {})


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (lambda e: e.setAttribute("href", 'x"&y'), '1<a href="x&quot;&amp;y">2<b>3</b></a>4'),
        (lambda e: e.removeAttribute("href"), "1<a>2<b>3</b></a>4"),
        (lambda e: e.before("<i>").after("<u>", html=True), "1&lt;i&gt;<a href=z>2<b>3</b></a><u>4"),
        (lambda e: e.prepend("P").append("A"), "1<a href=z>P2<b>3</b>A</a>4"),
        (lambda e: e.replace("<hr>", {"html": True}), "1<hr>4"),
        (lambda e: e.remove(), "14"),
        (lambda e: e.removeAndKeepContent(), "12<b>3</b>4"),
        (lambda e: e.setInnerContent("new & <i>"), "1<a href=z>new &amp; &lt;i&gt;</a>4"),
        (lambda e: setattr(e, "tagName", "s"), '1<s href="z">2<b>3</b></s>4'),
        (lambda e: e.onEndTag(lambda end: end.before("E")), "1<a href=z>2<b>3</b>E</a>4"),
        (lambda e: e.onEndTag(lambda end: end.remove()), "1<a href=z>2<b>3</b>4"),
    ],
)
def test_what_can_be_done_to_an_element(change, result):
    assert rewritten("1<a href=z>2<b>3</b></a>4", ("a", {"element": change})) == result


def test_attributes():
    found: list[object] = []

    class Handler:
        async def element(self, element):
            await asyncio.sleep(0)
            found.extend([element.attributes, element.hasAttribute("X"), element.getAttribute("none")])
            with pytest.raises(JsException):
                element.setAttribute("a b", 1)
            with pytest.raises(JsException, match="No end tag"):
                element.onEndTag(print)

    rewritten("<img x='1 &amp; 2' y>", ("img", Handler()))
    assert found == [[["x", "1 & 2"], ["y", ""]], True, None]


def test_texts_comments_doctype_and_end():
    told: list[object] = []
    texts: list[str] = []

    def text(piece):
        texts.append(piece.text)
        if piece.lastInTextNode:
            piece.after("!")

    found = rewritten(
        "<!doctype html><p>a<b>b</b></p><!--c--><i>z</i>",
        ("b", {"text": text}),
        ("p", {"element": lambda e: None}),
        document={
            "doctype": lambda d: told.append(d.name),
            "comments": lambda c: setattr(c, "text", "changed"),
            "end": lambda end: end.append("<end>", html=True),
        },
    )
    assert found == "<!doctype html><p>a<b>b!</b></p><!--changed--><i>z</i><end>"
    assert "".join(texts) == "b"
    assert told == ["html"]


def test_what_is_in_a_removed_element_is_not_told():
    seen: list[object] = []
    handlers = [
        ("div", {"element": lambda e: e.remove()}),
        ("p", {"element": seen.append, "text": seen.append}),
        ("br", {"element": seen.append}),
    ]
    assert rewritten("<div><p>x<br></p><!--c--></div>y", *handlers) == "y"
    assert seen == []


def test_elements_that_are_never_ended():
    assert rewritten("<p>a<p>b", ("p", {"element": lambda e: e.append("!")})) == "<p>a<p>b!!"
    assert rewritten("a</b>c", ("b", {"element": print})) == "a</b>c"


def test_only_responses_are_transformed():
    with pytest.raises(JsException, match="TypeError"):
        js.HTMLRewriter.new().transform("text")
