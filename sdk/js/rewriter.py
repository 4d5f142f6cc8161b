"""`HTMLRewriter`: handlers change the elements, texts and comments of a page while it passes.

What always holds: the markup that no handler touches is sent byte for byte as it came; handlers run one after another, in the
order of the document; an element that is removed takes what is in it along, and its handlers are not called for that.

Python's own parser finds the tokens; the page is not repaired, as no tree is built of it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, cast

from ...engine.errors import InvalidArgument
from .. import response as sdk_response
from ..readable_stream import ReadableStream
from .buffers import as_bytes
from .proxies import JsProxy, call, missing
from .rewriting_tokens import VOID, Comment, Doctype, DocumentEnd, Element, EndTag, Text, Token
from .selectors import Open, Selector
from .web import Response

_DOCTYPE = re.compile(
    r"doctype\s+(\S+)(?:\s+public\s+[\"']([^\"']*)[\"'])?(?:\s+system)?(?:\s+[\"']([^\"']*)[\"'])?", re.IGNORECASE
)
Found = tuple[str, str, Any]
"""What it is, as it was written, what it says."""


class _Tokens(HTMLParser):
    """The tokens of what was fed, as they were written."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.found: list[Found] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(("start", self.get_starttag_text() or "", (tag, _attributes(attrs), False)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(("start", self.get_starttag_text() or "", (tag, _attributes(attrs), True)))

    def _as_written(self, begin: int, end: int, before: int) -> int:
        """The parser has read a token: keep it as it stands in the page."""
        if end > 0 and len(self.found) > before:
            kind, _, said = self.found[-1]
            self.found[-1] = (kind, self.rawdata[begin:end], said)
        return end

    def parse_endtag(self, i: int) -> int:
        before = len(self.found)
        return self._as_written(i, super().parse_endtag(i), before)

    def parse_html_declaration(self, i: int) -> int:
        before = len(self.found)
        return self._as_written(i, super().parse_html_declaration(i), before)

    def parse_pi(self, i: int) -> int:
        before = len(self.found)
        return self._as_written(i, super().parse_pi(i), before)

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("end", f"</{tag}>", tag))

    def handle_data(self, data: str) -> None:
        self.found.append(("text", data, data))

    def handle_entityref(self, name: str) -> None:
        self._reference(f"&{name}")

    def handle_charref(self, name: str) -> None:
        self._reference(f"&#{name}")

    def _reference(self, text: str) -> None:
        written = text + (";" if self.rawdata.startswith(";", self._place() + len(text)) else "")
        self.found.append(("text", written, written))

    def _place(self) -> int:
        """Where in `rawdata` the parser stands: it tells lines and columns only."""
        line, column = self.getpos()
        start = 0
        for _ in range(line - self._first_line):
            start = self.rawdata.index("\n", start) + 1
        return start + column - (self._first_column if line == self._first_line else 0)

    def feed(self, data: str) -> None:
        self._first_line, self._first_column = self.getpos()
        super().feed(data)

    def close(self) -> None:
        self._first_line, self._first_column = self.getpos()
        super().close()

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", f"<!--{data}-->", data))

    def handle_decl(self, decl: str) -> None:
        self.found.append(("doctype", f"<!{decl}>", decl))

    def unknown_decl(self, data: str) -> None:
        self.found.append(("other", f"<![{data}]>", data))

    def handle_pi(self, data: str) -> None:
        self.found.append(("other", f"<?{data}>", data))


