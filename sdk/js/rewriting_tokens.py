"""What the handlers of `HTMLRewriter` are given: an element, a piece of text, a comment, the doctype, the end.

What always holds: what a handler does not touch is sent as it was written; what it inserts is escaped unless it says
that it is HTML.
"""

from __future__ import annotations

import html
from typing import Any

from ...engine.errors import PerdureError
from .arrays import Array
from .proxies import JsProxy, options, to_text

VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})


def content(value: object, settings: object, named: dict[str, object]) -> str:
    """What is inserted, as HTML."""
    text = to_text(value)
    return text if options(settings, named).get("html") else html.escape(text, quote=False)


class Token(JsProxy):
    """What all have in common: content beside it, or instead of it."""

    def __init__(self) -> None:
        self.front: list[str] = []
        self.behind: list[str] = []
        self.instead: str | None = None
        self.removed = False

    def before(self, value: object, settings: object = None, /, **named: object) -> Any:
        self.front.append(content(value, settings, named))
        return self

    def after(self, value: object, settings: object = None, /, **named: object) -> Any:
        """What is inserted last comes first."""
        self.behind.insert(0, content(value, settings, named))
        return self

    def replace(self, value: object, settings: object = None, /, **named: object) -> Any:
        self.removed, self.instead = True, content(value, settings, named)
        return self

    def remove(self) -> Any:
        self.removed, self.instead = True, None
        return self


class Element(Token):
    """An element; its attributes may be changed, its content replaced."""

    namespaceURI = "http://www.w3.org/1999/xhtml"

    def __init__(self, tag: str, attributes: dict[str, str], source: str, closed: bool) -> None:
        super().__init__()
        self._tag, self._source, self._closed = tag, source, closed
        self._attributes = attributes
        self._changed = False
        self.first: list[str] = []
        self.last: list[str] = []
        self.inner: str | None = None
        self.unwrapped = False
        self.ends: list[object] = []

    @property
    def tagName(self) -> str:
        return self._tag

    @tagName.setter
    def tagName(self, name: object) -> None:
        self._tag, self._changed = to_text(name), True

    @property
    def void(self) -> bool:
        """It has no content and no end."""
        return self._tag in VOID or self._closed

    @property
    def attributes(self) -> Array:
        """Pairs of name and value."""
        return Array(Array(pair) for pair in self._attributes.items())

    def getAttribute(self, name: object) -> str | None:
        return self._attributes.get(to_text(name).lower())

    def hasAttribute(self, name: object) -> bool:
        return to_text(name).lower() in self._attributes

    def setAttribute(self, name: object, value: object) -> Element:
        """Raises PerdureError (TypeError) for a name that cannot be written."""
        key = to_text(name).lower()
        if not key or any(each in key for each in " \t\n\f\r\"'>/="):
            raise PerdureError(f"{to_text(name)!r} is no name of an attribute", name="TypeError")
        self._attributes[key], self._changed = to_text(value), True
        return self

    def removeAttribute(self, name: object) -> Element:
        self._changed |= self._attributes.pop(to_text(name).lower(), None) is not None
        return self

    def prepend(self, value: object, settings: object = None, /, **named: object) -> Element:
        self.first.insert(0, content(value, settings, named))
        return self

    def append(self, value: object, settings: object = None, /, **named: object) -> Element:
        self.last.append(content(value, settings, named))
        return self

    def setInnerContent(self, value: object, settings: object = None, /, **named: object) -> Element:
        self.inner = content(value, settings, named)
        self.first.clear()
        self.last.clear()
        return self

    def removeAndKeepContent(self) -> Element:
        self.unwrapped = True
        return self

    def onEndTag(self, handler: object) -> None:
        """Call `handler(end_tag)` when it ends. Raises PerdureError (TypeError) for an element that has no end."""
        if self.void:
            raise PerdureError("Parser error: No end tag.", name="TypeError")
        self.ends.append(handler)

    def begin(self) -> str:
        """Its start tag."""
        if not self._changed:
            return self._source
        parts = [f'{name}="{html.escape(value)}"' if value else name for name, value in self._attributes.items()]
        return f"<{' '.join([self._tag, *parts])}{' /' if self._closed else ''}>"

    def end(self) -> str | None:
        """Its end tag, None when it has the one that it came with."""
        return f"</{self._tag}>" if self._changed else None


class EndTag(Token):
    """The end of an element."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Text(Token):
    """A piece of text. The last of a text is empty, with `lastInTextNode`."""

    def __init__(self, text: str, last: bool) -> None:
        super().__init__()
        self.text, self.lastInTextNode = text, last


class Comment(Token):
    """A comment; its `text` may be set."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


class Doctype(JsProxy):
    """The doctype."""

    def __init__(self, name: str, public_id: str | None, system_id: str | None) -> None:
        self.name, self.publicId, self.systemId = name, public_id, system_id


class DocumentEnd(JsProxy):
    """The end of the document."""

    def __init__(self) -> None:
        self.added: list[str] = []

    def append(self, value: object, settings: object = None, /, **named: object) -> DocumentEnd:
        self.added.append(content(value, settings, named))
        return self