def _attributes(pairs: list[tuple[str, str | None]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value or "")
    return found


@dataclass(slots=True)
class _Level:
    """An element that is open, and what is still to be done for it."""

    open: Open
    element: Element | None
    handlers: list[object]
    """Those whose selector matches it: they are told of texts and comments in it."""
    hidden: bool
    """What is in it is not sent."""


class HTMLRewriter(JsProxy):
    """`HTMLRewriter.new().on(selector, handlers).onDocument(handlers).transform(response)`; handlers may be async."""

    def __init__(self) -> None:
        self._handlers: list[tuple[Selector, object]] = []
        self._document: list[object] = []

    @classmethod
    def new(cls) -> HTMLRewriter:
        return cls()

    def on(self, selector: str, handlers: object) -> HTMLRewriter:
        """`handlers` has `element`, `comments`, `text`, each as it needs. Raises PerdureError (TypeError) for a bad selector."""
        self._handlers.append((Selector(selector), handlers))
        return self

    def onDocument(self, handlers: object) -> HTMLRewriter:
        """`handlers` has `doctype`, `comments`, `text`, `end`, each as it needs."""
        self._document.append(handlers)
        return self

    on_document = onDocument

    def transform(self, response: object) -> Response:
        """The same response with a body that passes the handlers when it is read."""
        if not isinstance(response, sdk_response.Response):
            raise InvalidArgument(f"HTMLRewriter transforms a Response, not {type(response).__name__}")
        made = Response.of(response.replace_body(None))
        made.headers.delete("content-length")
        body = response.body
        if body is not None:
            page = _Page(self._handlers, self._document)
            made._body = ReadableStream.of_iterator(page.chunks(body))  # pyright: ignore[reportPrivateUsage]
        return made


class _Page:
    """One document that passes."""

    def __init__(self, handlers: list[tuple[Selector, object]], document: list[object]) -> None:
        self._handlers = handlers
        self._document = document
        self._root = Open("", {})
        self._levels: list[_Level] = []
        self._parts: list[str] = []
        self._in_text = False

    async def chunks(self, body: ReadableStream) -> AsyncIterator[bytes]:
        """The changed page, in pieces."""
        decoder, tokens = codecs.getincrementaldecoder("utf-8")("replace"), _Tokens()
        async for chunk in body:
            tokens.feed(decoder.decode(as_bytes(chunk)))
            piece = await self._pass(tokens)
            if piece:
                yield piece
        tokens.feed(decoder.decode(b"", True))
        tokens.close()
        piece = await self._pass(tokens, last=True)
        if piece:
            yield piece

    async def _pass(self, tokens: _Tokens, last: bool = False) -> bytes:
        found, tokens.found = tokens.found, []
        for kind, written, said in found:
            if kind != "text":
                await self._end_text()
            if kind == "start":
                await self._start(written, *said)
            elif kind == "end":
                await self._end(written, said)
            elif kind == "text":
                await self._text(written)
            elif kind == "comment":
                await self._comment(written, said)
            else:
                await self._doctype(kind, written, said)
        if last:
            await self._finish()
        data = "".join(self._parts).encode("utf-8", "replace")
        self._parts.clear()
        return data

    # ------------------------------------------------------------------ what is sent
    @property
    def _hidden(self) -> bool:
        return bool(self._levels) and self._levels[-1].hidden

    def _send(self, *parts: str) -> None:
        self._parts.extend(parts)

    def _send_token(self, token: Token, written: str) -> None:
        self._send(*token.front)
        if not token.removed:
            self._send(written)
        elif token.instead is not None:
            self._send(token.instead)
        self._send(*token.behind)

    # ------------------------------------------------------------------ elements
    async def _start(self, written: str, tag: str, attributes: dict[str, str], closed: bool) -> None:
        above = self._levels[-1].open if self._levels else self._root
        opened = above.child(tag, attributes)
        empty = tag in VOID
        if self._hidden:
            if not empty:
                self._levels.append(_Level(opened, None, [], True))
            return
        path = [*(level.open for level in self._levels), opened]
        handlers = [handler for selector, handler in self._handlers if selector.matches(path)]
        element = Element(tag, dict(attributes), written, closed) if handlers else None
        for handler in handlers:
            await _tell(handler, "element", element)
        if element is None:
            self._send(written)
        else:
            self._send_start(element)
        if not empty:
            hidden = element is not None and (element.removed or element.inner is not None)
            self._levels.append(_Level(opened, element, handlers, hidden))
        elif element is not None:
            self._send(*element.behind)

    def _send_start(self, element: Element) -> None:
        self._send(*element.front)
        if element.removed:
            self._send(element.instead or "")
            return
        if not element.unwrapped:
            self._send(element.begin())
        self._send(*element.first)
        if element.inner is not None:
            self._send(element.inner)

    async def _end(self, written: str, tag: str) -> None:
        place = next((at for at in range(len(self._levels) - 1, -1, -1) if self._levels[at].open.tag == tag), None)
        if place is None:  # of nothing that is open
            if not self._hidden:
                self._send(written)
            return
        while len(self._levels) > place + 1:  # those inside that were never ended
            await self._leave(self._levels.pop(), "")
        await self._leave(self._levels.pop(), written)

    async def _leave(self, level: _Level, written: str) -> None:
        element = level.element
        if element is None:
            if not level.hidden:
                self._send(written)
            return
        if not element.removed:
            self._send(*element.last)
            end = EndTag(element.tagName)
            for handler in element.ends:
                await _finished(call(handler, end))
            shown = written and (f"</{end.name}>" if end.name != element.tagName else (element.end() or written))
            self._send_token(end, "" if element.unwrapped else shown)
        self._send(*element.behind)

    # ------------------------------------------------------------------ texts, comments, the rest
    async def _text(self, written: str) -> None:
        if not self._hidden:
            self._in_text = True
            await self._told_text(Text(written, False), written)

    async def _end_text(self) -> None:
        if self._in_text:
            self._in_text = False
            await self._told_text(Text("", True), "")

    async def _told_text(self, text: Text, written: str) -> None:
        for handler in self._inner_handlers():
            await _tell(handler, "text", text)
        self._send_token(text, written)

    def _inner_handlers(self) -> list[object]:
        """Those of all elements around, once each, in the order that they were given; then the document's."""
        around = [handler for level in self._levels for handler in level.handlers]
        chosen = [handler for _, handler in self._handlers if any(handler is each for each in around)]
        return [*chosen, *self._document]

    async def _comment(self, written: str, said: str) -> None:
        if self._hidden:
            return
        comment = Comment(said)
        for handler in self._inner_handlers():
            await _tell(handler, "comments", comment)
        self._send_token(comment, written if comment.text == said else f"<!--{comment.text}-->")

    async def _doctype(self, kind: str, written: str, said: str) -> None:
        found = _DOCTYPE.match(said) if kind == "doctype" else None
        if found is not None:
            for handler in self._document:
                await _tell(handler, "doctype", Doctype(found[1].lower(), found[2], found[3]))
        if not self._hidden:
            self._send(written)

    async def _finish(self) -> None:
        await self._end_text()
        while self._levels:
            await self._leave(self._levels.pop(), "")
        end = DocumentEnd()
        for handler in self._document:
            await _tell(handler, "end", end)
        self._send(*end.added)


async def _tell(handlers: object, name: str, token: object) -> None:
    """Call one of the handlers, if there is one of that name: a member of a dict, or of an object."""
    if isinstance(handlers, dict):
        handler = cast("dict[str, object]", handlers).get(name)
    else:
        handler = getattr(handlers, name, None)
    if not missing(handler):
        await _finished(call(handler, token))


async def _finished(result: object) -> None:
    if hasattr(result, "__await__"):
        await cast("Awaitable[object]", result)
